# What runs in a subinterpreter, after recorder.py in the same module: one with and one without a GIL of its own.
try:
    import zlib
except ImportError:
    zlib = None

NOISE = os.urandom(1 << 17)
FILE = os.open(DIRECTORY + "/blob", os.O_RDONLY)


def spin_sub(n):
    total = 0
    for i in range(n):
        total += i * i
    return total


def phase_subinterpreters__sub():
    for _ in range(20):
        spin_sub(3000)


def phase_two_held__sub():
    for _ in range(20):
        spin_sub(3000)


def compress_sub():
    if zlib is not None:
        return zlib.compress(NOISE)
    for _ in range(4):
        os.lseek(FILE, 0, 0)
        os.read(FILE, 1 << 22)


def phase_two_released__sub():
    compress_sub()
    compress_sub()


# Long enough that to compile the call is next to nothing.
def phase_made_elsewhere__sub():
    for _ in range(40):
        spin_sub(3000)
    compress_sub()
