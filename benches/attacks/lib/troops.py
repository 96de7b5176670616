"""Clients that have a proxy hold memory for them. Those that are closed come again."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable

from http2 import DATA, END_HEADERS, END_STREAM, HEADERS, PREFACE, SETTINGS, block, frame
from many import Kind, Many, step_back
from peers import Running
from siege import client
from unread import OPEN, SHUT, WHOLE
from wire import PIECE, Http2

PAUSE = 0.05  # seconds between two turns of one troop
DEAF = "/deaf"  # of a backend that takes connections and reads nothing
GIGABYTE = 1_000_000_000
# Of what a client says, 15,000 bytes in six fields, in one frame.
FAT = b"".join(b"\0\4x-f%d\x7f\xc5\x12" % number + b"f" * 2_500 for number in range(6))


class Troop(threading.Thread):
    """Attackers of one kind, in a thread of their own."""

    def __init__(self, name: str, over: threading.Event) -> None:
        super().__init__(name=name, daemon=True)
        self.over = over
        self.told: Counter[str] = Counter()
        self.came = self.most = 0

    def run(self) -> None:
        step_back()
        while not self.over.wait(PAUSE):
            self.turn()
            self.most = max(self.most, self.there())

    def turn(self) -> None:
        raise NotImplementedError

    def there(self) -> int:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


class Crowd(Troop):
    """Clients that say something once, and perhaps a little now and then."""

    def __init__(self, kind: Kind, port: int, count: int, rate: int, over: threading.Event) -> None:
        super().__init__(kind.name, over)
        self.many, self.count, self.rate = Many(kind, port), count, rate

    def turn(self) -> None:
        self.many.look()
        wanted = min(self.count - len(self.many.wires), int(self.rate * PAUSE))
        self.many.open(max(0, wanted))
        if self.many.kind.drip:
            self.many.drip(len(self.many.wires) // 100)
        self.came = self.many.opened

    def there(self) -> int:
        return len(self.many.wires)

    def close(self) -> None:
        for said, count in self.many.said.items():
            if said.startswith(b"HTTP/1.1 "):
                self.told[said[9:12].decode(errors="replace")] += count
        self.told["closed"] = len(self.many.lasted)
        self.told["refused"] = self.many.failed
        self.many.close()


class Wires(Troop):
    """HTTP/2 connections that ask for something on each of a hundred streams."""

    def __init__(self, name: str, running: Running, ask: bytes, count: int, over: threading.Event,
                 settings: bytes = b"", reads: bool = True) -> None:
        super().__init__(name, over)
        self.running, self.ask, self.settings, self.reads = running, ask, settings, reads
        self.count = count
        self.wires: list[Http2] = []

    def turn(self) -> None:
        for wire in self.wires:
            if self.reads:
                wire.read()
            elif _gone(wire.wire):
                # Only now: who never reads hears of it when it is over.
                wire.read()
                wire.over = wire.over or "closed"
        self._lose([wire for wire in self.wires if wire.over])
        if len(self.wires) < self.count:
            self.came += 1
            try:
                wire = Http2(self.running, self.settings)
                wire.write(self.ask, reads=self.reads)
                self.wires.append(wire)
            except OSError:
                self.told["refused"] += 1

    def _lose(self, gone: list[Http2]) -> None:
        for wire in gone:
            self.told["GOAWAY"] += wire.goaway is not None
            self.told["closed"] += bool(wire.over)
            self.told["503"] += wire.refused
            wire.close()
        self.wires = [wire for wire in self.wires if wire not in gone]

    def there(self) -> int:
        return len(self.wires)

    def close(self) -> None:
        for wire in self.wires:
            wire.read()
        self._lose(self.wires)


class Uploads(Wires):
    """HTTP/2 connections that send as much as they are given windows for, on sixteen streams."""

    def turn(self) -> None:
        before = set(map(id, self.wires))
        super().turn()
        for wire in self.wires:
            if id(wire) in before:
                continue
            wire.read(0.3)
            for number in range(16):
                room = min(wire.window, wire.stream_window)
                pieces = [min(PIECE, room - at) for at in range(0, room, PIECE)]
                wire.window -= room
                stream = 2 * number + 1
                wire.write(frame(HEADERS, END_HEADERS, stream, block(DEAF, method=0x83))
                           + b"".join(frame(DATA, 0, stream, b"u" * piece) for piece in pieces))


class Flood(Wires):
    """Connections that send what is refused, one after the other."""

    def turn(self) -> None:
        super().turn()
        for wire in self.wires:
            if not wire.over:
                wire.write(self.ask)


class Streams(Troop):
    """HTTP/1 connections that ask for something, and then go on at their own pace."""

    def __init__(self, name: str, port: int, ask: bytes, count: int, rate: int,
                 over: threading.Event, act: Callable[[socket.socket], None]) -> None:
        super().__init__(name, over)
        self.port, self.ask, self.count, self.act = port, ask, count, act
        self.each = max(1, int(rate * PAUSE))
        self.wires: dict[socket.socket, bool] = {}

    def turn(self) -> None:
        for wire in list(self.wires):
            try:
                self._hear(wire)
                self.act(wire)
            except (BlockingIOError, InterruptedError):
                pass
            except OSError:
                self.told["closed"] += 1
                del self.wires[wire]
                wire.close()
        for _ in range(min(self.each, self.count - len(self.wires))):
            self.came += 1
            wire = socket.socket()
            try:
                # Little room, so that what is not read is the proxy's to keep.
                wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                wire.settimeout(2)
                wire.connect(("127.0.0.1", self.port))
                wire.sendall(self.ask)
                wire.setblocking(False)
                self.wires[wire] = False
            except OSError:
                self.told["refused"] += 1
                wire.close()

    def _hear(self, wire: socket.socket) -> None:
        if self.wires[wire]:
            return
        status = wire.recv(12)
        if not status:
            raise ConnectionResetError
        self.wires[wire] = True
        self.told[status[9:12].decode(errors="replace")] += 1

    def there(self) -> int:
        return len(self.wires)

    def close(self) -> None:
        for wire in self.wires:
            wire.close()


def sip(wire: socket.socket) -> None:
    """Reads a little."""
    if not wire.recv(128):
        raise ConnectionResetError


def pour(wire: socket.socket) -> None:
    """Writes as much as there is room for."""
    for _ in range(4):
        wire.send(b"u" * 65_536)


def _gone(wire: socket.socket) -> bool:
    poll = select.poll()
    poll.register(wire.fileno(), select.POLLRDHUP | select.POLLHUP | select.POLLERR)
    return bool(poll.poll(0))


class Deaf(threading.Thread):
    """A backend that takes connections and never reads; those that their client has closed it
    closes as well."""

    def __init__(self) -> None:
        super().__init__(name="deaf", daemon=True)
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self.port = self.socket.getsockname()[1]
        self.over = threading.Event()

    def run(self) -> None:
        epoll, wires = select.epoll(), {}
        epoll.register(self.socket.fileno(), select.EPOLLIN)
        while not self.over.is_set():
            for number, _ in epoll.poll(0.2, 1024):
                if number == self.socket.fileno():
                    with contextlib.suppress(OSError):
                        wire, _ = self.socket.accept()
                        wires[wire.fileno()] = wire
                        epoll.register(wire.fileno(), select.EPOLLRDHUP)
                else:
                    epoll.unregister(number)
                    wires.pop(number).close()
        for wire in (self.socket, *wires.values()):
            wire.close()

    def __enter__(self) -> Deaf:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.join()


def _asked(path: str, more: bytes = b"", count: int = 100) -> bytes:
    """A GET on each of so many streams."""
    return b"".join(frame(HEADERS, END_STREAM | END_HEADERS, 2 * number + 1, block(path) + more)
                    for number in range(count))


def all_of_them(running: Running, over: threading.Event, hello: bytes) -> list[Troop]:
    """Every kind that there is. `hello`: of a real client, for TLS. Where the proxy has sessions,
    those who ask for something that is theirs to ask for have one: they go last."""
    h1, tls, h2 = running.http, running.https, client("h2")
    cookie = (running.cookie(False) or "").encode()
    # The 32nd entry of the static table is `cookie`.
    crumb = b"\x0f\x11" + bytes([len(cookie)]) + cookie if cookie else b""
    large = WHOLE + _asked("/large", crumb)
    begun = PREFACE + frame(SETTINGS, 0, 0) + frame(HEADERS, END_STREAM, 1, block("/body"))
    crowds = [
        (Kind("slow heads", False, b"GET / HTTP/1.1\r\nhost: localhost\r\n", b"x-a: b\r\n"), h1,
         5_000, 1_000),
        (Kind("half a ClientHello", True, hello[:200]), tls, 1_000, 200),
        (Kind("ClientHello, then nothing", True, hello), tls, 1_000, 200),
        (Kind("unfinished block of HTTP/2", True, begun, context=h2), tls, 1_000, 100),
    ]
    bomb = _asked("/body", b"\0\1x\0" * 4_000, 20)
    take = b"GET /large HTTP/1.1\r\nhost: localhost\r\ncookie: " + cookie + b"\r\n\r\n"
    give = f"POST {DEAF} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {GIGABYTE}\r\n\r\n"
    return [
        *(Crowd(*crowd, over) for crowd in crowds),
        Wires("never read, windows shut", running, large, 30, over, SHUT),
        Wires("never read, windows open", running, large, 30, over, OPEN, reads=False),
        Wires("heads of 15 KB, never answered", running, _asked(DEAF, FAT), 20, over),
        Flood("fields without end", running, bomb, 2, over),
        Uploads("uploads over HTTP/2", running, b"", 20, over),
        Streams("slow readers", h1, take, 2_000, 500, over, sip),
        Streams("uploads", h1, give.encode(), 2_000, 500, over, pour),
    ]

