"""A load client: requests at a steady rate whatever becomes of them (open loop), each with an id of
its own, over kept-alive connections, and never a second time."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

TIMEOUT = 10.0  # seconds after which an answer is not waited for any more
FRESH = 20.0  # seconds that a connection may have been idle, less than the proxies allow


@dataclass(slots=True)
class Asked:
    """A request and what became of it."""

    key: int
    method: str
    due: float  # seconds, time.time()
    late: float = 0.0  # how much later this client sent it
    took: float = 0.0  # seconds from when it was due
    still: float = 0.0  # of which the machine stood still, see mark_standstill
    status: int = 0
    why: str = ""  # the kind of failure; "" when all went well
    began: bool = False  # some of an answer had come
    by: str = ""  # the backend that answered
    text: str = ""  # of an answer that was an error

    @property
    def done(self) -> float:
        return self.due + self.took


class Wire(asyncio.Protocol):
    """One connection to the proxy, with one request at a time."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.asked: Asked | None = None
        self.buffer = b""
        self.since = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def send(self, asked: Asked) -> None:
        self.asked, self.buffer = asked, b""
        body = f"order {asked.key}".encode() if asked.method == "POST" else b""
        length = f"content-length: {len(body)}\r\n" if body else ""
        asked.late = time.time() - asked.due
        self.transport.write(f"{asked.method} /item?id={asked.key} HTTP/1.1\r\nhost: shop\r\n"
                             f"{length}\r\n".encode() + body)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if self.asked is None:
            self.transport.abort()
            return
        self.asked.began = True
        head, end, body = self.buffer.partition(b"\r\n\r\n")
        if not end:
            return
        fields = head.lower()
        length = _length(fields)
        if b"transfer-encoding: chunked" in fields:
            complete = body.endswith(b"0\r\n\r\n")
        else:
            complete = length is not None and len(body) >= length
        if complete:
            self.finish(head, body, b"connection: close" not in fields)

    def finish(self, head: bytes, body: bytes, keeps: bool) -> None:
        asked, self.asked = self.asked, None
        text = body.decode(errors="replace").strip()
        asked.status = int(head.split(b" ", 2)[1])
        words = text.split()
        if asked.status != 200:
            asked.why, asked.text = str(asked.status), text[:80]
        elif len(words) < 2 or words[0] != str(asked.key):
            asked.why, asked.text = "wrong answer", text[:80]
        else:
            asked.by = words[1]
        self.client.ended(asked)
        if keeps:
            self.since = time.monotonic()
            self.client.idle.append(self)
        else:
            self.transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        with contextlib.suppress(ValueError):
            self.client.idle.remove(self)
        asked, self.asked = self.asked, None
        if asked is None:
            return
        head, end, body = self.buffer.partition(b"\r\n\r\n")
        if end and _length(head.lower()) is None and b"chunked" not in head.lower():
            self.finish(head, body, False)
            return
        asked.why = "cut" if asked.began else "reset" if error else "closed"
        self.client.ended(asked)

    def give_up(self) -> None:
        asked, self.asked = self.asked, None
        asked.why = "timeout"
        self.client.ended(asked)
        self.transport.abort()


def _length(fields: bytes) -> int | None:
    at = fields.find(b"content-length:")
    return int(fields[at + 15:].split(b"\r\n")[0]) if at >= 0 else None


