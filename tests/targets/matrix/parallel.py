# Three threads, each with functions of its own, so that one that is taken for another shows.
import sys

import recorder

try:
    import _thread
except ImportError:
    import thread as _thread

# Long enough that the beginning and the end of a thread, where it has no frames, are next to nothing.
ROUNDS = 200
# 2.7 offers its GIL after each 100 bytecodes, and a switch costs as much: interrupts wait until it is over.
if sys.version_info < (3,):
    sys.setcheckinterval(10000)


def work_a(n):
    total = 0
    for i in range(n):
        total += i
    return total


def work_b(n):
    total = 1
    for i in range(n):
        total ^= i
    return total


def work_c(n):
    total = 2
    for i in range(n):
        total |= i
    return total


def phase_threads__a(done):
    if recorder.current is not None:
        recorder.current.start(sys._getframe())
    for _ in range(ROUNDS):
        work_a(3000)
    if recorder.current is not None:
        sys.setprofile(None)
    done.release()


def phase_threads__b(done):
    if recorder.current is not None:
        recorder.current.start(sys._getframe())
    for _ in range(ROUNDS):
        work_b(3000)
    if recorder.current is not None:
        sys.setprofile(None)
    done.release()


def phase_threads__c(done):
    if recorder.current is not None:
        recorder.current.start(sys._getframe())
    for _ in range(ROUNDS):
        work_c(3000)
    if recorder.current is not None:
        sys.setprofile(None)
    done.release()


def phase_threads():
    waiting = []
    for root in (phase_threads__a, phase_threads__b, phase_threads__c):
        done = _thread.allocate_lock()
        done.acquire()
        _thread.start_new_thread(root, (done,))
        waiting.append(done)
        if recorder.current is not None:
            # One table, one writer.
            done.acquire()
            done.release()
    for done in waiting:
        done.acquire()


phase_threads.musts = (phase_threads__a, phase_threads__b, phase_threads__c, work_a, work_b, work_c)

PHASES = [("threads", None, phase_threads)]
