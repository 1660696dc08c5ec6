# The same work for celery: tasks by way of the file system. As a program, it asks for them: `MS PATH` a line.
import os
import sys

import celery

import work

QUEUE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "queue")
app = celery.Celery("tasks", broker="filesystem://", set_as_current=True)
app.conf.broker_transport_options = {
    "data_folder_in": QUEUE,
    "data_folder_out": QUEUE,
    "control_folder": os.path.join(QUEUE, "control"),
}
app.conf.broker_connection_retry_on_startup = True


@app.task(name="request", ignore_result=True)
def request(ms, path):
    answer = work.handle(ms)
    with open(path + ".part", "w") as file:
        file.write(answer)
    os.rename(path + ".part", path)


if __name__ == "__main__":
    for line in sys.stdin:
        ms, path = line.split()
        request.delay(int(ms), path)
