"""Uses the CPU most of the time; sleeps now and then, as a server does."""
import time

print("ready", flush=True)


def inner(limit):
    total = 0
    for index in range(limit):
        total += index
    return total


def outer():
    until = time.monotonic() + 0.05
    while time.monotonic() < until:
        inner(1000)


while True:
    outer()
    time.sleep(0.01)
