"""What growth varies, one thing at a time, and how one setting is measured."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import machine
from clients import Idle
from load import WARM, core_busy
from machine import Cores, Trouble
from peers import Peer, Plan, Running, Site
from scenarios import Bench, Scenario, half, trouble

POOLS = 100
HOSTS = 500  # addresses of each of the two nginx, for a thousand backends
QUIET = 0.3  # seconds in which Ostler may take no more than a fiftieth of a core
SETTLE = 1.2  # after idle connections were opened, until their buffers are let go of


@dataclass(frozen=True)
class Setting:
    """One way to run Ostler and its load. Series that meet in a setting share its figures."""

    connections: int = 64
    idle: int = 0
    routes: int = 1
    backends: int = 2
    workers: int = 1
    fresh: bool = False  # no request brings a session
    shared: bool = False  # Ostler, load tool and backends use the same cores

    @property
    def key(self) -> str:
        """What is not as usual, as text."""
        changed = [f"{field.name}={getattr(self, field.name)}"
                   for field in dataclasses.fields(self)
                   if getattr(self, field.name) != field.default]
        return ",".join(changed) or "usual"

    def plan(self) -> Plan:
        pools = POOLS if self.routes > 1 else 1
        # One check a second in all, however many backends there are.
        return Plan(routes=self.routes, pools=pools, backends=self.backends,
                    workers=self.workers, interval=self.backends * pools)

    def scenario(self) -> Scenario:
        return Scenario(self.key, self.key, connections=self.connections, cookie=not self.fresh,
                        plan=self.plan())

    def warm(self, rate: float) -> float:
        """Seconds until each connection, to Ostler and to its backends, was used at a rate."""
        # Picked at random, five requests for each reach all but one in a hundred.
        others = self.backends * 5 if self.fresh else 2 * self.plan().pools * 5
        return max(self.connections, others) * 1.2 / rate


@dataclass(frozen=True)
class Series:
    """One thing that varies."""

    name: str
    title: str
    axis: str
    values: tuple[int, ...]
    setting: Callable[[int], Setting]

    def settings(self, site: Site) -> list[tuple[int, Setting]]:
        # Each idle connection takes a descriptor here and one of Ostler.
        most = site.files // 3 if self.name == "idle" else None
        values = dict.fromkeys(value if most is None else min(value, most)
                               for value in self.values)
        return [(value, self.setting(value)) for value in values]


SERIES = {series.name: series for series in [
    Series("connections", "Busy connections", "open connections, all in use",
           (1, 8, 64, 512, 2048), lambda value: Setting(connections=value)),
    Series("idle", "Idle connections", "idle connections beside 64 busy ones",
           (0, 1000, 5000), lambda value: Setting(idle=value)),
    Series("routes", "Routes", "routes, each asked for as often; the first to one pool, "
           f"others to {POOLS}",
           (1, 100, 1000, 10_000, 100_000), lambda value: Setting(routes=value)),
    Series("backends", "Backends, known visitors", "backends of the pool",
           (2, 10, 100, 1000), lambda value: Setting(backends=value)),
    Series("backends-new", "Backends, a new session on each request", "backends of the pool",
           (2, 10, 100, 1000), lambda value: Setting(backends=value, fresh=True)),
    Series("workers", "Workers, on cores shared with the load",
           "workers; load tool and backends on the same cores",
           (1, 2), lambda value: Setting(workers=value, shared=True)),
]}


def fixed_rate(bench: Bench, peer: Peer) -> float:
    """Half of what one connection reaches: it has the lowest peak of all settings."""
    peak = bench.peak(Setting(connections=1).scenario(), peer)
    if peak <= 0:
        raise Trouble(f"{peer.binary} answers nothing")
    return half([peak])


def measure(bench: Bench, peer: Peer, setting: Setting, rate: float) -> dict[str, object]:
    """One setting once, with an Ostler of its own."""
    with _cores(bench.site, setting.shared) as site:
        with Running(peer, site, setting.plan()) as running:
            _until_quiet(running)
            with _idle(running, setting.idle) as idle:
                load = setting.scenario().load(running)
                warm = WARM + setting.warm(rate)
                run = bench.run(load, running, setting.warm(rate) + bench.seconds, rate)
                try:
                    begin = run.wait_for(warm)
                    busy, all_busy = running.process.busy(), core_busy(site.cores.proxy)
                    end = run.wait_for(warm + bench.seconds)
                    busy = running.process.busy() - busy
                    outcome = run.end(begin, end, busy, core_busy(site.cores.proxy) - all_busy)
                finally:
                    run.stop()
                memory = running.process.memory()
                lost = idle.failed + idle.gone()
    figures = trouble(outcome)
    figures["errors"] += lost
    return {"cpu": outcome.cpu, "rate": outcome.rate, "core": outcome.core, "p50": outcome.p50,
            "p99": outcome.p99, "memory": memory, **figures}


def _until_quiet(running: Running) -> None:
    """Waits until the first checks of all backends are done, and the start with them."""
    def quiet() -> bool:
        before = running.process.busy()
        time.sleep(QUIET)
        return running.process.busy() - before < QUIET * 1e9 / 50

    machine.within(30, "an Ostler that has nothing to do", quiet)


@contextlib.contextmanager
def _idle(running: Running, count: int) -> Iterator[Idle]:
    client = Idle(running.url("body"), h2=False)
    try:
        client.open(count)
        if count:
            time.sleep(SETTLE)
        yield client
    finally:
        client.close()


@contextlib.contextmanager
def _cores(site: Site, shared: bool) -> Iterator[Site]:
    """The site as it is, or with all its cores for everybody, the backends too."""
    if not shared:
        yield site
        return
    cores = f"{site.cores.proxy},{site.cores.load}"
    backends = [backend.child.pid for backend in site.backends]
    try:
        for pid in backends:
            os.sched_setaffinity(pid, machine.core_set(cores))
        yield dataclasses.replace(site, cores=Cores(cores, cores))
    finally:
        for pid in backends:
            with contextlib.suppress(OSError):
                os.sched_setaffinity(pid, machine.core_set(site.cores.load))
