"""The scenarios about memory and reloads: slow readers, idle connections, and a reload of many
routes under load."""

from __future__ import annotations

import statistics
import threading
import time
from dataclasses import dataclass

from clients import Idle, trickle
from load import WARM, core_busy
from machine import Trouble
from peers import Peer, Plan, Running, answers
from scenarios import Bench, Scenario, trouble

READERS = 100
RELOAD = Scenario("reload", "a reload of 10,000 routes to 100 pools under load",
                  plan=Plan(routes=10_000, pools=100, watched=True))


@dataclass(frozen=True)
class Kind:
    """A kind of idle connection."""

    name: str
    tls: bool
    h2: bool


IDLE = [Kind("idle-h1", False, False), Kind("idle-tls-h1", True, False),
        Kind("idle-tls-h2", True, True)]
RELOAD_WINDOW = 4.0  # seconds at least, for some take that long
SETTLE = 1.2  # until what follows an answer is done: logs, timers, freed buffers


def slow_readers(bench: Bench, peer: Peer) -> dict[str, object]:
    """Memory that slow readers of 100 MiB answers add, and whether others are served meanwhile."""
    with Running(peer, bench.site, Plan()) as running:
        for _ in range(50):
            answers(running.url("body"))
        before = running.process.memory()
        body = running.url("body")
        seen = trickle(running.url("huge"), READERS, max(3.0, bench.seconds),
                       lambda: answers(body), running.process.memory)
        return {"memory": before, "added": seen.peak - before, "honest": seen.honest,
                "honest_p50": statistics.median(seen.times) if seen.times else float("nan"),
                "honest_slowest": max(seen.times, default=float("nan")),
                "trickled": seen.bytes / (1 << 20),
                "errors": seen.cut, "other": seen.refused}


def idle(bench: Bench, peer: Peer, count: int) -> dict[str, object]:
    """KiB for each idle connection after one request, of three kinds, each in a fresh process."""
    out: dict[str, object] = {"errors": 0, "other": 0}
    for kind in IDLE:
        with Running(peer, bench.site, Plan()) as running:
            client = Idle(running.url("body", kind.tls), kind.h2)
            try:
                client.open(20)
                time.sleep(SETTLE)
                before, first = running.process.memory(), len(client.wires)
                client.open(count)
                time.sleep(SETTLE)
                number = len(client.wires) - first
                grown = running.process.memory() - before
                out[kind.name] = grown * 1024 / number if number else float("nan")
                out["errors"] += client.failed
                out["other"] += client.gone()
            finally:
                client.close()
    out["connections"] = count
    return out


def reload(bench: Bench, peer: Peer, rate: float) -> dict[str, object]:
    """Two windows of one load: without a reload, and with one in it."""
    with Running(peer, bench.site, RELOAD.plan) as running:
        load, seconds = RELOAD.load(running), max(bench.seconds, RELOAD_WINDOW)
        quiet = bench.run(load, running, seconds, rate).measure()
        memory = running.process.memory()
        running.prepare_reload()
        run = bench.run(load, running, seconds, rate)
        try:
            core = bench.site.cores.proxy
            begin = run.wait_for(WARM)
            busy, all_busy = running.process.busy(), core_busy(core)
            run.wait_for(WARM + 0.1 * seconds)
            took, peak = _reload(running)
            end = run.wait_for(WARM + seconds)
            # Old workers may have ended meanwhile, and taken their CPU time along.
            busy = max(0, running.process.busy() - busy)
            loaded = run.end(begin, end, busy, max(busy, core_busy(core) - all_busy))
        finally:
            run.stop()
        return {"reload": took, "memory": memory, "memory_peak": max(peak, memory),
                "cpu_fixed": quiet.cpu, "rate": quiet.rate, "p99": quiet.p99,
                "p99_reload": loaded.p99, "p99_added": loaded.p99 - quiet.p99,
                "worst": loaded.worst, **trouble(quiet, loaded),
                "disturbed": quiet.disturbed}


def _reload(running: Running) -> tuple[float, float]:
    """Milliseconds until a route that only the new file has answers, and the highest memory until
    then and a little after."""
    failed: list[Trouble] = []
    url = running.url("body", route=f"v{running.version}")

    def ask() -> None:
        try:
            running.reload()
        except Trouble as trouble_of_peer:
            failed.append(trouble_of_peer)

    started = time.monotonic()
    asking = threading.Thread(target=ask)
    asking.start()
    peak, took = 0.0, None
    while took is None or time.monotonic() < started + took + 0.3:
        if took is None and answers(url, 0.25):
            took = time.monotonic() - started
        peak = max(peak, running.process.memory())
        if failed:
            break
        if time.monotonic() > started + 60:
            failed.append(Trouble(f"{running.peer.name}: no reload within 60 s"))
            break
        time.sleep(0.005)
    asking.join()
    if failed:
        raise failed[0]
    return (took or 0.0) * 1000, peak
