"""A crowd: as many heads that never end as there is room for, and silent connections to the TLS
port, while an honest client asks at a steady rate."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

from load import WARM, Load, Outcome, Run
from machine import oha
from many import Kind, Many, step_back
from peers import Peer, Running, Site
from siege import SETTLE, Siege, Watch, warm

SLOW = Kind("slow heads", False, b"GET / HTTP/1.1\r\nhost: localhost\r\n", b"x-a: b\r\n")
SILENT = Kind("silent TLS", True, b"")
SILENT_COUNT = 2_000
RESERVE = 500  # files for backends, logs, honest clients and those who open anew
ARRIVALS = 2_000  # a second
STAY = "all stay"
DRIP = 5.0  # seconds between two lines of one of them


class Attack:
    """The attackers, in a thread of their own."""

    def __init__(self, running: Running, slow: int) -> None:
        self.running, self.count = running, slow
        self.slow = Many(SLOW, running.http)
        self.silent = Many(SILENT, running.https)
        self.steps: list[float] = []  # MiB of the proxy before, with the slow, with all
        self.there = threading.Event()
        self.over = threading.Event()

    def run(self) -> None:
        step_back()
        self.steps.append(self.running.process.memory())
        for many, count in ((self.slow, self.count), (self.silent, SILENT_COUNT)):
            many.open(count, ARRIVALS)
            time.sleep(SETTLE)
            self.steps.append(self.running.process.memory())
        self.there.set()
        while not self.over.wait(0.05):
            for many, count in ((self.slow, self.count), (self.silent, SILENT_COUNT)):
                many.look()
                # Who was closed comes again, at the pace of the first time.
                many.open(min(count - len(many.wires), int(ARRIVALS * 0.05)))
            self.slow.drip(int(len(self.slow.wires) * 0.05 / DRIP))

    def close(self) -> None:
        self.slow.close()
        self.silent.close()


def crowd(peer: Peer, site: Site, connections: int, seconds: float, rate: float
          ) -> dict[str, object]:
    """Once with waits longer than the attack, so that all are there at once, and once with waits of
    10 s, so that they are closed and come again."""
    slow = min(connections, site.files - SILENT_COUNT - RESERVE)
    return {name: _crowd(peer, site, Siege(wait=wait, clients=site.files - RESERVE // 2), slow,
                         seconds, rate)
            for name, wait in ((STAY, 120), ("closed after 10 s", 10))}


def _crowd(peer: Peer, site: Site, siege: Siege, slow: int, seconds: float, rate: float
           ) -> dict[str, object]:
    with Running(peer, site, siege) as running, warm(running):
        load = Load(running.url("body", tls=True), connections=32)
        quiet = Run(oha(), load, running, seconds, rate, site.cores.load).measure()
        attack = Attack(running, slow)
        opening = (slow + SILENT_COUNT) / ARRIVALS + 2 * SETTLE
        try:
            with ThreadPoolExecutor(1) as pool, Watch(running, 0.5) as watch:
                run = Run(oha(), load, running, seconds + opening + 2, rate, site.cores.load)
                run.wait_for(WARM)
                work = pool.submit(attack.run)
                try:
                    beside = run.measure()
                finally:
                    attack.over.set()
                work.result()
            held = len(attack.slow.wires), len(attack.silent.wires)
        finally:
            attack.close()
        time.sleep(2 * SETTLE)
        base, with_slow, with_all = attack.steps
        return {
            "slow": slow, "silent": SILENT_COUNT, "held": held,
            "came": attack.slow.opened + attack.silent.opened,
            "not_connected": attack.slow.failed + attack.silent.failed,
            "slow_kib": (with_slow - base) * 1024 / slow,
            "silent_kib": (with_all - with_slow) * 1024 / SILENT_COUNT,
            "base": base, "peak": watch.peak, "after": running.process.memory(),
            "quiet": _honest(quiet), "attacked": _honest(beside),
            "newcomers": watch.asked, "newcomers_failed": watch.failed}


def _honest(outcome: Outcome) -> dict[str, object]:
    return {"requests": outcome.requests, "p50": outcome.p50, "p99": outcome.p99,
            "worst": outcome.worst, "errors": outcome.errors + outcome.other,
            "why": outcome.why, "core": outcome.core, "disturbed": outcome.disturbed}
