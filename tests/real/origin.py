#!/usr/bin/env python3
"""An HTTP/1.1 backend that misbehaves as it is told: origin.py NAME PORT --control PORT [KEY=VALUE…]

  --log FILE   a line for each POST that begins and finishes, written at once: `SECONDS begun ID`
  --held       loaded, but nothing is opened before a line comes on standard input
  --host ADDR  address of both ports, 127.0.0.1

GET and POST of any path answer 200 with `ID NAME`, where ID is the path's `?id=`; /healthz answers
as `health` says. On the control port, `/` shows settings and counts as JSON, `/set?KEY=VALUE&…`
changes settings, and `/clear` sets the counts to zero. The settings, the first value the default:

  listen      open | refuse: the listener is closed, open connections stay | reset: accepted and
              reset | hang: accepted, and never answered
  idle        never | N: a connection is closed N ms after an answer, unannounced; 0: at once
  stall       none | head | body: so far an answer comes, and no further
  length      true | more: Content-Length promises more than comes before the connection is
              closed | less: more bytes come than it says
  read_rate   0 | N: bytes a second that are read of a request
  fail_share  0 | 0 to 1: of the requests fail, health apart
  fail_how    500 | reset: how they do
  health      well | ill: 503 | flapping: one and the other for flap_ms each
  flap_ms     1000
  slots       0 | N: requests that are worked on at once, the others wait; 0: all
  slot_ms     0: how long one is worked on
  post_ms     0: how much longer a POST takes
  size        64: bytes of an answer's body, at least

SIGTERM closes the listener and idle connections, finishes what has begun, and ends. It prints
nothing.
"""

import argparse
import asyncio
import json
import os
import random
import signal
import socket
import struct
import sys
import time
from collections import deque
from urllib.parse import parse_qsl, urlsplit

DEFAULTS = {
    "listen": "open", "idle": "never", "stall": "none", "length": "true", "read_rate": 0,
    "fail_share": 0.0, "fail_how": "500", "health": "well", "flap_ms": 1000, "slots": 0,
    "slot_ms": 0.0, "post_ms": 0.0, "size": 64,
}
WORDS = {
    "listen": ("open", "refuse", "reset", "hang"), "stall": ("none", "head", "body"),
    "length": ("true", "more", "less"), "fail_how": ("500", "reset"),
    "health": ("well", "ill", "flapping"),
}
REASONS = {200: "OK", 400: "Bad Request", 500: "Internal Server Error", 503: "Service Unavailable"}


class Origin:
    """Settings, counts, and the connections that are open."""

    def __init__(self, name, address, log):
        self.name, self.address = name, address
        self.log = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644) if log else None
        self.settings = dict(DEFAULTS)
        self.wires = set()
        self.waiting = deque()
        self.listener = None
        self.leaving = asyncio.Event()
        self.working = 0
        self.clear()

    def clear(self):
        self.counts = dict.fromkeys(
            ("connections", "checks", "gets", "posts", "failed", "finished", "most_at_once"), 0)

    def set(self, key, text):
        """Takes a setting from its text; ValueError says what is wrong with it."""
        if key not in DEFAULTS:
            raise ValueError(f"no setting is called {key}")
        if key in WORDS and text not in WORDS[key]:
            raise ValueError(f"{key} is one of {', '.join(WORDS[key])}")
        if key == "idle":
            value = text if text == "never" else float(text)
        else:
            value = type(DEFAULTS[key])(text)
        self.settings[key] = value

    async def listen(self):
        """Opens or closes the listener, as the settings say."""
        wanted = self.settings["listen"] != "refuse" and not self.leaving.is_set()
        if wanted and self.listener is None:
            loop = asyncio.get_running_loop()
            self.listener = await loop.create_server(lambda: Wire(self), *self.address,
                                                     backlog=1024)
        elif not wanted and self.listener is not None:
            self.listener.close()
            self.listener = None

    def note(self, event, key):
        """One write for each line: what is said is said, also when the process is killed next."""
        if self.log is not None:
            os.write(self.log, f"{time.time():.6f} {event} {key}\n".encode())

    def is_well(self):
        health, period = self.settings["health"], max(1, self.settings["flap_ms"])
        if health == "flapping":
            return int(time.time() * 1000 / period) % 2 == 0
        return health == "well"

    def take_slot(self, work):
        """Starts the work now, or when a slot is free."""
        if self.settings["slots"] and self.working >= self.settings["slots"]:
            self.waiting.append(work)
            return
        self.working += 1
        self.counts["most_at_once"] = max(self.counts["most_at_once"], self.working)
        work()

    def free_slot(self):
        self.working = max(0, self.working - 1)
        if self.waiting:
            self.take_slot(self.waiting.popleft())


