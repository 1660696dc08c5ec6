# Children by every start method of multiprocessing.
import multiprocessing


def task(method, number):
    used = burn(150)
    # All that it has used so far, its start included.
    say("%s-%d" % (method, number), now())
    say("task-%s-%d" % (method, number), used)


def main():
    go()
    for method in "fork", "spawn", "forkserver":
        context = multiprocessing.get_context(method)
        children = [context.Process(target=task, args=(method, number)) for number in range(2)]
        for child in children:
            child.start()
        for child in children:
            child.join()


if __name__ == "__main__":
    main()
