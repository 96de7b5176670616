"""A client that writes as fast as it is let, by hand, and remembers how it was answered."""

from __future__ import annotations

import select
import socket
import ssl
import time
from collections import Counter

from http2 import (ACK, GOAWAY, HEADERS, PING, PREFACE, RST_STREAM, SETTINGS, WINDOW_UPDATE,
                   frame)
from peers import Running
from siege import client

PIECE = 16_384  # of one record of TLS
INITIAL_WINDOW_SIZE = b"\0\4"
PATIENCE = 15.0  # seconds without a byte taken


class Wire:
    """A connection; `over` says how it ended, "" while it goes on."""

    def __init__(self, port: int, context: ssl.SSLContext | None) -> None:
        wire = socket.create_connection(("127.0.0.1", port), timeout=5)
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.wire = context.wrap_socket(wire, server_hostname="localhost") if context else wire
        self.wire.setblocking(False)
        self.over = ""
        self.buffer = b""

    def write(self, data: bytes, reads: bool = True) -> bool:
        """Writes all of it, reading meanwhile what comes; false where it is over before that."""
        view, last = memoryview(data), time.monotonic()
        while view and not self.over:
            try:
                sent = self.wire.send(view[:PIECE])
                view, last = view[sent:], time.monotonic()
            except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
                if time.monotonic() - last > PATIENCE:
                    self.over = "takes no more"
                self._wait(select.POLLOUT | (select.POLLIN if reads else 0), 0.5)
            except OSError:
                # What was told before the end may still be there to read.
                self.read()
                self.over = self.over or "closed"
            if reads:
                self.read()
        return not view

    def read(self, seconds: float = 0.0) -> None:
        """Takes what has come; waits so long for something."""
        if seconds and not self.over:
            self._wait(select.POLLIN, seconds)
        while not self.over or self.over == "takes no more":
            try:
                got = self.wire.recv(65536)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return
            except OSError as error:
                self.over = "reset" if isinstance(error, ConnectionResetError) else "closed"
                return
            if not got:
                self.over = "closed"
                return
            self.buffer += got
            self.heard()

    def _wait(self, what: int, seconds: float) -> None:
        # Not select(): there may be thousands of files.
        poll = select.poll()
        poll.register(self.wire.fileno(), what)
        poll.poll(seconds * 1000)

    def heard(self) -> None:
        """Looks at `buffer`."""

    def close(self) -> None:
        self.wire.close()


class Http1(Wire):
    """HTTP/1 on the plain port."""

    def __init__(self, running: Running) -> None:
        super().__init__(running.http, None)
        self.status = ""

    def heard(self) -> None:
        if not self.status and len(self.buffer) >= 12:
            self.status = self.buffer[9:12].decode(errors="replace")
        self.buffer = self.buffer[:12]

    def told(self) -> str:
        return " ".join(filter(None, [self.status, self.over or "goes on"]))

    def alive(self) -> bool:
        """Whether it still waits for more of the same."""
        self.read(0.5)
        return not self.over


class Http2(Wire):
    """HTTP/2 over TLS, after its preface."""

    def __init__(self, running: Running, settings: bytes = b"") -> None:
        super().__init__(running.https, client("h2"))
        self.goaway: int | None = None
        self.refused = 0  # answers with another status than 200
        self.seen: Counter[int] = Counter()
        self.pong = False
        self.window, self.stream_window = 65_535, 65_535  # that we are given
        self.write(PREFACE + frame(SETTINGS, 0, 0, settings) + frame(SETTINGS, ACK, 0))

    def heard(self) -> None:
        at, buffer = 0, self.buffer
        while len(buffer) - at >= 9:
            size = int.from_bytes(buffer[at:at + 3], "big")
            if len(buffer) - at < 9 + size:
                break
            kind, flags = buffer[at + 3], buffer[at + 4]
            payload = buffer[at + 9:at + 9 + size]
            at += 9 + size
            self.seen[kind] += 1
            # 200 is an entry of the static table; whatever else they say is written out, or is an
            # entry of the dynamic one.
            self.refused += kind == HEADERS and not payload.startswith(b"\x88")
            if kind == GOAWAY and (self.goaway is None or payload[4:8] != b"\0\0\0\0"):
                self.goaway = int.from_bytes(payload[4:8], "big")
            if kind == WINDOW_UPDATE and not int.from_bytes(buffer[at - size - 4:at - size], "big"):
                self.window += int.from_bytes(payload, "big")
            if kind == SETTINGS:
                for number in range(0, size, 6):
                    if payload[number:number + 2] == INITIAL_WINDOW_SIZE:
                        value = payload[number + 2:number + 6]
                        self.stream_window = int.from_bytes(value, "big")
            if kind == PING and flags & ACK and payload == b"the last":
                self.pong = True
        self.buffer = buffer[at:]

    def told(self) -> str:
        if self.goaway is not None:
            return f"GOAWAY {CODES.get(self.goaway, self.goaway)}"
        return self.over or "goes on"

    def alive(self) -> bool:
        """Whether the other side has come to the end of what was sent, and answers a PING."""
        self.write(frame(PING, 0, 0, b"the last"))
        until = time.monotonic() + PATIENCE
        while not self.pong and not self.over and self.goaway is None and time.monotonic() < until:
            self.read(0.2)
        if self.goaway is not None and not self.over:
            self.read(0.5)
        return self.pong and self.goaway is None

    @property
    def answered(self) -> int:
        return self.seen[HEADERS] + self.seen[RST_STREAM]


# RFC 9113 §7.
CODES = {0: "NO_ERROR", 1: "PROTOCOL_ERROR", 2: "INTERNAL_ERROR", 3: "FLOW_CONTROL_ERROR",
         5: "STREAM_CLOSED", 6: "FRAME_SIZE_ERROR", 9: "COMPRESSION_ERROR",
         11: "ENHANCE_YOUR_CALM"}
