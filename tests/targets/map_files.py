# Maps files as code, all of them again and again, in new processes as well; `change` rewrites the first one meanwhile.
import mmap
import os
import sys
import threading
import time

change, paths = sys.argv[1] == "change", sys.argv[2:]


def map_all():
    mapped = []
    for path in paths:
        fd = os.open(path, os.O_RDONLY)
        try:
            # Not as long as the file may be: a page is enough to have it looked at.
            mapped.append(mmap.mmap(fd, 4096, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_EXEC))
        except (ValueError, OSError):
            pass
        finally:
            os.close(fd)
    return mapped


def rewrite():
    sound = open(paths[0], "rb").read()
    fd = os.open(paths[0], os.O_RDWR)
    while True:
        for part in (0, 64, 4096, len(sound) // 2, len(sound)):
            os.ftruncate(fd, part)
            os.pwrite(fd, sound[: part // 2], 0)
        os.pwrite(fd, sound, 0)


mapped = map_all()
print(len(mapped), flush=True)
if change:
    threading.Thread(target=rewrite, daemon=True).start()
end = time.monotonic() + 60
while time.monotonic() < end:
    # A process that begins with them, and one that maps them late.
    child = os.fork()
    if child == 0:
        mapped.extend(map_all())
        time.sleep(0.05)
        os._exit(0)
    mapped[:] = map_all()
    time.sleep(0.02)
    os.waitpid(child, 0)
