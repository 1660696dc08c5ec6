# Many threads that all work, each with stacks of its own: threads.py THREADS REST_MS
import sys
import threading
import time


def fib(n):
    return n if n < 2 else fib(n - 1) + fib(n - 2)


def ordered(n):
    return sorted(str(i) for i in range(n))


def nested(n):
    return [[[k for k in range(3)] for _ in range(10)] for _ in range(n)]


def serve(number):
    # Nobody works until all are there: a thread that starts would have to wait for the GIL behind all the others.
    begin.wait()
    turn, rest = number, int(sys.argv[2]) / 1000
    while True:
        (fib, ordered, nested)[turn % 3](10 + turn % 5)
        turn += 1
        if rest:
            time.sleep(rest)


begin = threading.Event()
for number in range(int(sys.argv[1])):
    threading.Thread(target=serve, args=(number,), name="worker-%d" % number, daemon=True).start()
sys.stdout.write("ready\n")
sys.stdout.flush()
begin.set()
threading.Event().wait()
