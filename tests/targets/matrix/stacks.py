# Pure Python in every shape of a call.
import marshal
import sys
import types


def spin(n):
    total = 0
    for i in range(n):
        total += i * i
    return total


def must(*functions):
    def mark(work):
        work.musts = functions
        return work
    return mark


def flat_one():
    return spin(3000)


def flat_two():
    return spin(2000) + spin(1000)


def flat_three():
    total = 0
    for i in range(3000):
        total += i
    return total


@must(flat_one, flat_two, flat_three, spin)
def phase_flat():
    for _ in range(3):
        flat_one()
        flat_two()
        flat_three()


def deep_end():
    return spin(8000)


def deep(n):
    if n == 0:
        return deep_end()
    return deep(n - 1) + 1


# With what is below and above, 400 frames.
@must(deep_end)
def phase_deep():
    deep(395)


def numbers(n):
    for i in range(n):
        yield spin(i & 31)


def pairs(n):
    for value in numbers(n):
        yield value, value + 1


def echo():
    got = 0
    while got is not None:
        got = yield spin(got & 31)


def by_for():
    total = 0
    for left, right in pairs(200):
        total += left + right
    return total


def by_next():
    # One line: making a generator enters it, and no hook says so.
    source = numbers(200); value = next(source, None)
    while value is not None:
        value = next(source, None)


def by_send():
    source = echo(); next(source)
    for i in range(200):
        source.send(i)
    # To its end: a generator that is closed runs once more, and no hook says so.
    next(source, None)


def by_expression():
    return sum(spin(x & 31) for x in range(200))


def delegated():
    for _ in []:
        pass


if sys.version_info >= (3, 3):
    from delegating import delegated


@must(by_for, by_next, by_send, by_expression, pairs, numbers, echo)
def phase_generators():
    by_for()
    by_next()
    by_send()
    by_expression()
    delegated()


def fail(depth):
    if depth == 0:
        spin(100)
        raise ValueError("as planned")
    try:
        fail(depth - 1)
    finally:
        spin(50)


def caught():
    try:
        fail(6)
    except ValueError:
        spin(100)
    else:
        spin(1)
    finally:
        spin(100)


def again():
    try:
        try:
            fail(2)
        except ValueError:
            spin(60)
            raise
    except Exception:
        spin(60)


class Manager(object):
    def __enter__(self):
        return spin(60)

    def __exit__(self, *error):
        spin(60)
        return True


def managed():
    with Manager():
        fail(1)
    return spin(60)


@must(fail, caught, again, Manager.__exit__)
def phase_exceptions():
    for _ in range(20):
        caught()
        again()
        managed()


class Plain(object):
    def __init__(self, value):
        self.value = value
        self.more = value + 1


class Derived(Plain):
    def __init__(self, value):
        Plain.__init__(self, value)
        self.most = spin(8)


def make_plain():
    for i in range(2000):
        Plain(i)


def make_derived():
    for i in range(500):
        Derived(i)


# What is specialised has frames of its own between a call and its `__init__`.
@must(Plain.__init__, Derived.__init__, make_plain, make_derived)
def phase_init():
    make_plain()
    make_derived()


CHURN = 64
_blobs = []


def prepare_churn():
    for i in range(CHURN):
        source = "\n" * i + "def churn_%d():\n    total = 0\n    for i in range(60):\n        total += i\n" % i
        source += "    return total\n\n\ndef over_%d():\n    return churn_%d()\n" % (i, i)
        code = compile(source, "churn_%d.py" % i, "exec")
        # An own name for each.
        _blobs.append([marshal.dumps(const) for const in code.co_consts if isinstance(const, types.CodeType)])


# Each code object lives for one call: its address is the next one's.
def phase_churn():
    for blobs in _blobs:
        space = {"range": range}
        for blob in blobs:
            code = marshal.loads(blob)
            space[code.co_name] = types.FunctionType(code, space)
        for _ in range(3):
            space[code.co_name]()
        space.clear()


coroutines = None
if sys.version_info >= (3, 6):
    import coroutines


def phase_coroutines():
    coroutines.drive()


def prepare_coroutines():
    if coroutines is None:
        return "async def is of 3.5"
    phase_coroutines.musts = coroutines.MUSTS


PHASES = [
    ("flat", None, phase_flat),
    ("deep", None, phase_deep),
    ("generators", None, phase_generators),
    ("coroutines", prepare_coroutines, phase_coroutines),
    ("exceptions", None, phase_exceptions),
    ("init", None, phase_init),
    ("churn", prepare_churn, phase_churn),
]
