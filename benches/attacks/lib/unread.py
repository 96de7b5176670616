"""Clients that ask for much and read nothing of it."""

from __future__ import annotations

import time

from http2 import END_HEADERS, END_STREAM, HEADERS, WINDOW_UPDATE, block, frame
from peers import Peer, Running, Site
from siege import SETTLE, Siege, Watch, warm
from wire import Http2

CONNECTIONS = 30
STREAMS = 100
SECONDS = 8.0
MOST = 0x7FFF_FFFF
# INITIAL_WINDOW_SIZE is the fourth setting; the connection has its own window of 65,535 bytes.
OPEN = b"\0\4" + MOST.to_bytes(4, "big")
SHUT = b"\0\4\0\0\0\0"
ASKED = b"".join(frame(HEADERS, END_STREAM | END_HEADERS, 2 * number + 1, block("/large"))
                 for number in range(STREAMS))
WHOLE = frame(WINDOW_UPDATE, 0, 0, (MOST - 65_535).to_bytes(4, "big"))


def never_read(peer: Peer, site: Site) -> dict[str, object]:
    return {name: _never_read(peer, site, settings)
            for name, settings in (("windows open, nothing is read", OPEN),
                                   ("windows shut", SHUT))}


def _never_read(peer: Peer, site: Site, settings: bytes) -> dict[str, object]:
    with Running(peer, site, Siege()) as running, warm(running) as base:
        wires = []
        try:
            with Watch(running) as watch:
                for _ in range(CONNECTIONS):
                    wires.append(Http2(running, settings))
                    wires[-1].write(WHOLE + ASKED, reads=False)
                time.sleep(SECONDS)
        finally:
            for wire in wires:
                wire.close()
        time.sleep(2 * SETTLE)
        return {"connections": CONNECTIONS, "streams": STREAMS, "base": base, "peak": watch.peak,
                "grown": watch.peak - base, "after": running.process.memory(),
                "honest": watch.asked, "honest_failed": watch.failed}
