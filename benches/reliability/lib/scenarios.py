"""Shorter scenarios: connections that close after an answer, backends that fail half of what they
are asked, and a backend that is offered more than it can do."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from pathlib import Path

import asking
from asking import Client
from farm import Farm
from fronts import Front, Others, Setting
from machine import say

STALL = 0.5  # seconds by which this client is late where figures mean nothing
CALM = Setting(fails=0)  # nobody is to be left alone: the scenario is about each single failure


def ask(front: Front, rates: dict[str, float], seconds: float,
        most: dict[str, int] | None = None) -> Client:
    client = Client(front.http)
    asyncio.run(client.run(rates, seconds, most))
    late = max((asked.late for asked in client.seen), default=0.0)
    if late > STALL:
        say(f"{front.kind}: the machine stood still for {late:.1f} s, run it again")
    return client


def idle_close(kind: str, binary: str, folder: Path, count: int = 2000, rate: float = 200
               ) -> dict[str, object]:
    """GETs, then POSTs, to a backend that closes unannounced: at once, and a little later, when the
    next request may be on its way."""
    out: dict[str, object] = {}
    for name, idle in (("at once", "0"), ("after 5 ms", "5")):
        place = folder / f"close-{kind}-{idle}"
        with Farm(place, "a", f"idle={idle}") as farm, \
                Front(kind, binary, place, farm.members(), CALM) as front:
            others = Others()
            rows: dict[str, object] = {}
            for method in ("GET", "POST"):
                farm.clear()
                client = ask(front, {method: rate}, count / rate + 5, {method: count})
                counts = farm.counts()
                rows[method] = {"requests": len(client.seen),
                                "failed": asking.failures(client.seen),
                                "seen_by_backend": counts["gets"] + counts["posts"],
                                "connections": counts["connections"] - counts["checks"]}
            begun, finished = farm.posts()
            # The client counts from one in both runs: ids of POSTs are those of the second.
            rows["POST"]["twice"] = sum(times > 1 for times in begun.values())
            out[name] = {**rows, "others": others.share()}
    return out


def half_failing(kind: str, binary: str, folder: Path, seconds: float = 20, rate: float = 500
                 ) -> dict[str, object]:
    """All backends fail half of their requests: how many more come to them than users have sent.
    Then one of four fails a fifth: how many errors users see."""
    out: dict[str, object] = {}
    for at, (name, names, sick, how, share) in enumerate((
            ("all, half, by reset", "abcd", "abcd", "reset", 0.5),
            ("all, half, by 500", "abcd", "abcd", "500", 0.5),
            ("one of four, 20 %, by reset", "abcd", "a", "reset", 0.2),
            ("one of four, 20 %, by 500", "abcd", "a", "500", 0.2))):
        # An application's own 500 is an answer, and goes to the user unless one asks otherwise:
        # asked otherwise is what multiplies the load, so that is what the first two try.
        setting = Setting(fails=0, answers=how == "500" and sick == names)
        place = folder / f"half-{kind}-{at}"
        with Farm(place, names) as farm, \
                Front(kind, binary, place, farm.members(), setting) as front:
            for backend in farm.backends:
                if backend.name in sick:
                    backend.told(f"/set?fail_share={share}&fail_how={how}")
            farm.clear()
            others = Others()
            client = ask(front, {"GET": rate}, seconds)
            counts = farm.counts()
            users = len(client.seen)
            errors = sum(asking.failures(client.seen).values())
            blind = share * len(sick) / len(names)
            out[name] = {
                "requests": users, "at_backends": counts["gets"],
                "amplification": counts["gets"] / users, "errors": errors,
                "kinds": asking.failures(client.seen), "error_share": errors / users,
                "fall": 1 - errors / users / blind,
                "to_sick": sum(backend.counts()["gets"] for backend in farm.backends
                               if backend.name in sick) / max(1, counts["gets"]),
                "others": others.share()}
    return out


def slots(kind: str, binary: str, folder: Path, seconds: float = 20) -> dict[str, object]:
    """10 slots × 100 ms are 100 a second; 150 are offered. Once a short queue is the limit, once a
    short patience."""
    out: dict[str, object] = {}
    for name, queue, patience in (("queue of 20", 20, 2000), ("patience of 500 ms", 1000, 500)):
        setting = Setting(fails=0, slots=10, queue=queue, patience=patience, wait=10000)
        place = folder / f"slots-{kind}-{queue}"
        with Farm(place, "a", "slots=10", "slot_ms=100") as farm, \
                Front(kind, binary, place, farm.members(), setting) as front:
            ask(front, {"GET": 20}, 1)
            farm.clear()
            others, memory = Others(), []
            over = threading.Event()

            def sample(front: Front = front, memory: list[float] = memory,
                       over: threading.Event = over) -> None:
                while not over.wait(1):
                    memory.append(front.process.memory())

            sampler = threading.Thread(target=sample)
            sampler.start()
            client = ask(front, {"GET": 150}, seconds)
            over.set()
            sampler.join()
            good = [asked for asked in client.seen if not asked.why]
            begin = min(asked.due for asked in client.seen)
            steady = [asked for asked in good if 2 <= asked.done - begin < seconds]
            waits = [asked.took * 1000 - 100 for asked in good]
            refused = [asked.took * 1000 for asked in client.seen if asked.why]
            counts = farm.counts()
            out[name] = {
                "offered": 150, "capacity": 100, "served": len(steady) / (seconds - 2),
                "failed": asking.failures(client.seen), "most_at_once": counts["most_at_once"],
                "wait_p50": asking.percentile(waits, 0.5), "wait_worst": max(waits, default=0.0),
                "refused_after_worst": max(refused, default=0.0),
                "waiting_worst": longest(client),
                "memory": memory[1:2] + memory[-1:], "others": others.share()}
    return out


def longest(client: Client) -> int:
    """The most that waited at once, seen from outside: under way, less those in the slots."""
    moments = Counter[float]()
    for asked in client.seen:
        moments[asked.due + asked.late] += 1
        moments[asked.done] -= 1
    now = most = 0
    for moment in sorted(moments):
        now += moments[moment]
        most = max(most, now)
    return most - 10
