# `yield from` is of 3.3: apart, for older ones not to read it.


def innermost(n):
    for i in range(n):
        total = 0
        for j in range(30):
            total += j
        yield total


def inner(n):
    yield from innermost(n)


def outer(n):
    yield from inner(n)
    yield from inner(n)


def delegated():
    total = 0
    for value in outer(150):
        total += value
    return total
