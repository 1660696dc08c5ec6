# Threads, recursion, one name in two places, a lambda, a comprehension, code of another file, native waits.
import json
import sys
import threading
import zlib

DATA = bytes(range(256)) * 4096


class Left:
    def twin(self):
        return sum(i * i for i in range(300))


class Right:
    def twin(self):
        return [i * i for i in range(300)]


def fold(n):
    if n:
        return fold(n - 1) + 1
    return len([i for i in range(40)])


exec(compile("def elsewhere(f):\n\n\n    return f(7)\n", "<no such file>", "exec"))


def work():
    while True:
        Left().twin(), Right().twin()
        fold(30)
        elsewhere(lambda x: json.dumps(list(range(x * 10))))


def native():
    while True:
        zlib.crc32(DATA)


threading.Thread(target=work, daemon=True).start()
threading.Thread(target=native, daemon=True, name="squeeze").start()
sys.stdout.write("ready\n")
sys.stdout.flush()
work()
