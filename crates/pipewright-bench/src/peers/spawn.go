// Starts /bin/true with one further file, on call. Argument: bytes to hold.
package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "go peer:", err)
		os.Exit(1)
	}
}

func hold(bytes int) []byte {
	if bytes == 0 {
		return nil
	}
	memory, err := syscall.Mmap(-1, 0, bytes, syscall.PROT_READ|syscall.PROT_WRITE,
		syscall.MAP_PRIVATE|syscall.MAP_ANON)
	check(err)
	// EINVAL: a kernel built without huge pages, which is as good.
	if err := syscall.Madvise(memory, syscall.MADV_NOHUGEPAGE); err != syscall.EINVAL {
		check(err)
	}
	for offset := 0; offset < bytes; offset += os.Getpagesize() {
		memory[offset] = 1
	}
	return memory
}

func start(further *os.File) time.Duration {
	begin := time.Now()
	command := exec.Command("/bin/true")
	// Unset, each would be a fresh open of /dev/null.
	command.Stdin, command.Stdout, command.Stderr = os.Stdin, os.Stdout, os.Stderr
	command.ExtraFiles = []*os.File{further}
	check(command.Run())
	return time.Since(begin)
}

func main() {
	bytes, err := strconv.Atoi(os.Args[1])
	check(err)
	memory := hold(bytes)
	further, err := os.Open("/dev/null")
	check(err)
	fmt.Println("ready")
	calls := bufio.NewScanner(os.Stdin)
	for calls.Scan() {
		times, err := strconv.Atoi(strings.TrimPrefix(calls.Text(), "run "))
		check(err)
		durations := make([]string, times)
		for i := range durations {
			durations[i] = strconv.FormatInt(start(further).Nanoseconds(), 10)
		}
		fmt.Println(strings.Join(durations, " "))
	}
	check(calls.Err())
	if bytes > 0 {
		check(syscall.Munmap(memory))
	}
}
