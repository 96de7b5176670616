"""Clients that begin and do not go on: the memory each of them costs, and when it is closed."""

from __future__ import annotations

import ssl
import time

from clients import Idle
from http2 import END_STREAM, HEADERS, PREFACE, SETTINGS, block, frame
from many import Kind, Many
from peers import Peer, Running, Site
from siege import SETTLE, Siege, client, warm

COUNT = 2_000  # whose memory is measured
FEW = 100  # whose end is awaited
WAIT = 2  # seconds that a proxy is told to wait for those


def _client_hello() -> bytes:
    """The first record of a real client."""
    out = ssl.MemoryBIO()
    wire = client("h2", "http/1.1").wrap_bio(ssl.MemoryBIO(), out, server_hostname="localhost")
    try:
        wire.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return out.read()


CLIENT_HELLO = _client_hello()
HEAD = b"GET / HTTP/1.1\r\nhost: localhost\r\nx-a: "
BLOCK = PREFACE + frame(SETTINGS, 0, 0) + frame(HEADERS, END_STREAM, 1, block("/body"))
KINDS = [
    Kind("silent, plain port", False, b""),
    Kind("silent, TLS port", True, b""),
    Kind("half a ClientHello", True, CLIENT_HELLO[:200]),
    Kind("ClientHello, then nothing", True, CLIENT_HELLO),
    Kind("unfinished head", False, HEAD),
    Kind("unfinished head in TLS", True, HEAD, context=client("http/1.1")),
    Kind("unfinished block of HTTP/2", True, BLOCK, context=client("h2")),
]
# With what they are compared: connections after one answered request.
IDLE = [("idle", False, False), ("idle in TLS", True, False), ("idle, HTTP/2", True, True)]


def hello(peer: Peer, site: Site) -> dict[str, object]:
    out: dict[str, object] = {}
    for kind in KINDS:
        with Running(peer, site, Siege(wait=600)) as running, warm(running):
            many = Many(kind, running.https if kind.tls else running.http)
            try:
                # The first few pay for what is allocated once.
                many.open(50)
                time.sleep(SETTLE)
                before = running.process.memory()
                many.open(COUNT)
                time.sleep(SETTLE)
                many.look()
                grown = running.process.memory() - before
                there = len(many.wires) - 50
            finally:
                many.close()
        out[kind.name] = {"kib": grown * 1024 / max(1, there), "there": there,
                          **_closed(peer, site, kind)}
    for name, tls, h2 in IDLE:
        with Running(peer, site, Siege(wait=600)) as running, warm(running):
            idle = Idle(running.url("body", tls), h2)
            try:
                idle.open(50)
                time.sleep(SETTLE)
                before = running.process.memory()
                idle.open(COUNT)
                time.sleep(SETTLE)
                grown = running.process.memory() - before
                out[name] = {"kib": grown * 1024 / max(1, len(idle.wires) - 50),
                             "there": len(idle.wires) - 50}
            finally:
                idle.close()
    return out


def _closed(peer: Peer, site: Site, kind: Kind) -> dict[str, object]:
    """How many seconds after its last word such a client is closed, where a proxy waits for two."""
    with Running(peer, site, Siege(wait=WAIT)) as running, warm(running):
        many = Many(kind, running.https if kind.tls else running.http)
        try:
            many.open(FEW)
            until = time.monotonic() + WAIT + 5
            while many.wires and time.monotonic() < until:
                many.look(0.05)
            lasted = sorted(many.lasted)
            return {"few": FEW, "closed": len(lasted), "wait": WAIT,
                    "soonest": lasted[0] if lasted else None,
                    "latest": lasted[-1] if lasted else None}
        finally:
            many.close()
