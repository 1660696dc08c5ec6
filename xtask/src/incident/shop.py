# A shop on gunicorn and Django. Its list of orders is slow.
import socket

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.template import engines
from django.urls import path

CUSTOMERS = [{"id": number, "name": "Customer %d" % number} for number in range(3000)]
ORDERS = [{"number": number, "customer": number * 37 % 3000} for number in range(150)]
PAGE = "<ul>{% for order, customer in rows %}<li>{{ order.number }} {{ customer.name }}</li>{% endfor %}</ul>"


def customer_of(order):
    for customer in CUSTOMERS:
        if customer["id"] == order["customer"]:
            return customer


def in_stock():
    with socket.socket(socket.AF_UNIX) as service:
        service.connect("stock")
        service.sendall(b"?")
        return int(service.recv(16))


def list_orders(request):
    if not in_stock():
        return HttpResponse("sold out")
    rows = [(order, customer_of(order)) for order in ORDERS]
    return HttpResponse(engines["django"].from_string(PAGE).render({"rows": rows}))


settings.configure(
    SECRET_KEY="of an example",
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["*"],
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates"}],
)
urlpatterns = [path("", list_orders)]
application = get_wsgi_application()
