# The head of every target of this directory: it is put in front of the script.
#
# A target counts what it gets done in a shared file (a word per thread or process, so that no count is lost) and says how
# its own functions can call each other: `edge CALLER CALLEE`, with `*` for code that is not of this file. What a profiler
# reports is held against that, never against another profiler.
import mmap
import os
import signal
import sys

COUNTER_BYTES = 65536
with open(os.environ["PEERS_COUNTER"], "r+b") as _file:
    done = memoryview(mmap.mmap(_file.fileno(), COUNTER_BYTES)).cast("Q")
# Parents put those of their children elsewhere.
FIRST_WORD = int(os.environ.get("PEERS_WORD", "0"))
sys.setrecursionlimit(20000)


def say(word, *rest):
    # One write: threads and children share the pipe.
    os.write(1, (" ".join([word, *map(str, rest)]) + "\n").encode())


def chain(name, frames, rounds=20):
    # `frames` functions, each calling the next one; the last of them works. Every one has its own code.
    source = []
    for i in range(frames - 1):
        source.append("def %s%d():\n    x = %s%d()\n    return x\n" % (name, i, name, i + 1))
        say("edge", "%s%d" % (name, i), "%s%d" % (name, i + 1))
    source.append(
        "def %s%d():\n    total = 0\n    for i in range(%d):\n        total += i\n    return total\n"
        % (name, frames - 1, rounds)
    )
    exec(compile("\n".join(source), __file__, "exec"), globals())
    return globals()[name + "0"]


def ready():
    # Not earlier: a server may set handlers of its own when its workers begin.
    if os.environ.get("PEERS_INSIDE"):
        signal.signal(signal.SIGUSR1, _inside_start)
        signal.signal(signal.SIGUSR2, _inside_stop)
    # Those of a crowd begin when all of them are there.
    for edge in ("<module>", "ready"), ("main", "ready"), ("ready", "say"), ("say", "*"), ("ready", "*"):
        say("edge", *edge)
    say("pid", os.getpid())
    say("ready")
    if os.environ.get("PEERS_GATE"):
        sys.stdin.readline()


# Only for a profiler that lives in the process it profiles: the last word says what it is at.
INSIDE_WORD = len(done) - 1


def _inside_start(*_):
    _inside.start()
    done[INSIDE_WORD] = 1


def _inside_stop(*_):
    _inside.stop()
    done[INSIDE_WORD] = 2


if os.environ.get("PEERS_INSIDE"):
    # Here, and not when it is wanted: an import beside threads that all want the GIL takes minutes.
    from ddtrace.profiling import Profiler

    _inside = Profiler()