class Wire(asyncio.Protocol):
    """One connection: requests one after the other."""

    def __init__(self, origin):
        self.origin, self.settings = origin, origin.settings
        self.buffer = b""
        self.is_busy = False
        self.closing = None

    def connection_made(self, transport):
        self.transport = transport
        self.origin.counts["connections"] += 1
        self.origin.wires.add(self)
        if self.settings["listen"] == "reset":
            self.reset()
        elif self.settings["read_rate"]:
            # What is not read is to be felt by who sends, and not to fill a buffer.
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)

    def connection_lost(self, _):
        self.origin.wires.discard(self)
        if self.closing:
            self.closing.cancel()

    def data_received(self, data):
        if self.settings["listen"] == "hang":
            return
        self.buffer += data
        if rate := self.settings["read_rate"]:
            self.transport.pause_reading()
            asyncio.get_running_loop().call_later(len(data) / rate, self.read_on)
        else:
            self.look()

    def read_on(self):
        if not self.transport.is_closing():
            self.transport.resume_reading()
            self.look()

    def look(self):
        """Begins with the next request when it is complete."""
        if self.is_busy or b"\r\n\r\n" not in self.buffer:
            return
        head, _, rest = self.buffer.partition(b"\r\n\r\n")
        line, *fields = head.decode("latin-1").split("\r\n")
        fields = {name.lower(): text.strip() for name, _, text in
                  (field.partition(":") for field in fields)}
        length = body_end(rest, fields)
        if length is None:
            return
        self.buffer = rest[length:]
        if self.closing:
            self.closing.cancel()
            self.closing = None
        self.is_busy = True
        self.keeps = fields.get("connection", "").lower() != "close"
        parts = line.split(" ")
        self.begin(parts[0], urlsplit(parts[1]))

    def begin(self, method, url):
        origin = self.origin
        if url.path == "/healthz":
            origin.counts["checks"] += 1
            self.answer(*((200, "well") if origin.is_well() else (503, "ill")))
            return
        key = dict(parse_qsl(url.query)).get("id", "-")
        is_post = method == "POST"
        origin.counts["posts" if is_post else "gets"] += 1
        if is_post:
            origin.note("begun", key)
        took = self.settings["slot_ms"] + (self.settings["post_ms"] if is_post else 0)

        def work():
            if took > 0:
                asyncio.get_running_loop().call_later(took / 1000, self.finish, is_post, key)
            else:
                self.finish(is_post, key)

        origin.take_slot(work)

    def finish(self, is_post, key):
        origin = self.origin
        origin.free_slot()
        if random.random() < self.settings["fail_share"]:
            origin.counts["failed"] += 1
            if self.settings["fail_how"] == "reset":
                self.reset()
            else:
                self.answer(500, f"{key} {origin.name}")
            return
        if is_post:
            origin.note("finished", key)
        origin.counts["finished"] += 1
        self.answer(200, f"{key} {origin.name}".ljust(int(self.settings["size"])))

    def answer(self, status, text):
        if self.transport.is_closing():
            return
        settings = self.settings
        body = text.encode() + b"\n"
        promised = len(body) + {"true": 0, "more": 10, "less": -10}[settings["length"]]
        leaves = self.origin.leaving.is_set() or not self.keeps
        head = (f"HTTP/1.1 {status} {REASONS[status]}\r\nContent-Type: text/plain\r\n"
                f"Content-Length: {max(0, promised)}\r\nCache-Control: no-store\r\n"
                + ("Connection: close\r\n" if leaves else "") + "\r\n").encode()
        if settings["stall"] == "head":
            self.transport.write(head[:len(head) // 2])
            return
        if settings["stall"] == "body":
            self.transport.write(head + body[:len(body) // 2])
            return
        self.transport.write(head + body)
        self.is_busy = False
        if leaves or settings["length"] == "more" or settings["idle"] == 0:
            self.transport.close()
        elif settings["idle"] != "never":
            loop = asyncio.get_running_loop()
            self.closing = loop.call_later(settings["idle"] / 1000, self.transport.close)
        if not self.transport.is_closing():
            self.look()

    def reset(self):
        """Closes so that the other side sees a reset and not an end."""
        linger = struct.pack("ii", 1, 0)
        self.transport.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.transport.abort()


def body_end(rest, fields):
    """How many bytes a request's body takes, or None while it is not complete."""
    if "chunked" in fields.get("transfer-encoding", "").lower():
        at = 0
        while (end := rest.find(b"\r\n", at)) >= 0:
            size = int(rest[at:end].split(b";")[0], 16)
            at = end + 2 + size + 2
            if size == 0:
                return at if len(rest) >= at else None
        return None
    length = int(fields.get("content-length", 0))
    return length if len(rest) >= length else None


async def control(origin, reader, writer):
    """One command: the request's path is all that counts."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        url = urlsplit(head.decode("latin-1").split(" ")[1])
        status, said = 200, None
        try:
            if url.path == "/set":
                for key, text in parse_qsl(url.query):
                    origin.set(key, text)
                await origin.listen()
            elif url.path == "/clear":
                origin.clear()
            elif url.path != "/":
                status, said = 400, f"there is no {url.path}"
        except ValueError as error:
            status, said = 400, str(error)
        shown = {"error": said} if said else {
            "name": origin.name, "settings": origin.settings, "counts": origin.counts,
            "open": len(origin.wires), "working": origin.working, "waiting": len(origin.waiting)}
        body = json.dumps(shown).encode() + b"\n"
        writer.write(f"HTTP/1.1 {status} {REASONS[status]}\r\nContent-Type: application/json\r\n"
                     f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)
        await writer.drain()
    except (OSError, asyncio.IncompleteReadError, IndexError):
        pass
    finally:
        writer.close()


async def serve(options):
    origin = Origin(options.name, (options.host, options.port), options.log)
    for setting in options.settings:
        key, _, text = setting.partition("=")
        origin.set(key, text)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, origin.leaving.set)
    if options.control:
        await asyncio.start_server(lambda *pair: control(origin, *pair), options.host,
                                   options.control)
    await origin.listen()
    await origin.leaving.wait()
    await origin.listen()
    until = time.monotonic() + 10
    while origin.wires and time.monotonic() < until:
        for wire in list(origin.wires):
            if not wire.is_busy:
                wire.transport.close()
        await asyncio.sleep(0.005)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name")
    parser.add_argument("port", type=int)
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--control", type=int, metavar="PORT")
    parser.add_argument("--log", metavar="FILE")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--held", action="store_true")
    options = parser.parse_intermixed_args()
    if options.held and not sys.stdin.readline():
        return
    try:
        asyncio.run(serve(options))
    except ValueError as error:
        sys.exit(f"origin.py: {error}")


if __name__ == "__main__":
    main()
