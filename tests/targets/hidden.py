"""A thread runs a subinterpreter that another thread made, up to 3.9, where only its C stack tells: deep in C code, beyond
what is read of that, or not.
"""
import _thread
import _xxsubinterpreters as api
import sys

INSIDE = """
def deep(n):
    value = list(range(20000))
    for _ in range(n):
        value = [value]
    return value

def runs_inside(value):
    while True:
        repr(value)

runs_inside(deep(%s))
"""
which = api.create()


def runs_outside():
    api.run_string(which, INSIDE % sys.argv[1])


# That interpreter does not give the GIL back: what it is asked to is another one's (`ceval_gil.h` of 3.9, `take_gil`).
print("ready", flush=True)
_thread.start_new_thread(runs_outside, ())
sys.stdin.readline()
