"""A web server without the web: requests of three kinds go through routing, handlers and a template."""

import html
import random
import time

ROWS = [{"id": n, "name": f"item-{n}", "price": n * 1.25} for n in range(200)]


def render(title, lines):
    body = "".join(f"<li>{html.escape(line)}</li>" for line in lines)
    return f"<h1>{html.escape(title)}</h1><ul>{body}</ul>"


def list_items(query):
    chosen = [row for row in ROWS if query in row["name"]]
    chosen.sort(key=lambda row: row["price"], reverse=True)
    return render("items", [f"{row['name']} <{row['price']:.2f}>" for row in chosen])


def show_item(query):
    number = int(query or 0)
    for row in ROWS:
        if row["id"] == number:
            return render(row["name"], map(str, row.values()))
    return render("not found", [])


def checkout(query):
    total = 0.0
    for row in ROWS:
        for quantity in range(8):
            total += row["price"] * quantity * 0.19
    return render("total", [f"{total:.2f}"])


ROUTES = {"/items": list_items, "/item": show_item, "/checkout": checkout}


def handle_request(path, query):
    return len(ROUTES[path](query))


def serve():
    while True:
        busy_until = time.monotonic() + 0.03
        while time.monotonic() < busy_until:
            path = random.choice(list(ROUTES))
            handle_request(path, str(random.randrange(20)))
        time.sleep(0.07)


if __name__ == "__main__":
    serve()
