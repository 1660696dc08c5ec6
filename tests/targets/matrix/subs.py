# Subinterpreters: a thread that runs one has a thread state in each, both with frames, and only one of them runs.
import os
import sys

import native
import recorder
from parallel import _thread

try:
    import _interpreters as _api
except ImportError:
    try:
        import _xxsubinterpreters as _api
    except ImportError as error:
        _api, _why = None, str(error)

HERE = os.path.dirname(os.path.abspath(__file__))
mode = "run"
_made = []
_main = []
_workers = []
_runners = []

# The same text with a recorder and without, so that lines are the same.
CALL = "if current is not None:\n    current.start(sys._getframe())\n%s()\nsys.setprofile(None)\n"


def read(name):
    with open(os.path.join(HERE, name)) as file:
        return file.read()


def create(own_gil):
    if sys.version_info >= (3, 13):
        return _api.create("isolated" if own_gil else "legacy")
    if sys.version_info >= (3, 12):
        return _api.create(isolated=own_gil)
    return _api.create()


def run(which, text):
    error = _api.run_string(which, text)
    if error is not None:
        raise RuntimeError(error)


class Ordered(object):
    """A thread that does its work each time it is told to."""

    def __init__(self, loop):
        self.order = _thread.allocate_lock()
        self.done = _thread.allocate_lock()
        self.order.acquire()
        self.done.acquire()
        _thread.start_new_thread(loop, (self,))

    def work(self):
        self.order.release()


class Runner(Ordered):
    """Runs a subinterpreter that another thread made: up to 3.12 its thread state has the id of the one that did."""

    def __init__(self, which):
        self.which = which
        Ordered.__init__(self, phase_made_elsewhere__runner)


class Worker(Ordered):
    """Runs a subinterpreter that it made itself: up to 3.11 its thread state is that of the thread that did."""

    def __init__(self, own_gil):
        self.own_gil = own_gil
        self.which = None
        self.error = None
        Ordered.__init__(self, phase_subinterpreters__worker)
        self.done.acquire()
        if self.error is not None:
            raise RuntimeError(self.error)


def make(own_gil):
    which = create(own_gil)
    run(which, read("recorder.py"))
    run(which, "DIRECTORY = %r\n" % HERE + read("in_sub.py"))
    if mode == "truth":
        run(which, "current = Recorder()")
    _made.append(which)
    return which


def phase_subinterpreters__worker(worker):
    try:
        worker.which = make(worker.own_gil)
    except Exception as error:
        worker.error = repr(error)
    worker.done.release()
    while True:
        worker.order.acquire()
        if recorder.current is not None:
            recorder.current.start(sys._getframe())
        _api.run_string(worker.which, CALL % "phase_subinterpreters__sub")
        if recorder.current is not None:
            sys.setprofile(None)
        worker.done.release()


def phase_made_elsewhere__runner(runner):
    while True:
        runner.order.acquire()
        if recorder.current is not None:
            recorder.current.start(sys._getframe())
        _api.run_string(runner.which, CALL % "phase_made_elsewhere__sub")
        if recorder.current is not None:
            sys.setprofile(None)
        runner.done.release()


def prepare():
    if _api is None:
        return _why
    if not _made:
        _main[:] = [make(True), make(False)]
        _workers[:] = [Worker(True), Worker(False)]
        _runners[:] = [Runner(which) for which in _main]


def dump(phase):
    for which in _made:
        run(which, "current.dump('%s')\ncurrent = Recorder()\n" % phase)


def spin(n):
    total = 0
    for i in range(n):
        total += i * i
    return total


# Subinterpreters in threads of their own, while this thread runs the main one.
def phase_subinterpreters():
    for worker in _workers:
        worker.work()
        if recorder.current is not None:
            # One table, one writer.
            worker.done.acquire()
            worker.done.release()
    for _ in range(20):
        spin(3000)
    for worker in _workers:
        worker.done.acquire()


def phase_two_held():
    for which in _main:
        _api.run_string(which, CALL % "phase_two_held__sub")
        spin(3000)


def phase_two_released():
    for which in _main:
        _api.run_string(which, CALL % "phase_two_released__sub")
        native.compress()


# What this thread made, in threads that did not, while this one has frames of its own, with the GIL and without.
def phase_made_elsewhere():
    for runner in _runners:
        runner.work()
        if recorder.current is not None:
            # One table, one writer.
            runner.done.acquire()
            runner.done.release()
    for _ in range(40):
        spin(3000)
    native.compress()
    for runner in _runners:
        runner.done.acquire()


PHASES = [
    ("subinterpreters", prepare, phase_subinterpreters),
    ("two_held", prepare, phase_two_held),
    ("two_released", prepare, phase_two_released),
    ("made_elsewhere", prepare, phase_made_elsewhere),
]
