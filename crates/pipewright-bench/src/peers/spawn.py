# Starts /bin/true with one further descriptor, on call. Argument: bytes to hold.
import mmap
import os
import subprocess
import sys
import time

size = int(sys.argv[1])
if size:
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    try:
        memory.madvise(mmap.MADV_NOHUGEPAGE)
    except OSError:
        pass  # a kernel built without huge pages, which is as good
    memory[:: mmap.PAGESIZE] = b"\1" * (size // mmap.PAGESIZE)

# pass_fds keeps the number, so the descriptor has to be 3 on this side too.
os.dup2(os.open("/dev/null", os.O_RDONLY), 3)


def start():
    begin = time.perf_counter_ns()
    child = subprocess.Popen(["/bin/true"], pass_fds=(3,))
    if child.wait() != 0:
        sys.exit(f"python peer: /bin/true ended with {child.returncode}")
    return time.perf_counter_ns() - begin


print("ready", flush=True)
for call in sys.stdin:
    times = int(call.removeprefix("run "))
    print(*[start() for _ in range(times)], flush=True)
