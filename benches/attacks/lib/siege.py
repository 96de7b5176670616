"""What the scenarios share: how the proxies are set up, who asks honestly meanwhile, how memory is
watched, and what Ostler has counted."""

from __future__ import annotations

import contextlib
import re
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import template
from peers import Plan, Running, answers, read

template.PEERS.insert(0, Path(__file__).resolve().parent.parent / "peers")
SETTLE = 1.5  # seconds until what follows the last byte is done: logs, timers, freed buffers


@dataclass(frozen=True)
class Siege(Plan):
    """How long a proxy waits for a client's head or handshake (seconds), and for how many clients
    there is room in all; the port of a backend that does not read, which is asked for /deaf; and
    the memory that Ostler has, whose clients have sessions then."""

    wait: int = 10
    clients: int = 8_000
    deaf: int = 0
    memory: str = ""

    def values(self, version: int = 1) -> dict[str, object]:
        return {**super().values(version), "wait": self.wait, "clients": self.clients,
                "deaf": self.deaf, "memory": self.memory}


def client(*protocols: str) -> ssl.SSLContext:
    """TLS to whoever is there."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(list(protocols))
    return context


class Beside:
    """What goes on beside an attack, each in a thread of its own, until that is over."""

    def __init__(self) -> None:
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []

    def _begin(self, work: Callable[..., None], *how: object) -> None:
        self._threads.append(threading.Thread(target=work, args=how, daemon=True))

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()


class Watch(Beside):
    """In the background: the most memory a proxy had (MiB), and honest requests on connections of
    their own, which are counted, not timed."""

    def __init__(self, running: Running, pause: float = 0.1) -> None:
        self.running, self.pause = running, pause
        self.peak, self.asked, self.failed, self.slowest = 0.0, 0, 0, 0.0
        super().__init__()
        self._begin(self._measure)
        self._begin(self._ask)

    def _measure(self) -> None:
        while not self._over.wait(self.pause):
            self.peak = max(self.peak, self.running.process.memory())

    def _ask(self) -> None:
        while not self._over.wait(self.pause):
            began = time.monotonic()
            good = answers(self.running.url("body"), timeout=5)
            self.asked += 1
            self.failed += not good
            self.slowest = max(self.slowest, time.monotonic() - began)


@contextlib.contextmanager
def warm(running: Running) -> Iterator[float]:
    """The memory of a proxy that has served something (MiB)."""
    for _ in range(20):
        answers(running.url("body"))
        answers(running.url("body", tls=True))
    time.sleep(SETTLE)
    yield running.process.memory()


def causes(running: Running) -> Counter[str]:
    """What Ostler has refused or failed so far, by cause."""
    found: Counter[str] = Counter()
    if running.peer.kind == "ostler":
        text = read(f"http://127.0.0.1:{running.admin}/metrics")
        for pattern in (r'^ostler_connections_refused_total\{.*cause="(\w+)".*\} (\d+)',
                        r'^ostler_requests_total\{.*reason="(\w+)".*\} (\d+)'):
            for cause, number in re.findall(pattern, text, re.M):
                found[cause] += int(number)
    del found["none"]
    return +found


def calm(running: Running, seconds: float = 20) -> None:
    """Waits until a proxy has done what it was given to do."""
    until = time.monotonic() + seconds
    before = running.process.busy()
    while time.monotonic() < until:
        time.sleep(0.2)
        now = running.process.busy()
        if now - before < 4_000_000:
            return
        before = now
