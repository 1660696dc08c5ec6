# gunicorn with one worker and a Django application of one view, on the socket SOCKET.
import logging

import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.template import engines
from django.urls import path
from gunicorn.app.base import BaseApplication

TEMPLATE = "<table>{% for row in rows %}<tr><td>{{ row.0 }}</td><td>{{ row.1 }}</td></tr>{% endfor %}</table>"


def price(number):
    total = 0
    for i in range(60):
        total += (number * i) % 7
    return total


def rows(count):
    return [(number, price(number)) for number in range(count)]


def render(items):
    return engines["django"].from_string(TEMPLATE).render({"rows": items})


def page(request):
    items = rows(40)
    done[FIRST_WORD] += 1
    return HttpResponse(render(items))


def say_ready(worker):
    ready()


class Server(BaseApplication):
    def load_config(self):
        self.cfg.set("bind", "unix:" + sys.argv[1])
        self.cfg.set("workers", 1)
        self.cfg.set("post_worker_init", say_ready)

    def load(self):
        return get_wsgi_application()


def main():
    Server().run()


settings.configure(
    SECRET_KEY="of a benchmark",
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["*"],
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates"}],
)
django.setup()
logging.disable(logging.CRITICAL)
urlpatterns = [path("", page)]
for edge in ("<module>", "main"), ("main", "*"), ("*", "page"), ("page", "rows"), ("rows", "price"), ("page", "render"):
    say("edge", *edge)
# Before 3.12 a comprehension is a frame of its own.
for edge in ("rows", "<listcomp>"), ("<listcomp>", "price"), ("render", "*"), ("page", "*"), ("*", "say_ready"), ("say_ready", "ready"):
    say("edge", *edge)
main()
