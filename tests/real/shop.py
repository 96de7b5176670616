#!/usr/bin/env python3
"""A shop that keeps its sessions in memory, as a servlet container does: shop.py NAME PORT [HOST].

GET /cart/add?item=x  puts x into the cart
GET /cart             who answers, whose session it is, and what is in the cart
GET /stats            how many sessions this server has, and how many it was asked for in vain
GET /slow?ms=500      an answer that takes its time
GET /healthz          well

A visitor without a JSESSIONID gets one at the first look at the cart. One that this server does not
know (another made it, or it was restarted) is told `session lost` and gets a new one: that is what
a visitor sees who was moved off. It prints nothing.
"""

import secrets
import sys
import threading
import time
from http.cookies import CookieError, SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

NAME, PORT = sys.argv[1], int(sys.argv[2])
HOST = sys.argv[3] if len(sys.argv) > 3 else "127.0.0.1"
COOKIE = "JSESSIONID"


class Sessions:
    """Carts by their id, and a count of those that were asked for and are not here."""

    def __init__(self):
        self.lock = threading.Lock()
        self.carts = {}
        self.lost = 0

    def visit(self, known, item):
        """The session's id, its items, whether it is new, and whether a known one was lost."""
        with self.lock:
            is_new = known not in self.carts
            is_lost = is_new and known is not None
            self.lost += is_lost
            session = secrets.token_hex(16) if is_new else known
            cart = self.carts.setdefault(session, [])
            if item is not None:
                cart.append(item)
            return session, list(cart), is_new, is_lost

    def counts(self):
        with self.lock:
            return len(self.carts), self.lost


SESSIONS = Sessions()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 120
    wbufsize = -1
    disable_nagle_algorithm = True

    def do_GET(self):
        url = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(url.query).items()}
        if url.path == "/cart":
            self.cart(None)
        elif url.path == "/cart/add" and "item" in query:
            self.cart(query["item"])
        elif url.path == "/stats":
            sessions, lost = SESSIONS.counts()
            self.answer(200, f"server {NAME}\nsessions {sessions}\nlost {lost}\n")
        elif url.path == "/slow" and query.get("ms", "").isdecimal():
            time.sleep(int(query["ms"]) / 1000)
            self.answer(200, f"server {NAME}\n")
        elif url.path == "/healthz":
            self.answer(200, "well\n")
        else:
            self.answer(404, f"server {NAME} has no {url.path}\n")

    def cart(self, item):
        known = self.known()
        session, items, is_new, is_lost = SESSIONS.visit(known, item)
        lines = [f"server {NAME}", f"session {session}", "items " + ", ".join(items)]
        if is_lost:
            lines.append(f"session lost {known}")
        fields = {"Cache-Control": "no-store"}
        if is_new:
            fields["Set-Cookie"] = f"{COOKIE}={session}; Path=/; HttpOnly"
        self.answer(200, "\n".join(lines) + "\n", fields)

    def known(self):
        """The session id that the visitor brings."""
        try:
            cookie = SimpleCookie(self.headers.get("Cookie", "")).get(COOKIE)
        except CookieError:
            return None
        return cookie.value if cookie else None

    def answer(self, status, text, fields=None):
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        for name, value in (fields or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, *_):
        """A client that went away is nothing to talk about."""


if __name__ == "__main__":
    try:
        Server((HOST, PORT), Handler).serve_forever()
    except KeyboardInterrupt:
        pass
