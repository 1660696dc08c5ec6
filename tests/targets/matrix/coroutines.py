# A chain of coroutines, driven by hand: each send goes through all of them. Of 3.6, for the asynchronous generator.


def busy(n):
    total = 0
    for i in range(n):
        total += i * i
    return total


class Pause:
    def __await__(self):
        busy(30)
        got = yield 1
        return got


async def bottom(n):
    for i in range(n):
        await Pause()
        busy(30)


async def numbers(n):
    for i in range(n):
        await Pause()
        yield busy(20)


async def middle(n):
    await bottom(n)
    async for value in numbers(n):
        busy(value & 7)


class Around:
    async def __aenter__(self):
        await Pause()

    async def __aexit__(self, *error):
        await Pause()


async def top(n):
    async with Around():
        await middle(n)
    return 1


def drive():
    # One line: making a coroutine enters it, and no hook says so.
    chain = top(60); chain.send(None)
    try:
        while True:
            chain.send(None)
    except StopIteration:
        pass


MUSTS = (busy, bottom, numbers, middle, top, Pause.__await__)
