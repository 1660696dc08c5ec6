# A program in a container: two threads and a child, all of which work when a line comes.
import threading


def burn_for(ms):
    end = time.thread_time_ns() + ms * 1000000
    while time.thread_time_ns() < end:
        for _ in range(500):
            pass


def inside(ms):
    burn_for(ms)


def beside(ms):
    with open("/proc/self/task/%d/comm" % threading.get_native_id(), "w") as comm:
        comm.write("beside")
    burn_for(ms)


def forked(ms):
    burn_for(ms)


def work():
    begin = now()
    pair = [threading.Thread(target=beside, args=(200,))]
    for thread in pair:
        thread.start()
    inside(200)
    for thread in pair:
        thread.join()
    say("inside", now() - begin)


wait, tell = os.pipe()
if os.fork() == 0:
    os.close(tell)
    os.read(wait, 1)
    begin = now()
    forked(200)
    say("forked", now() - begin)
    # Its pid is looked up from outside until then.
    os._exit(0)
go()
os.close(tell)
work()
os.wait()
