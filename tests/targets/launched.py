# Works, then in a program that it starts, then in a child; says what the kernel charged all three for user and system, s.
import os, subprocess, sys
def spin():
    for _ in range(6000000):
        pass
if sys.argv[1:]:
    spin()
else:
    spin()
    subprocess.run(['sh', '-c', '"$0" "$1" child', sys.executable, sys.argv[0]], check=True)
    if os.fork() == 0:
        spin()
        os._exit(0)
    os.wait()
    print(*os.times()[:4])
