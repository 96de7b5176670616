"""The scenarios in which a proxy answers a load: CPU per request at one fixed rate for all and at
saturation, the peak, latency and memory."""

from __future__ import annotations

from dataclasses import dataclass

from load import Load, Outcome, Run
from peers import Peer, Plan, Running, Site


@dataclass(frozen=True)
class Scenario:
    name: str
    title: str
    body: str = "body"
    tls: bool = False
    h2: bool = False
    connections: int = 64
    streams: int = 1
    close: bool = False
    cookie: bool = True  # a valid session comes with each request, where the peer has sessions
    plan: Plan = Plan()

    def unable(self, peer: Peer) -> str | None:
        """Why a peer cannot take part."""
        if not self.cookie and not peer.sticky:
            return "has no cookie persistence, so it makes no sessions"
        return None

    def load(self, running: Running) -> Load:
        url = running.url(self.body, self.tls)
        many = self.plan.routes > 1
        if many:
            # Every route, at random.
            digits = len(str(self.plan.routes - 1))
            url = running.url(self.body, self.tls, f"r{'0' * (5 - digits)}[0-9]{{{digits}}}")
        if self.tls and self.close:
            # oha resumes the sessions of a name it knows, as far as its eight tickets go. Each
            # request has another name, so each handshake is a full one.
            url = url.replace("127.0.0.1", "[a-z]{8}.localhost")
        return Load(url=url, connections=self.connections, streams=self.streams, h2=self.h2,
                    close=self.close, regex="[" in url,
                    cookie=running.cookie(self.tls) if self.cookie else None)


LOADS = [
    Scenario("h1", "HTTP/1.1, 1 KiB, 64 connections"),
    Scenario("tls-h1", "HTTP/1.1 over TLS, 1 KiB, 64 connections", tls=True),
    Scenario("tls-h2", "HTTP/2 over TLS, 1 KiB, 8 connections of 4 streams", tls=True, h2=True,
             connections=8, streams=4),
    Scenario("connection", "one connection per request, 1 KiB", close=True),
    Scenario("handshake", "one TLS handshake per request, 1 KiB", tls=True, close=True),
    Scenario("large", "1 MiB, plain, 8 connections", body="large", connections=8),
    Scenario("large-tls", "1 MiB over TLS, 8 connections", body="large", tls=True, connections=8),
    Scenario("new-session", "a new session on each request, 1 KiB", cookie=False),
    Scenario("routes", "1,000 routes to 100 pools, 1 KiB", plan=Plan(routes=1000, pools=100)),
]


class Bench:
    """Runs loads with one oha on its cores."""

    def __init__(self, site: Site, oha: str, seconds: float) -> None:
        self.site, self.oha, self.seconds = site, oha, seconds

    def run(self, load: Load, running: Running, seconds: float, rate: float | None) -> Run:
        return Run(self.oha, load, running, seconds, rate, self.site.cores.load)

    def peak(self, scenario: Scenario, peer: Peer) -> float:
        """Requests a second, from a short run: what the fixed rate is made from."""
        with Running(peer, self.site, scenario.plan) as running:
            load = scenario.load(running)
            return self.run(load, running, min(self.seconds, 2), None).measure().rate

    def measure(self, scenario: Scenario, peer: Peer, rate: float) -> dict[str, object]:
        """One peer in one round."""
        with Running(peer, self.site, scenario.plan) as running:
            load = scenario.load(running)
            fixed = self.run(load, running, self.seconds, rate).measure()
            full = self.run(load, running, self.seconds, None).measure()
            memory = running.process.memory()
            resumed = running.resumed() if scenario.tls and scenario.close else None
            return {**figures(fixed, full), "memory": memory, "resumed": resumed,
                    **trouble(fixed, full)}


def figures(fixed: Outcome, full: Outcome) -> dict[str, object]:
    return {"cpu_fixed": fixed.cpu, "cpu_full": full.cpu, "peak": full.rate, "p50": fixed.p50,
            "p99": fixed.p99, "rate": fixed.rate, "core_fixed": fixed.core,
            "core_full": full.core}


def trouble(*outcomes: Outcome) -> dict[str, object]:
    why: dict[str, int] = {}
    for outcome in outcomes:
        for text, number in outcome.why.items():
            why[text] = why.get(text, 0) + number
    return {"errors": sum(outcome.errors for outcome in outcomes),
            "other": sum(outcome.other for outcome in outcomes),
            "cut": sum(outcome.cut for outcome in outcomes), "why": why,
            "disturbed": max(outcome.disturbed for outcome in outcomes)}


def half(peaks: list[float]) -> float:
    """Half of the slowest peak, in two and a half digits, so that runs share a rate."""
    rate = min(peaks) / 2
    step = 10 ** max(0, len(str(int(rate))) - 2) / 2
    return max(1.0, rate // step * step if step >= 1 else float(int(rate)))