@dataclass
class Client:
    """Asks one port; `seen` is filled in the order in which answers come."""

    port: int
    seen: list[Asked] = field(default_factory=list)
    idle: list[Wire] = field(default_factory=list)
    active: dict[int, Wire | None] = field(default_factory=dict)
    waiting: dict[int, Asked] = field(default_factory=dict)
    last: int = 0

    async def run(self, rates: dict[str, float], seconds: float,
                  most: dict[str, int] | None = None) -> None:
        """Asks at these rates a second by method; ends after the last answer."""
        most = most or {}
        # Nothing here is cyclic garbage, and to look for it among all that was asked takes 20 ms.
        gc.disable()
        with first():
            await self._run(rates, seconds, most)

    async def _run(self, rates: dict[str, float], seconds: float, most: dict[str, int]) -> None:
        start = time.time() + 0.1
        plan = [[start + (at + 0.5) / len(rates) / rate, 1 / rate, method, 0]
                for at, (method, rate) in enumerate(rates.items())]
        while plan:
            turn = min(plan)
            due, step, method, count = turn
            if due >= start + seconds or count >= most.get(method, count + 1):
                plan.remove(turn)
                continue
            now = time.time()
            if due > now:
                self.overdue(now)
                await asyncio.sleep(due - now)
            self.ask(method, due)
            turn[0], turn[3] = due + step, count + 1
        while self.waiting:
            self.overdue(time.time())
            await asyncio.sleep(0.02)
        for wire in list(self.idle):
            wire.transport.close()

    def ask(self, method: str, due: float) -> None:
        self.last += 1
        asked = Asked(self.last, method, due)
        self.waiting[asked.key] = asked
        now = time.monotonic()
        while self.idle:
            wire = self.idle.pop()
            if not wire.transport.is_closing() and now - wire.since < FRESH:
                self.active[asked.key] = wire
                wire.send(asked)
                return
            wire.transport.close()
        asyncio.get_running_loop().create_task(self.open(asked))

    async def open(self, asked: Asked) -> None:
        loop = asyncio.get_running_loop()
        try:
            _, wire = await loop.create_connection(lambda: Wire(self), "127.0.0.1", self.port)
        except OSError as error:
            asked.why = f"not connected ({error.strerror or error})"
            self.ended(asked)
            return
        if asked.key not in self.waiting:
            wire.transport.abort()
            return
        self.active[asked.key] = wire
        wire.send(asked)

    def ended(self, asked: Asked) -> None:
        if self.waiting.pop(asked.key, None) is None:
            return
        self.active.pop(asked.key, None)
        asked.took = time.time() - asked.due
        self.seen.append(asked)

    def overdue(self, now: float) -> None:
        """Gives up what has waited for too long; the oldest comes first."""
        for key, asked in list(self.waiting.items())[:8]:
            if now - asked.due < TIMEOUT:
                break
            if wire := self.active.get(key):
                wire.give_up()
            else:
                asked.why = "timeout connecting"
                self.ended(asked)


@contextlib.contextmanager
def first() -> Iterator[None]:
    """This process goes before all others, where it may: how long it waits for its turn, while a
    backend of these starts on the same core, is nothing that a proxy made its users wait for."""
    try:
        policy = os.SCHED_RR | os.SCHED_RESET_ON_FORK
        os.sched_setscheduler(0, policy, os.sched_param(1))
    except OSError:
        yield
        return
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def mark_standstill(seen: list[Asked]) -> None:
    """How long this process could not run while each request was under way: what the latest of those
    was late that were due meanwhile. It goes before all others, so nobody else ran on its core."""
    order = sorted(seen, key=lambda asked: asked.due)
    for at, asked in enumerate(order):
        for other in order[at:]:
            if other.due > asked.done:
                break
            asked.still = max(asked.still, min(other.late, asked.took))


def worst_clear(seen: list[Asked]) -> float:
    """Milliseconds of the slowest that was answered well, without what the machine stood still."""
    return max(((asked.took - asked.still) * 1000 for asked in seen if not asked.why), default=0.0)


def of(seen: list[Asked], method: str) -> Iterator[Asked]:
    return (asked for asked in seen if asked.method == method)


def failures(seen: list[Asked]) -> dict[str, int]:
    """How many failed, by kind."""
    return dict(Counter(asked.why for asked in seen if asked.why))


def percentile(values: list[float], share: float) -> float:
    """The nearest-rank percentile; 0 of nothing."""
    ordered = sorted(values)
    return ordered[max(0, min(len(ordered) - 1, -int(-share * len(ordered) // 1) - 1))] \
        if ordered else 0.0


def milliseconds(seen: list[Asked]) -> list[float]:
    """Of those that were answered well."""
    return [asked.took * 1000 for asked in seen if not asked.why]
