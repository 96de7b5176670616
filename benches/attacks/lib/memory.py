"""Every attack on memory at once, on a proxy that has a budget where it knows of one."""

from __future__ import annotations

import contextlib
import re
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path

from hello import CLIENT_HELLO
from peers import UNVERIFIED, Peer, Running, Site, read
from siege import Beside, Siege, causes, warm
from troops import Deaf, all_of_them

BUDGET = 256  # MB
SECONDS = 25.0  # that they stay
AFTER = 30.0  # that what follows is watched
NEAR = 32.0  # MB above what it was before is as before


def memory(peer: Peer, site: Site) -> dict[str, object]:
    with Deaf() as deaf:
        # All that come are let in: connections are not what is to be short.
        siege = Siege(clients=site.files - 1_000, deaf=deaf.port, memory=f"{BUDGET}MB")
        with Running(peer, site, siege) as running, warm(running):
            return _memory(running)


def _memory(running: Running) -> dict[str, object]:
    base, counted = resident(running), causes(running)
    over = threading.Event()
    troops = all_of_them(running, over, CLIENT_HELLO)
    with Eye(running) as eye:
        for troop in troops:
            troop.start()
        time.sleep(SECONDS)
        over.set()
        for troop in troops:
            troop.join()
        asked = {kind: dict(counter) for kind, counter in eye.asked.items()}
        levels = eye.highest
        for troop in troops:
            troop.close()
        ended = time.monotonic()
        normal = back = soon = None
        while time.monotonic() < ended + AFTER and (normal is None or back is None or soon is None):
            since = time.monotonic() - ended
            if normal is None and level(running) == 0 and eye.well(ended):
                normal = since
            if back is None and resident(running) < base + NEAR:
                back = since
            if soon is None and since >= 5:
                soon = resident(running)
            time.sleep(0.05)
    shed = Counter(causes(running)) - counted
    return {"budget": BUDGET, "base": base, "peak_pss": eye.pss, "peak_rss": highest(running),
            "soon": soon, "after": resident(running), "normal": normal, "back": back,
            "level": levels, "honest": asked, "shed": dict(shed),
            "troops": {troop.name: {"most": troop.most, "came": troop.came,
                                    "told": dict(+troop.told)} for troop in troops}}


def status(running: Running, field: str) -> float:
    """MB that the kernel tells of a proxy, all its processes."""
    kib = 0
    for pid in running.process.tree():
        with contextlib.suppress(OSError, TypeError):
            text = Path(f"/proc/{pid}/status").read_text()
            kib += int(re.search(rf"^{field}:\s+(\d+)", text, re.M)[1])
    return kib * 1024 / 1e6


def resident(running: Running) -> float:
    return status(running, "VmRSS")


def highest(running: Running) -> float:
    """The kernel's own mark, which no sample misses."""
    return status(running, "VmHWM")


def level(running: Running) -> int:
    """How short Ostler says memory is; 0 is not at all, and so is a proxy that knows no budget."""
    if running.peer.kind != "ostler":
        return 0
    text = read(f"http://127.0.0.1:{running.admin}/metrics")
    found = re.search(r"^ostler_memory_level (\d+)", text, re.M)
    return int(found[1]) if found else -1


class Eye(Beside):
    """In the background: memory, and three honest clients on connections of their own: one who has
    a session where the proxy makes some, one without, and one of TLS."""

    def __init__(self, running: Running) -> None:
        self.running = running
        self.pss, self.highest = 0.0, 0
        self.cookie = running.cookie(False)
        self.asked: dict[str, Counter[str]] = {}
        self.good: dict[str, float] = {}
        super().__init__()
        kinds = {"known": (False, True), "new": (False, False), "new, TLS": (True, False)}
        self._begin(self._measure)
        for kind, how in kinds.items():
            self.asked[kind], self.good[kind] = Counter(), 0.0
            self._begin(self._ask, kind, *how)

    def _measure(self) -> None:
        while not self._over.wait(0.1):
            self.pss = max(self.pss, self.running.process.memory() * 1024 * 1024 / 1e6)
            self.highest = max(self.highest, level(self.running))

    def _ask(self, kind: str, tls: bool, known: bool) -> None:
        while not self._over.wait(0.1):
            request = urllib.request.Request(self.running.url("body", tls))
            if known and self.cookie:
                request.add_header("cookie", self.cookie)
            began = time.monotonic()
            try:
                with urllib.request.urlopen(request, timeout=5, context=UNVERIFIED) as answer:
                    answer.read()
                    said = str(answer.status)
            except urllib.error.HTTPError as error:
                said = str(error.code)
            except OSError:
                said = "none"
            self.asked[kind][said] += 1
            if said == "200":
                self.good[kind] = began

    def well(self, since: float) -> bool:
        """Whether each has had an answer that it asked for after this moment."""
        return all(began > since for began in self.good.values())
