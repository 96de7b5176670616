#!/usr/bin/env python3
"""Visitors at a steady rate, each with a cookie jar of its own over kept-alive connections.

jars.py URL... --jars 200 --rate 100 --seconds 120 --ready FILE --stop FILE >seen.json

Each URL is one node; a jar asks them in turn, and the next one where a node refuses to connect. Who
answered is the word after `server` in the body (see shop.py), else the body's first word. A request
has failed when its answer is not 200, is cut, or takes more than 10 seconds. As browsers do, a GET
is sent once more where the kept connection was closed before anything of the answer came.

The file of --ready appears when each jar has been answered twice (from then on it is a visitor and
no bot); it ends when the file of --stop exists or the seconds are over, after the last answers, and
prints what was seen:

{ "jars", "seconds", "requests", "failed", "failures": [{ "at", "jar", "node", "why" }],
  "reconnects", "elsewhere", "lost", "moves": [{ "at", "jar", "node", "from", "to" }],
  "homes": { "a": 67, … }, "slowest_ms" }
"""

import argparse
import asyncio
import http.client
import io
import json
import os
import sys
import time
from http.cookiejar import CookieJar
from urllib.parse import urlsplit
from urllib.request import Request

TIMEOUT = 10
MOST_FAILURES = 100


class Closed(Exception):
    """A kept connection was closed before anything of the answer came."""


class Seen:
    """What all jars saw together."""

    def __init__(self):
        self.requests = self.failed = self.reconnects = self.elsewhere = self.lost = 0
        self.failures, self.moves = [], []
        self.slowest = 0.0

    def failure(self, jar, node, why):
        self.failed += 1
        if len(self.failures) < MOST_FAILURES:
            entry = {"at": time.time(), "jar": jar, "node": node, "why": why}
            self.failures.append(entry)


class Answer:
    """Head and body, in the form that a cookie jar reads."""

    def __init__(self, status, head, body):
        self.status, self.head, self.body = status, head, body

    def info(self):
        return self.head

    def server(self):
        words = self.body.decode(errors="replace").split()
        if words[:1] == ["server"]:
            words = words[1:]
        return words[0] if words else ""


class Jar:
    """One visitor."""

    def __init__(self, number, urls, seen):
        self.number, self.urls, self.seen = number, urls, seen
        self.cookies = CookieJar()
        self.connections = {}
        self.turn = number
        self.home = None
        self.answered = 0

    async def visit(self):
        """One request to the node whose turn it is."""
        began = time.monotonic()
        self.seen.requests += 1
        url = self.urls[self.turn % len(self.urls)]
        self.turn += 1
        try:
            async with asyncio.timeout(TIMEOUT):
                url, answer = await self.ask_some(url)
        except (OSError, EOFError, ValueError, Closed, http.client.HTTPException) as error:
            await self.close(url)
            self.seen.failure(self.number, url, f"{type(error).__name__} {error}".strip())
            return
        self.seen.slowest = max(self.seen.slowest, time.monotonic() - began)
        if answer.status != 200:
            text = answer.body.decode(errors="replace").strip()
            self.seen.failure(self.number, url, f"{answer.status} {text}"[:200])
            return
        self.cookies.extract_cookies(answer, Request(url))
        self.answered += 1
        self.seen.lost += b"session lost" in answer.body
        server = answer.server()
        if self.home not in (None, server):
            move = {"at": time.time(), "jar": self.number, "node": url}
            self.seen.moves.append(move | {"from": self.home, "to": server})
        self.home = server

    async def ask_some(self, url):
        """The answer of this node, or of the next one where nobody listens."""
        others = [other for other in self.urls if other != url]
        for node in [url, *others]:
            try:
                return node, await self.ask(node)
            except ConnectionRefusedError:
                if node == [url, *others][-1]:
                    raise
                self.seen.elsewhere += 1
        raise AssertionError("there is a node")

    async def ask(self, url):
        """The answer of this node, over the kept connection if there is one."""
        if url in self.connections:
            try:
                return await self.exchange(url)
            except Closed:
                self.seen.reconnects += 1
                await self.close(url)
        parts = urlsplit(url)
        self.connections[url] = await asyncio.open_connection(parts.hostname, parts.port)
        return await self.exchange(url)

    async def exchange(self, url):
        reader, writer = self.connections[url]
        request, parts = Request(url), urlsplit(url)
        self.cookies.add_cookie_header(request)
        lines = [f"GET {parts.path or '/'} HTTP/1.1", f"Host: {parts.netloc}"]
        if cookie := request.get_header("Cookie"):
            lines.append(f"Cookie: {cookie}")
        try:
            writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
            await writer.drain()
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            if error.partial:
                raise
            raise Closed("closed before the answer") from error
        except ConnectionError as error:
            raise Closed("reset before the answer") from error
        line, _, fields = head.partition(b"\r\n")
        status = int(line.split()[1])
        head = http.client.parse_headers(io.BytesIO(fields))
        body = await self.body(reader, head)
        if head.get("Connection", "").lower() == "close":
            await self.close(url)
        return Answer(status, head, body)

    async def body(self, reader, head):
        if head.get("Transfer-Encoding", "").lower() == "chunked":
            body = b""
            while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
                body += (await reader.readexactly(size + 2))[:-2]
            while await reader.readuntil(b"\r\n") != b"\r\n":
                pass
            return body
        return await reader.readexactly(int(head["Content-Length"]))

    async def close(self, url):
        connection = self.connections.pop(url, None)
        if connection:
            connection[1].close()


async def run(options):
    seen = Seen()
    jars = [Jar(number, options.urls, seen) for number in range(options.jars)]
    began = time.monotonic()
    end = began + options.seconds
    period = options.jars / options.rate
    stopping = asyncio.Event()

    async def live(jar):
        due = began + jar.number / options.rate
        while not stopping.is_set() and due < end:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            if not stopping.is_set():
                await jar.visit()
            # One that came late asks at once, but never twice for what it missed.
            due = max(due + period, time.monotonic())

    async def watch():
        while time.monotonic() < end and not (options.stop and os.path.exists(options.stop)):
            if options.ready and all(jar.answered >= 2 for jar in jars):
                with open(options.ready, "w"):
                    options.ready = None
            await asyncio.sleep(0.05)
        stopping.set()

    watcher = asyncio.create_task(watch())
    await asyncio.gather(*(live(jar) for jar in jars))
    watcher.cancel()
    for jar in jars:
        for url in options.urls:
            await jar.close(url)
    homes = {}
    for jar in jars:
        homes[jar.home] = homes.get(jar.home, 0) + 1
    return {
        "jars": options.jars,
        "seconds": round(time.monotonic() - began, 3),
        "requests": seen.requests,
        "failed": seen.failed,
        "failures": seen.failures,
        "reconnects": seen.reconnects,
        "elsewhere": seen.elsewhere,
        "lost": seen.lost,
        "moves": seen.moves,
        "homes": homes,
        "slowest_ms": round(seen.slowest * 1000, 1),
    }


def options():
    parser = argparse.ArgumentParser(description="visitors with cookie jars at a steady rate")
    parser.add_argument("urls", nargs="+", metavar="URL")
    parser.add_argument("--jars", type=int, default=200)
    parser.add_argument("--rate", type=float, default=100.0, help="requests a second of all jars")
    parser.add_argument("--seconds", type=float, default=120.0, help="the longest it may take")
    parser.add_argument("--ready", help="file to make when each jar has been answered twice")
    parser.add_argument("--stop", help="file that ends it")
    return parser.parse_args()


if __name__ == "__main__":
    json.dump(asyncio.run(run(options())), sys.stdout, indent=1)
    print()
