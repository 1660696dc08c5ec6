"""Matrices without numpy: one hot loop, and a recursion for a deep stack."""

import time

SIZE = 24


def multiply(left, right):
    columns = list(zip(*right))
    return [[dot(row, column) for column in columns] for row in left]


def dot(row, column):
    total = 0.0
    for a, b in zip(row, column):
        total += a * b
    return total


def power(matrix, exponent):
    if exponent == 0:
        return [[float(i == j) for j in range(SIZE)] for i in range(SIZE)]
    half = power(matrix, exponent // 2)
    square = multiply(half, half)
    return multiply(square, matrix) if exponent % 2 else square


def main():
    matrix = [[1.0 / (1 + i + j) for j in range(SIZE)] for i in range(SIZE)]
    while True:
        started = time.monotonic()
        power(matrix, 13)
        # Rests twice as long as it worked: a third of a core on any machine.
        time.sleep(2 * (time.monotonic() - started))


if __name__ == "__main__":
    main()
