# Two callers take turns. Both come back to Python through C, each by functions of its own, so that a frame under the
# wrong caller makes a stack that cannot be. `#:` lists the calls a line can make; `x=<lambda>` names a code object.
import functools

DATA = [5, 3, 8, 1, 9, 2, 7]


class Ordered:
    def __init__(self, value):
        self.value = value

    def __lt__(self, other):
        return self.value < other.value


def leaf(n):
    total = 0
    for i in range(n):
        total += i * i
    return total


key_a = lambda x: -x  #: key_a=<lambda>
step_a = lambda x, y: x + y  #: step_a=<lambda>
key_b = lambda x: x ^ 3  #: key_b=<lambda>
step_b = lambda x, y: x | y  #: step_b=<lambda>


def plain_a(n):
    return leaf(n)  #: plain_a>leaf


def mapped_a(x):
    return leaf(x & 3) + 1  #: mapped_a>leaf


def item_a(x):
    return x * 3


def plain_b(n):
    return leaf(n) - 1  #: plain_b>leaf


def kept_b(x):
    return leaf(x & 1) == 0  #: kept_b>leaf


def item_b(x):
    return x + 3


def a():
    total = plain_a(4)  #: a>plain_a
    total += sum(map(mapped_a, DATA))  #: a>mapped_a
    total += sorted(DATA, key=key_a)[0]  #: a>key_a
    total += functools.reduce(step_a, DATA)  #: a>step_a
    total += sum([item_a(x) for x in DATA])  #: list_a=<listcomp> a>list_a@-11 list_a>item_a@-11 a>item_a@12-
    return total


def b():
    total = plain_b(4)  #: b>plain_b
    total += len(list(filter(kept_b, DATA)))  #: b>kept_b
    total += max(DATA, key=key_b)  #: b>key_b
    total += functools.reduce(step_b, DATA)  #: b>step_b
    total += sum(item_b(x) for x in DATA)  #: sum_b=<genexpr> b>sum_b sum_b>item_b
    items = [Ordered(x) for x in DATA]  #: list_b=<listcomp> b>list_b@-11 list_b>Ordered.__init__@-11 b>Ordered.__init__@12-
    items.sort()  #: b>Ordered.__lt__
    return total + items[0].value


def main():
    while True:
        a()  #: main>a
        b()  #: main>b


print("ready", flush=True)
main()  #: <module>>main
