# Churn until standard input ends: of processes, of threads, of code objects.
import os
import subprocess
import sys
import threading
import time

mode, interpreters = sys.argv[1], sys.argv[2:]
WORK = "import time\ndef short():\n    end = time.process_time() + 0.03\n    while time.process_time() < end:\n        pass\nshort()\n"


def ended():
    os.read(0, 1)
    os._exit(0)


def spin(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def processes(number):
    subprocess.run([interpreters[number % len(interpreters)], "-S", "-c", WORK], stdin=subprocess.DEVNULL)


def threads(number):
    workers = [threading.Thread(target=spin, args=(0.005,), name="worker-%d" % (number % 50)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


def codes(number):
    space = {"spin": spin}
    exec(compile("def made_%d():\n    spin(0.01)\nmade_%d()\n" % (number, number), "/made/%d.py" % number, "exec"), space)


threading.Thread(target=ended, daemon=True).start()
print("ready", flush=True)
number = 0
while True:
    globals()[mode](number)
    number += 1
    time.sleep(0.01)
