# A prefork server: workers handle requests and are replaced when they have handled enough, or crash.
import signal

WORKERS, LIVES, REQUESTS = 3, 9, 6


def request():
    return burn(25)


def serve(number):
    used = sum(request() for _ in range(REQUESTS))
    say("requests-%d" % number, used)
    if number % 3 == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    os._exit(0)


def master():
    alive, born = {}, 0
    while born < LIVES or alive:
        while born < LIVES and len(alive) < WORKERS:
            pid = os.fork()
            if pid == 0:
                serve(born)
            alive[pid] = born
            born += 1
        pid, _, usage = os.wait4(-1, 0)
        say("worker-%d" % alive.pop(pid), int((usage.ru_utime + usage.ru_stime) * 1e9), pid)


go()
master()
