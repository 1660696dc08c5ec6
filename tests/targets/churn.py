"""Functions freed and made again in the same memory, each with its own name, file and first line.

Every function `f_<number>_<first line>` is called by a wrapper `w_<number>_<first line>_<first line of f>` of its own.
At the end the log of all code objects goes to standard output: `<name> <address>`, one per line.
"""
import sys
import time

SLOTS, BUSY, QUICK = (int(word) for word in sys.argv[1:4])
FUNCTIONS = """
def f_{n}_{f}(end, clock):
    while clock() < end:
        sum(range(50))

def w_{n}_{w}_{f}(end, clock):
    f_{n}_{f}(end, clock)
"""
log = []
# Code objects that each address has hosted.
hosted = {}
reused = 0
number = 0


def make():
    """A wrapper and its function, by one compilation, somewhere else in a file of their own."""
    global number, reused
    number += 1
    first = 10 + 7 * (number % 1499)
    source = "\n" * (first - 2) + FUNCTIONS.format(n=number, f=first, w=first + 4)
    namespace = {}
    exec(compile(source, "/churn/%d.py" % number, "exec"), namespace)
    function = namespace["f_%d_%d" % (number, first)]
    wrapper = namespace["w_%d_%d_%d" % (number, first + 4, first)]
    for one in function, wrapper:
        address = id(one.__code__)
        log.append((one.__code__.co_name, address))
        hosted[address] = hosted.get(address, 0) + 1
        reused += hosted[address] == 2
    return wrapper


def churn():
    clock = time.thread_time_ns
    # Many addresses: a generation goes as a whole, and the next one takes its memory.
    while len(log) < 40 * SLOTS and reused < 800:
        generation = []
        for _ in range(SLOTS):
            generation.append(make())
            generation[-1](clock() + BUSY * 1000, clock)
    # One address or two, over and over: here the pointers inside the code object recur as well.
    for _ in range(QUICK):
        make()(clock() + BUSY * 1000, clock)


# Raw lines: `input()` would run a codec's Python code in the middle of the capture.
print("ready", flush=True)
sys.stdin.buffer.readline()
churn()
print("done", flush=True)
sys.stdin.buffer.readline()
for name, address in log:
    print(name, address)
