# The workloads of the matrix, one after the other: `truth` runs each once and prints which stacks it has, `run` runs each
# for some milliseconds of processor time when it is told to. In between, only what this file does. `one` is what a single
# interpreter does, `more` what needs others, which are there from the start.
import os
import sys
import time

import parallel
import recorder
import stacks
import native
import text
import subs

PHASES = {
    "one": stacks.PHASES + native.PHASES + text.PHASES + parallel.PHASES,
    "more": subs.PHASES + native.COLLECTOR,
}

# Of the whole process.
clock = getattr(time, "process_time", None) or time.clock


def measure(work, seconds):
    start = clock()
    end = start + seconds
    if recorder.current is not None:
        recorder.current.start(sys._getframe())
    while True:
        work()
        if recorder.current is not None:
            sys.setprofile(None)
            return
        now = clock()
        if now >= end:
            return now - start


def tell(name, work):
    for function in getattr(work, "musts", ()):
        recorder.current.must(function.__code__)
    recorder.current.dump(name)
    recorder.current = None
    subs.dump(name)


def main(mode, group, seconds):
    subs.mode = mode
    # The first time, 2.7 looks for the codec.
    u"".encode("ascii")
    works = []
    for name, prepare, work in PHASES[group]:
        why = prepare() if prepare is not None else None
        if why is None:
            works.append((name, work))
        elif mode == "truth":
            recorder.say("absent %s %s" % (name, recorder._hex(why)))
    if mode == "truth":
        recorder.say("version %d.%d.%d" % sys.version_info[:3])
    else:
        os.write(1, b"ready\n")
        os.read(0, 1)
    for name, work in works:
        if mode == "truth":
            recorder.current = recorder.Recorder()
        # One line for both, since a caller is known by its line.
        spent = measure(work, seconds)
        if mode == "truth":
            tell(name, work)
        else:
            os.write(1, ("done %s %d\n" % (name, spent * 1e9)).encode("ascii"))
    os.write(1, b"end\n")
    os.read(0, 1)


main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
