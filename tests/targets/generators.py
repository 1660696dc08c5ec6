# Generators resumed in every way there is, each kind by a caller of its own. For `#:` see flat.py.


def twist(x):
    return (x * 5 + 1) & 255


def numbers_for(n):
    for i in range(n):
        yield i * i


def pairs(n):
    for value in numbers_for(n):  #: pairs>numbers_for
        yield value, value + 1


def numbers_next(n):
    for i in range(n):
        yield i + 1


def echo():
    got = 0
    while True:
        got = yield twist(got)  #: echo>twist


def item(x):
    return x & 15


def numbers_list(n):
    for i in range(n):
        yield i - 1


def by_for(n):
    total = 0
    for left, right in pairs(n):  #: by_for>pairs
        total += left + right
    return total


def by_next(n):
    source = numbers_next(n)  #: by_next>numbers_next
    total = 0
    value = 0
    while value is not None:
        total += value
        value = next(source, None)  #: by_next>numbers_next
    return total


def by_send(n):
    source = echo()  #: by_send>echo
    total = next(source)  #: by_send>echo
    for i in range(n):
        total += source.send(i)  #: by_send>echo
    # Left to the destructor, it would be closed from whoever called this function.
    source.close()  #: by_send>echo
    return total


def by_sum(n):
    return sum(item(x) for x in range(n))  #: sum_of=<genexpr> by_sum>sum_of sum_of>item


def by_list(n):
    return list(numbers_list(n))[0]  #: by_list>numbers_list


def main():
    while True:
        by_for(20)  #: main>by_for
        by_next(20)  #: main>by_next
        by_send(20)  #: main>by_send
        by_sum(20)  #: main>by_sum
        by_list(20)  #: main>by_list


print("ready", flush=True)
main()  #: <module>>main
