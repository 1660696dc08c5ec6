"""A thread that asks another process for a byte, as often as it can, and naps now and then: more waits than stacks can be
walked. Says how often it waited, for how long by its own clock, and the sum of the squares, of each as far as chance decides about it.
"""
import json
import os
import sys
import time

SECONDS = float(sys.argv[1])
# What is counted as itself, whether walked or not.
LONG_NS = 262144
clock = time.perf_counter_ns
ping, pong = os.pipe(), os.pipe()


def answer():
    # Its own end: without it the last reader would wait for ever.
    os.close(ping[1])
    while os.read(ping[0], 1) == b"x":
        os.write(pong[1], b"y")
    os._exit(0)


def ask():
    waits = squares = 0
    for _ in range(500):
        os.write(ping[1], b"x")
        begin = clock()
        os.read(pong[0], 1)  # at: ask
        # More than it was blocked, where it had to wait for a CPU.
        waited = min(clock() - begin, LONG_NS)
        waits += 1
        squares += waited * waited
    return waits, squares


def naps():
    time.sleep(0.002)  # at: naps


def rests():
    time.sleep(0.03)  # at: rests


def work():
    told = {"asked": 0, "squares": 0, "naps": 0, "rests": 0}
    end = clock() + SECONDS * 1e9
    while clock() < end:
        waits, squares = ask()
        told["asked"] += waits
        told["squares"] += squares
        naps()
        told["naps"] += 1
        if told["naps"] % 20 == 0:
            rests()
            told["rests"] += 1
    return told


if os.fork() == 0:
    answer()
os.close(ping[0])
print("ready", flush=True)
sys.stdin.readline()
print(json.dumps(work()), flush=True)
sys.stdin.readline()
