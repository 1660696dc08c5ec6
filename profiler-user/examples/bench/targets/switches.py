# Two processes that wake each other in turn, some frames deep: switches.py DEPTH TURNS COUNTER
#
# Between two switches a loop of so many TURNS runs. Each round is two system calls of each and two switches. The first word of
# COUNTER, a file of 4096 bytes, counts rounds, its second word says who the other process is.
import mmap
import os
import sys

depth, turns, counter = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
with open(counter, "r+b") as file:
    done = memoryview(mmap.mmap(file.fileno(), 4096)).cast("Q")
sys.setrecursionlimit(10000)
(here, to_here), (there, to_there) = os.pipe(), os.pipe()


def deep(left, work):
    return deep(left - 1, work) if left else work()


def ask():
    while True:
        os.write(to_there, b"x")
        os.read(here, 1)
        done[0] += 1
        for _ in range(turns):
            pass


def answer():
    # Nothing comes once the other process is gone.
    while os.read(there, 1):
        os.write(to_here, b"x")
        for _ in range(turns):
            pass


child = os.fork()
if child == 0:
    os.close(here)
    os.close(to_there)
    deep(depth, answer)
    os._exit(0)
os.close(there)
os.close(to_here)
done[1] = child
print("ready", flush=True)
deep(depth, ask)
