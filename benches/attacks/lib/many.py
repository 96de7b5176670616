"""Thousands of connections in one thread: each says something once, perhaps drips something now and
then, and is noticed when the other side closes it."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import ssl
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

SOURCES = 20  # addresses that they come from
FAILURES = 5


@dataclass
class Kind:
    """A sort of client that does not go on."""

    name: str
    tls: bool  # comes to the TLS port
    first: bytes  # what it says
    drip: bytes = b""  # what it says again and again, so that it seems to go on
    context: ssl.SSLContext | None = None  # it shakes hands before


@dataclass
class Many:
    """Connections of one kind to one port."""

    kind: Kind
    port: int
    wires: dict[int, socket.socket] = field(default_factory=dict)
    since: dict[int, float] = field(default_factory=dict)
    lasted: list[float] = field(default_factory=list)  # seconds, of those that were closed
    said: Counter[bytes] = field(default_factory=Counter)  # how what they were told began
    failed: int = 0
    opened: int = 0

    def __post_init__(self) -> None:
        self.epoll = select.epoll()
        self.turn: list[int] = []

    def open(self, count: int, rate: float | None = None) -> None:
        """Opens so many more, so many a second; gives up where connecting fails again and again."""
        began, failed = time.monotonic(), self.failed
        for number in range(count):
            if rate and number % 20 == 0:
                self.look()
                time.sleep(max(0.0, began + number / rate - time.monotonic()))
            self._open_one()
            if self.failed - failed > FAILURES:
                break
        self.look()

    def _open_one(self) -> None:
        wire = socket.socket()
        self.opened += 1
        try:
            wire.settimeout(2)
            wire.bind((f"127.0.0.{10 + self.opened % SOURCES}", 0))
            wire.connect(("127.0.0.1", self.port))
            # Counted from here: a proxy that waits for a handshake does so from the start.
            began = time.monotonic()
            if self.kind.context:
                wire = self.kind.context.wrap_socket(wire, server_hostname="localhost")
                began = time.monotonic()
            if self.kind.first:
                wire.sendall(self.kind.first)
            wire.setblocking(False)
        except OSError:
            wire.close()
            self.failed += 1
            return
        self.wires[wire.fileno()], self.since[wire.fileno()] = wire, began
        self.epoll.register(wire.fileno(), select.EPOLLIN | select.EPOLLRDHUP)

    def look(self, seconds: float = 0.0) -> None:
        """Reads what has come, and takes out who was closed."""
        for number, _ in self.epoll.poll(seconds, 4096):
            wire = self.wires[number]
            try:
                while got := wire.recv(65536):
                    self.said[got[:12]] += 1
            except (BlockingIOError, ssl.SSLWantReadError):
                continue
            except OSError:
                pass
            self._gone(number)

    def _gone(self, number: int) -> None:
        self.epoll.unregister(number)
        self.wires.pop(number).close()
        self.lasted.append(time.monotonic() - self.since.pop(number))

    def drip(self, count: int) -> None:
        """Has the next ones say a little."""
        for _ in range(count):
            if not self.turn:
                self.turn = list(self.wires)
            number = self.turn.pop() if self.turn else -1
            if wire := self.wires.get(number):
                with contextlib.suppress(OSError):
                    wire.send(self.kind.drip)

    def close(self) -> None:
        for wire in self.wires.values():
            # Reset: thousands that wait for their last word would be in the way of the next run.
            with contextlib.suppress(OSError):
                wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                (1).to_bytes(4, "little") + (0).to_bytes(4, "little"))
            wire.close()
        self.wires.clear()
        self.epoll.close()


def step_back() -> None:
    """This thread leaves the core to the honest client and the backends when they want it."""
    thread = threading.get_native_id()
    if os.sched_getscheduler(thread) != os.SCHED_OTHER:
        os.sched_setscheduler(thread, os.SCHED_OTHER, os.sched_param(0))
        return
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, thread, 10)
