"""Floods: one connection that sends what is cheap to send and may be dear to take, until it is ended
or has sent all of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from http2 import (CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, PRIORITY, RST_STREAM,
                   SETTINGS, WINDOW_UPDATE, block, frame)
from peers import Peer, Running, Site
from siege import SETTLE, Siege, Watch, calm, causes, warm
from wire import Http1, Http2

FRAMES = 100_000
BATCHES = 200  # that it is written in
STREAMS = 100  # of those that hold some open
GET, POST = block("/body"), block("/sink", method=0x83)
ASK = END_STREAM | END_HEADERS
# SETTINGS: INITIAL_WINDOW_SIZE is the fourth.
SHUT, AJAR = b"\0\4\0\0\0\0", b"\0\4\0\0\0\1"
# A field of 3 KiB that goes into the table of HPACK, where it is named by one byte.
PLANT = b"\x40\x03x-a\x7f\x81\x17" + b"b" * 3072
NAMED = b"\xbe" * 10_000
# 132 KB of fields in 12 KB, and a field that no head may have (RFC 9113 §8.2.2).
TINY = b"\0\1x\0" * 4_000
WRONG = b"\0\x0aconnection\5close"


@dataclass(frozen=True)
class Flood:
    """What is sent: once, and then for each number. A unit is so many frames, or lines."""

    name: str
    unit: Callable[[int], bytes]
    first: bytes = b""
    frames: int = 1
    count: int = FRAMES  # of units
    http2: bool = True
    settings: bytes = b""


def stream(number: int) -> int:
    return 2 * number + 1


def ask(number: int, more: bytes = b"", flags: int = ASK, fields: bytes = GET) -> bytes:
    return frame(HEADERS, flags, stream(number), fields) + more


def reset(number: int) -> bytes:
    return frame(RST_STREAM, 0, stream(number), b"\0\0\0\x08")


def always(unit: bytes) -> Callable[[int], bytes]:
    return lambda _: unit


# So many answers that wait for a window of their own; that of their connection is large enough.
HELD = frame(WINDOW_UPDATE, 0, 0, b"\x01\0\0\0") + b"".join(
    ask(number, fields=block("/large")) for number in range(STREAMS))
FLOODS = [
    Flood("rapid reset", lambda number: ask(number, reset(number)), frames=2, count=FRAMES // 2),
    Flood("made you reset", lambda number: ask(number, frame(
        WINDOW_UPDATE, 0, stream(number), b"\x7f\xff\xff\xff")), frames=2, count=FRAMES // 2),
    Flood("resets of what has ended", always(reset(0)), ask(0)),
    Flood("CONTINUATION", always(frame(CONTINUATION, 0, 1, b"\0\x03x-a\x01b")),
          frame(HEADERS, END_STREAM, 1, GET)),
    Flood("empty CONTINUATION", always(frame(CONTINUATION, 0, 1)),
          frame(HEADERS, END_STREAM, 1, GET)),
    Flood("PING", always(frame(PING, 0, 0, b"flooding"))),
    Flood("SETTINGS", always(frame(SETTINGS, 0, 0))),
    Flood("SETTINGS for 100 streams",
          lambda number: frame(SETTINGS, 0, 0, SHUT if number % 2 else AJAR), HELD, settings=SHUT),
    Flood("windows by the byte", lambda number: frame(
        WINDOW_UPDATE, 0, stream(number % STREAMS), b"\0\0\0\1"), HELD, settings=SHUT),
    Flood("empty DATA", always(frame(DATA, 0, 1)), ask(0, flags=END_HEADERS, fields=POST)),
    Flood("HPACK bomb", lambda number: ask(number, fields=GET + NAMED),
          ask(0, fields=GET + PLANT + NAMED[:1]), count=2_000),
    Flood("tiny fields", lambda number: ask(number, fields=GET + TINY), count=2_000),
    Flood("malformed heads", lambda number: ask(number, fields=GET + TINY + WRONG), count=2_000),
    Flood("blocks after a reset", always(ask(0, fields=TINY)), ask(0, fields=GET + WRONG),
          count=2_000),
    Flood("WINDOW_UPDATE", always(frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\1"))),
    Flood("PRIORITY", lambda number: frame(PRIORITY, 0, stream(number % 1000), b"\0\0\0\0\x10")),
    Flood("unknown frames", always(frame(0x77, 0, 0, b"x"))),
    Flood("chunk extensions", always(b"1;x=" + b"y" * 40 + b"\r\nz\r\n"),
          b"POST /sink HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n",
          http2=False),
    Flood("header lines", lambda number: b"x-%d: y\r\n" % number,
          b"GET /body HTTP/1.1\r\nhost: localhost\r\n", http2=False),
    Flood("empty lines", always(b"\r\n"), http2=False),
]


def floods(peer: Peer, site: Site, only: list[str]) -> dict[str, object]:
    return {flood.name: _flood(peer, site, flood)
            for flood in FLOODS if not only or flood.name in only}


def _flood(peer: Peer, site: Site, flood: Flood) -> dict[str, object]:
    with Running(peer, site, Siege()) as running, warm(running) as base:
        counted = causes(running)
        wire = Http2(running, flood.settings) if flood.http2 else Http1(running)
        wire.write(flood.first)
        wire.read(0.2)
        busy, began, sent = running.process.busy(), time.monotonic(), 0
        with Watch(running) as watch:
            # The stream of number 0 may be taken by what comes first.
            batch = flood.count // BATCHES
            for at in range(1, flood.count + 1, batch):
                if not wire.write(b"".join(map(flood.unit, range(at, at + batch)))):
                    break
                sent += batch
            goes_on = wire.alive()
            seconds = time.monotonic() - began
            calm(running)
        busy = running.process.busy() - busy
        held = running.process.memory()
        told = wire.told()
        wire.close()
        time.sleep(SETTLE)
        frames = sent * flood.frames
        return {"frames": frames, "all": flood.count * flood.frames, "goes_on": goes_on,
                "told": told, "cpu_ms": busy / 1e6, "seconds": seconds,
                "per_100k": busy / 1e9 * 100_000 / frames if frames else None,
                "causes": dict(causes(running) - counted), "base": base,
                "peak": max(watch.peak, held), "after": running.process.memory(),
                "honest": watch.asked, "honest_failed": watch.failed}
