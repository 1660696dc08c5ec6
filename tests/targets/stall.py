"""Puts pages of a file that somebody else may stop to serve where a profiler looks."""
import ctypes
import mmap
import os
import sys

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
MAP_FIXED = 0x10


# Shared, so that nobody takes them for a part of a program.
MAP_SHARED_FIXED = mmap.MAP_SHARED | MAP_FIXED


def replace(address, size):
    """From here on these whole pages are the file's, and this process does not touch them."""
    end = (address + size) & -mmap.PAGESIZE
    first = -(-address // mmap.PAGESIZE) * mmap.PAGESIZE
    size = end - first
    assert size > 0
    fd = os.open(os.environ["STALL_FILE"], os.O_RDWR)
    assert libc.mmap(first, size, mmap.PROT_READ | mmap.PROT_WRITE, MAP_SHARED_FIXED, fd, 0) == first


what = sys.argv[1] if len(sys.argv) > 1 else ""
if what == "arguments":
    # arg_start, arg_end, env_start, env_end: fields 48 to 51 of proc_pid_stat(5).
    fields = open("/proc/self/stat").read().rsplit(")", 1)[1].split()
    start, end = int(fields[45]), int(fields[48])
    replace(start, end - start)
elif what == "runtime":
    library = ctypes.CDLL(sys.argv[2], mode=os.RTLD_LOCAL | os.RTLD_LAZY)
    address = ctypes.addressof(ctypes.c_char.in_dll(library, "_PyRuntime"))
    replace(address & -mmap.PAGESIZE, mmap.PAGESIZE)
print("ready", flush=True)


def work():
    total = 0
    for index in range(20000):
        total += index
    return total


while True:
    work()
    # Beside a busy process, not instead of it.
    libc.usleep(20000)
