"""A queue worker: takes JSON jobs apart, finds addresses with a regular expression, compresses the answers.

The consumer is a thread, so that the profile has more than one thread, and zlib gives up the GIL while it works.
"""

import json
import queue
import re
import threading
import time
import zlib

ADDRESS = re.compile(r"\b([\w.]+)@([\w-]+(?:\.[\w-]+)+)\b")
TEXT = "Please write to jane.doe@example.org or to the list at users@lists.example.com. " * 8


def make_job(number):
    return json.dumps({"id": number, "text": TEXT, "tags": list(range(50))})


def extract(text):
    return [f"{user} at {host}" for user, host in ADDRESS.findall(text)]


def compress(record):
    return zlib.compress(json.dumps(record).encode() * 4, 9)


def consume(jobs):
    while True:
        job = json.loads(jobs.get())
        job["found"] = extract(job["text"])
        compress(job)


def produce(jobs):
    number = 0
    while True:
        for _ in range(240):
            number += 1
            jobs.put(make_job(number))
        time.sleep(0.1)


if __name__ == "__main__":
    JOBS = queue.Queue(maxsize=50)
    threading.Thread(target=consume, args=(JOBS,), name="consumer", daemon=True).start()
    produce(JOBS)
