// Starts itself again on call: `config BYTES` hands over a JSON config by a
// pipe, `echo` exchanges gob messages over two pipes. Durations in nanoseconds.
package main

import (
	"bufio"
	"encoding/binary"
	"encoding/gob"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

type Mount struct {
	Source   string `json:"source"`
	Target   string `json:"target"`
	ReadOnly bool   `json:"read_only"`
}

type Config struct {
	Hostname string  `json:"hostname"`
	Mounts   []Mount `json:"mounts"`
	Timeout  uint64  `json:"timeout_ms"`
	Profile  string  `json:"profile"`
}

type Small struct {
	Number uint32
	Text   string
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "go peer:", err)
		os.Exit(1)
	}
}

// Now, on the clock that all processes share.
func now() uint64 {
	const monotonic = 1
	var at syscall.Timespec
	_, _, errno := syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, monotonic,
		uintptr(unsafe.Pointer(&at)), 0)
	if errno != 0 {
		check(errno)
	}
	return uint64(at.Sec)*1_000_000_000 + uint64(at.Nsec)
}

func pipe() (*os.File, *os.File) {
	reader, writer, err := os.Pipe()
	check(err)
	return reader, writer
}

// Descriptors 3 and 4 of the child.
func start(arguments []string, three, four *os.File) *exec.Cmd {
	command := exec.Command("/proc/self/exe", arguments...)
	command.Stdin, command.Stdout, command.Stderr = os.Stdin, os.Stderr, os.Stderr
	command.ExtraFiles = []*os.File{three, four}
	check(command.Start())
	three.Close()
	four.Close()
	return command
}

func handOver(config *Config) uint64 {
	begin := now()
	reader, writer := pipe()
	answers, answer := pipe()
	command := start([]string{"child", "config"}, reader, answer)
	check(json.NewEncoder(writer).Encode(config))
	writer.Close()
	var held uint64
	check(binary.Read(answers, binary.LittleEndian, &held))
	answers.Close()
	check(command.Wait())
	return held - begin
}

func child(work string) {
	input, output := os.NewFile(3, "input"), os.NewFile(4, "output")
	switch work {
	case "config":
		var config Config
		check(json.NewDecoder(input).Decode(&config))
		check(binary.Write(output, binary.LittleEndian, now()))
	case "echo":
		decoder, encoder := gob.NewDecoder(input), gob.NewEncoder(output)
		for {
			var message Small
			err := decoder.Decode(&message)
			if err == io.EOF {
				return
			}
			check(err)
			check(encoder.Encode(&message))
		}
	}
}

func config(bytes int) *Config {
	config := &Config{Hostname: "container-17", Timeout: 10000,
		Profile: strings.Repeat("x", bytes-700)}
	for i := 0; i < 16; i++ {
		config.Mounts = append(config.Mounts, Mount{
			fmt.Sprintf("/var/lib/container/layers/%d", i), fmt.Sprintf("/mnt/%d", i), i%2 == 0})
	}
	return config
}

func main() {
	var work func() uint64
	switch os.Args[1] {
	case "child":
		child(os.Args[2])
		return
	case "config":
		bytes, err := strconv.Atoi(os.Args[2])
		check(err)
		config := config(bytes)
		work = func() uint64 { return handOver(config) }
	case "echo":
		theirs, toChild := pipe()
		fromChild, back := pipe()
		start([]string{"child", "echo"}, theirs, back)
		encoder, decoder := gob.NewEncoder(toChild), gob.NewDecoder(fromChild)
		message := Small{7, strings.Repeat("t", 62)}
		work = func() uint64 {
			begin := time.Now()
			check(encoder.Encode(&message))
			var answer Small
			check(decoder.Decode(&answer))
			return uint64(time.Since(begin).Nanoseconds())
		}
	}
	fmt.Println("ready")
	calls := bufio.NewScanner(os.Stdin)
	for calls.Scan() {
		times, err := strconv.Atoi(strings.TrimPrefix(calls.Text(), "run "))
		check(err)
		durations := make([]string, times)
		for i := range durations {
			durations[i] = strconv.FormatUint(work(), 10)
		}
		fmt.Println(strings.Join(durations, " "))
	}
	check(calls.Err())
}
