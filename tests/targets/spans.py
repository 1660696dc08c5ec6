# Calls that span lines, in every form the language has. The first round runs under the interpreter's own profiling hook,
# which notes the callers of every call, once per distinct path: that is what a profiler has to show of them.
import contextlib
import functools
import json
import random
import sys

paths = set()


def record(frame, event, _):
    if event != "call":
        return
    path = [(frame.f_code.co_name, "", 0, 0)]
    while frame.f_back is not None:
        frame = frame.f_back
        code = frame.f_code
        name = getattr(code, "co_qualname", code.co_name)
        path.append((name, code.co_filename, code.co_firstlineno, frame.f_lineno or 0))
    paths.add(tuple(path))


def leaf(*values):
    total = 0
    for i in range(300):
        total += i
    return 1


def arguments():
    leaf(
        1,
        2,
    )
    max(
        leaf(
            3
        ),
        leaf(4)
        + leaf(5),
        *[
            leaf(6),
        ],
        key=lambda value: leaf(
            value
        ),
    )


class Chain:
    def __init__(self):
        leaf()

    def first(self):
        leaf()
        return self

    def second(self, *values):
        leaf()
        return self

    def __add__(self, other):
        leaf()
        return self

    def __getitem__(self, index):
        leaf()
        return self

    def __bool__(self):
        leaf()
        return True

    def __lt__(self, other):
        leaf()
        return True

    @property
    def shown(self):
        return leaf()


def chain():
    (
        Chain()
        .first()
        .second(
            leaf(),
            1,
        )
        .first()
    )


def operators():
    left, right = Chain(), Chain()
    (
        left
        + right
        + left
    )
    left[
        leaf()
    ]
    if (
        left
        and right.shown
    ):
        leaf()
    return (
        left
        < right
    )


def decorate(value):
    leaf()

    def wrap(function):
        leaf()

        @functools.wraps(function)
        def inner(*args):
            return function(
                *args
            )

        return inner

    return wrap


def decorators():
    @decorate(
        1
    )
    @decorate(2)
    def decorated(
        value=leaf(),
    ):
        leaf()

    decorated(
        3,
    )

    class Local(
        Chain,
    ):
        value = leaf()

        def method(self):
            super().first()

    Local().method()


class Manager:
    def __enter__(self):
        leaf()

    def __exit__(self, *error):
        leaf()


def steps(_):
    leaf()
    try:
        yield
    finally:
        leaf()


# Making a generator is no call to the hook, so an argument that is one stands on every line that does.
@contextlib.contextmanager
def managed():
    return steps(leaf())


def blocks():
    with Manager() as one, \
            managed() as two:
        leaf()
    with managed():
        for i in range(2):
            leaf()
    with Manager():
        return leaf()


def fail():
    leaf()
    raise ValueError


def errors():
    try:
        fail()
    except (
        ValueError,
    ):
        leaf()
    else:
        pass
    finally:
        leaf()
    try:
        leaf()
    except ValueError:
        pass
    else:
        leaf()
    finally:
        leaf(
            1
        )


def comprehensions():
    [
        leaf(value)
        for value in range(2)
        if leaf()
    ]
    {
        value: leaf(
            value
        )
        for value in range(2)
    }
    sum(
        leaf(value)
        for value in range(2)
    )
    {leaf(outer) for inner in [
        leaf()
    ] for outer in range(2)}


def strings():
    f"{leaf()} and {leaf(1)}"
    f"""
    {leaf()}
    {
        leaf()
    }
    """
    "%s %s" % (
        leaf(),
        leaf(),
    )


def generator(_):
    value = leaf()
    try:
        while value < 5:
            value += (yield leaf(
                value
            )) or 1
    finally:
        leaf()


def nested(_):
    yield from (
        generator(leaf())
    )


def generators():
    source = nested(leaf())
    next(source)
    source.send(
        1
    )
    for _ in source:
        leaf()
        break
    source.close()


async def awaited(_):
    leaf()
    return 1


async def awaiting(_):
    return [
        await awaited(leaf()),
        await
        awaited(leaf()),
    ]


def coroutines():
    try:
        awaiting(leaf()).send(
            None
        )
    except StopIteration:
        leaf()


def flow(value=0):
    value = (
        leaf()
        if value
        else leaf()
    )
    assert leaf(), leaf()
    while (
        leaf()
        and value < 2
    ):
        value += 1
    if not leaf():
        pass
    elif leaf(
        1
    ):
        leaf()
    (lambda: leaf(
        2
    ))()
    functools.reduce(
        lambda x, y: leaf(),
        range(3),
    )
    sorted([2, 1], key=
           leaf)
    exec("\n\nleaf()\n\nleaf(\n1\n)")


def main():
    arguments(); chain()
    operators()
    decorators()
    blocks()
    errors(); comprehensions()
    strings()
    generators()
    coroutines()
    flow()


is_first = True
sys.setprofile(record)
while True:
    # The same call with the hook and without, so that its line is the same.
    main()
    if is_first:
        sys.setprofile(None)
        is_first = False
        print(json.dumps(sorted(paths)), flush=True)
    # No beat between the rounds and the samples.
    sum(range(int(random.random() * 10_000)))
