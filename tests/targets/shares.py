# A loop of three lines, and the time that the thread spent in each as its own clock says. Told to go, it runs for a
# while and prints the three times.
#
# A virtual machine may stand still for tens of milliseconds: the clock goes on, hardly a tick comes. Rounds in which a
# line took far more than its median are counted for that, as a fourth number.
import random
import sys
from statistics import median
from time import thread_time_ns

SIX = [0] * 240_000
THREE = [0] * 120_000
ONE = [0] * 40_000
# Of another length each time, two of them a round: no beat between the rounds and the samples.
JITTER = [[0] * (i * 1000) for i in range(100)]


def loop(until):
    rounds = []
    a = thread_time_ns()
    while a < until:
        sum(SIX)  # 60
        b = thread_time_ns()
        sum(THREE)  # 30
        c = thread_time_ns()
        sum(ONE)  # 10
        d = thread_time_ns()
        rounds.append((b - a, c - b, d - c))
        sum(random.choice(JITTER))
        sum(random.choice(JITTER))
        a = thread_time_ns()
    return rounds


def times(rounds):
    limits = [3 * median(line) for line in zip(*rounds)]
    stalls = sum(any(time > limit for time, limit in zip(times, limits)) for times in rounds)
    return [sum(line) for line in zip(*rounds)] + [stalls]


print("ready", flush=True)
for order in sys.stdin:
    print(*times(loop(thread_time_ns() + int(order))), flush=True)
