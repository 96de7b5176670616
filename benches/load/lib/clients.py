"""Clients that oha cannot be: connections that stay idle after one request, and readers that take
a long answer at a trickle."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from http2 import ACK, DATA, END_HEADERS, END_STREAM, HEADERS, PREFACE, SETTINGS, block, frame


def _ask_h2(wire: socket.socket, host: str, path: str) -> bool:
    """Sends the request, reads its answer, and tells whether there was one of 200."""
    wire.sendall(PREFACE + frame(SETTINGS, 0, 0)
                 + frame(HEADERS, END_STREAM | END_HEADERS, 1, block(path, host)))
    buffer, good = b"", False
    while True:
        got = wire.recv(65536)
        if not got:
            return False
        buffer += got
        while len(buffer) >= 9 and len(buffer) >= 9 + int.from_bytes(buffer[:3], "big"):
            size = int.from_bytes(buffer[:3], "big")
            kind, flags, payload = buffer[3], buffer[4], buffer[9:9 + size]
            buffer = buffer[9 + size:]
            if kind == SETTINGS and not flags & ACK:
                wire.sendall(frame(SETTINGS, ACK, 0))
            if kind == HEADERS:
                # 0x88 is :status 200 from the table; before it, the table's size may change.
                good = b"\x88" in payload[:3]
            if kind in (HEADERS, DATA) and flags & END_STREAM:
                return good


def _ask_h1(wire: socket.socket, host: str, path: str) -> bool:
    wire.sendall(f"GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n".encode())
    buffer = b""
    while b"\r\n\r\n" not in buffer:
        got = wire.recv(65536)
        if not got:
            return False
        buffer += got
    head, _, body = buffer.partition(b"\r\n\r\n")
    length = next((int(line.split(b":")[1]) for line in head.lower().split(b"\r\n")
                   if line.startswith(b"content-length:")), 0)
    while len(body) < length:
        got = wire.recv(65536)
        if not got:
            return False
        body += got
    return head.startswith(b"HTTP/1.1 200")


class Idle:
    """Connections of one kind, each with one answered request behind it."""

    def __init__(self, url: str, h2: bool) -> None:
        parts = urlsplit(url)
        self.port, self.path, self.h2 = parts.port, parts.path, h2
        self.context: ssl.SSLContext | None = None
        if parts.scheme == "https":
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            self.context.check_hostname = False
            self.context.verify_mode = ssl.CERT_NONE
            self.context.set_alpn_protocols(["h2" if h2 else "http/1.1"])
        self.wires: list[socket.socket] = []
        self.failed = 0

    def open(self, count: int) -> None:
        for _ in range(count):
            try:
                wire = socket.create_connection(("127.0.0.1", self.port), timeout=5)
                if self.context:
                    wire = self.context.wrap_socket(wire, server_hostname="localhost")
                ask = _ask_h2 if self.h2 else _ask_h1
                if ask(wire, "localhost", self.path):
                    self.wires.append(wire)
                    continue
                wire.close()
            except OSError:
                pass
            self.failed += 1

    def gone(self) -> int:
        """How many the other side has closed."""
        poll = select.poll()
        for wire in self.wires:
            poll.register(wire.fileno(), select.POLLRDHUP)
        return len(poll.poll(0))

    def close(self) -> None:
        for wire in self.wires:
            with contextlib.suppress(OSError):
                wire.close()


@dataclass
class Trickle:
    """What slow readers and an honest client beside them saw."""

    bytes: int = 0
    cut: int = 0  # answers that ended
    honest: int = 0
    refused: int = 0  # honest requests without an answer of 200
    times: list[float] = field(default_factory=list)  # milliseconds of the honest requests
    peak: float = 0.0  # MiB of the proxy


def trickle(url: str, readers: int, seconds: float, honest: Callable[[], bool],
            memory: Callable[[], float]) -> Trickle:
    """Readers that take 4 KiB each tenth of a second, and an honest request as often."""
    parts, seen = urlsplit(url), Trickle()
    wires: list[socket.socket] = []
    try:
        for _ in range(readers):
            wire = socket.create_connection(("127.0.0.1", parts.port), timeout=5)
            wire.sendall(f"GET {parts.path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
            wire.setblocking(False)
            wires.append(wire)
        until = time.monotonic() + seconds
        while (now := time.monotonic()) < until:
            for wire in list(wires):
                with contextlib.suppress(BlockingIOError):
                    try:
                        got = wire.recv(4096)
                    except ConnectionError:
                        got = b""
                    seen.bytes += len(got)
                    if not got:
                        seen.cut += 1
                        wires.remove(wire)
                        wire.close()
            asked = time.monotonic()
            if honest():
                seen.honest += 1
                seen.times.append((time.monotonic() - asked) * 1000)
            else:
                seen.refused += 1
            seen.peak = max(seen.peak, memory())
            time.sleep(max(0.0, now + 0.1 - time.monotonic()))
    finally:
        for wire in wires:
            wire.close()
    return seen
