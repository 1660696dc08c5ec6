# A loop of three lines, and the time that the thread spent in each as its own clock says. Told to go, it runs for a
# while and prints the three times.
import random
import sys
from time import thread_time_ns

SIX = [0] * 240_000
THREE = [0] * 120_000
ONE = [0] * 40_000
# Of a length that is no multiple of the sampling period, and different each time: no beat between the two.
JITTER = [[0] * (i * 1000) for i in range(100)]


def loop(until):
    first = second = third = 0
    a = thread_time_ns()
    while a < until:
        sum(SIX)  # 60
        b = thread_time_ns()
        sum(THREE)  # 30
        c = thread_time_ns()
        sum(ONE)  # 10
        d = thread_time_ns()
        first, second, third = first + b - a, second + c - b, third + d - c
        sum(random.choice(JITTER))
        a = thread_time_ns()
    return first, second, third


print("ready", flush=True)
for order in sys.stdin:
    print(*loop(thread_time_ns() + int(order)), flush=True)
