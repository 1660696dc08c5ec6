"""A parent and a forked child that pass batches through a pipe: two processes, two profiles."""

import hashlib
import multiprocessing
import os
import time


def digest(batch):
    state = hashlib.sha256()
    for turn in range(10):
        for item in batch:
            state.update(f"{turn}:{item}".encode())
    return state.hexdigest()


def child(pipe, parent):
    # The parent may be killed without a chance to say goodbye.
    while os.getppid() == parent:
        if pipe.poll(0.5):
            pipe.send(digest(pipe.recv()))


def collatz(start):
    steps = 0
    while start != 1:
        start = start // 2 if start % 2 == 0 else 3 * start + 1
        steps += 1
    return steps


def main():
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    context.Process(target=child, args=(there, os.getpid()), daemon=True).start()
    while True:
        here.send([collatz(n) for n in range(1, 2500)])
        here.recv()
        time.sleep(0.1)


if __name__ == "__main__":
    main()
