# Time in C: with the GIL released, with it held, in the garbage collector, at lines that are known.
import gc
import os

try:
    import zlib
except ImportError:
    zlib = None

NOISE = os.urandom(1 << 17)
# Where there is no zlib: reading is what releases the GIL, and the kernel takes its time.
FILE = os.open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "blob"), os.O_RDONLY)
BIG = list(range(10000))


def compress():
    if zlib is not None:
        return zlib.compress(NOISE)
    for _ in range(8):
        os.lseek(FILE, 0, 0)
        os.read(FILE, 1 << 22)


def phase_released():
    for _ in range(2):
        compress()


phase_released.musts = (compress,)


def outer_line():
    return sum(
        BIG
    )


def phase_lines():
    values = [
        sum(BIG),
        sum(
            BIG
        ),
        outer_line(),
    ]
    if (sum(BIG)
            and sum(BIG) > 0):
        values.append(
            sum(BIG))
    try:
        values.append(sum(BIG)); values.append(
            outer_line())
    finally:
        sum(BIG)
    return values


_graph = []


def prepare_gc():
    _graph.extend([[i, [i]] for i in range(100000)])
    for i, item in enumerate(_graph):
        item.append(_graph[i - 1])


def phase_gc():
    gc.collect()


PHASES = [
    ("released", None, phase_released),
    ("lines", None, phase_lines),
]
# The last of all: the graph would be collected along with others'.
COLLECTOR = [("gc", prepare_gc, phase_gc)]
