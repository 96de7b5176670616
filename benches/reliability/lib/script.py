"""The outage script: three backends at a steady rate while one after the other is killed, stopped
or restarted, and what their users saw of it."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import asking
from asking import Asked, Client
from farm import Backend, Farm
from fronts import Front, Others, Setting

CYCLE = 12.0  # seconds; one fault of each kind, each after the one before is over
# When in a cycle what happens. A kill and a restart leave the port closed for a while, as a service
# manager does; a stop lasts longer than the checks take to notice it.
KILL, KILL_OVER = 0.0, 1.0
STOP, STOP_OVER = 4.0, 7.0
RESTART, RESTART_GAP = 10.0, 0.3
SLOWEST = 5  # requests that the figures name, to be found in the logs that --keep keeps
BEARABLE = 10  # milliseconds more than the usual 99th percentile
HELD_UP = 200  # milliseconds that no answer takes by itself
AFTER = {"kill": 2.5, "stop": 5.0, "restart": 1.8}  # seconds that a fault may show, from its begin


@dataclass
class Fault:
    kind: str
    backend: str
    began: float  # time.time()
    log: Path  # of the process it happened to

    def covers(self, asked: Asked) -> bool:
        """Whether a request was under way, or due, while this could be felt."""
        return asked.due < self.began + AFTER[self.kind] and asked.done > self.began


async def faults(farm: Farm, seconds: float, out: list[Fault]) -> None:
    """Lets things go wrong, each backend in its turn."""
    start = time.time() + 2.0
    cycle = 0
    while (cycle + 1) * CYCLE <= seconds:
        base = start + cycle * CYCLE
        for at, (when, kind) in enumerate(((KILL, "kill"), (STOP, "stop"), (RESTART, "restart"))):
            backend = farm.backends[(cycle + at) % len(farm.backends)]
            await asyncio.sleep(base + when - time.time())
            log = backend.logs[len(backend.logs) - len(backend.spares) - 1]
            out.append(Fault(kind, backend.name, time.time(), log))
            await FAULTS[kind](backend)
        cycle += 1


async def kill(backend: Backend) -> None:
    backend.send(signal.SIGKILL)
    await asyncio.sleep(KILL_OVER - KILL)
    backend.child.wait()
    backend.open()


async def stop(backend: Backend) -> None:
    backend.send(signal.SIGSTOP)
    await asyncio.sleep(STOP_OVER - STOP)
    backend.send(signal.SIGCONT)


async def restart(backend: Backend) -> None:
    backend.send(signal.SIGTERM)
    while backend.child.poll() is None:
        await asyncio.sleep(0.01)
    await asyncio.sleep(RESTART_GAP)
    backend.open()


FAULTS = {"kill": kill, "stop": stop, "restart": restart}


def outage(kind: str, binary: str, folder: Path, seconds: float, rates: dict[str, float]
           ) -> dict[str, object]:
    """Runs the script before one proxy."""
    setting = Setting()
    spares = int(seconds / CYCLE) + 2
    with Farm(folder / f"farm-{kind}", "abc", "slot_ms=5", "post_ms=20", spares=spares) as farm, \
            Front(kind, binary, folder, farm.members(), setting) as front:
        others = Others()
        client, happened = Client(front.http), []

        async def both() -> None:
            trouble = asyncio.create_task(faults(farm, seconds, happened))
            await client.run(rates, seconds + 4)
            await trouble

        asyncio.run(both())
        share = others.share()
        time.sleep(0.5)
        begun, finished = farm.posts()
        return {**verdict(client.seen, happened, begun, finished, setting), "others": share}


def verdict(seen: list[Asked], happened: list[Fault], begun: Counter[str], finished: set[str],
            setting: Setting) -> dict[str, object]:
    """What a run shows."""
    asking.mark_standstill(seen)
    gets, posts = list(asking.of(seen, "GET")), list(asking.of(seen, "POST"))
    around = {kind: [asked for asked in gets
                     if any(fault.kind == kind and fault.covers(asked) for fault in happened)]
              for kind in FAULTS}
    felt = {asked.key for some in around.values() for asked in some}
    quiet = [asked for asked in gets if asked.key not in felt]
    usual = asking.milliseconds(quiet)
    bearable = asking.percentile(usual, 0.99) + BEARABLE
    return {
        "faults": dict(Counter(fault.kind for fault in happened)),
        "bound_ms": setting.bound,
        "usual": {"p50": asking.percentile(usual, 0.5), "p99": asking.percentile(usual, 0.99),
                  "worst": max(usual, default=0.0), "clear": asking.worst_clear(quiet),
                  "requests": len(usual)},
        "client_late_ms": max((asked.late * 1000 for asked in seen), default=0.0),
        "around": {kind: _around(some, happened) for kind, some in around.items()},
        "unnoticed": _unnoticed(gets, happened, bearable),
        "quiet_failures": asking.failures(quiet),
        "GET": {"requests": len(gets), "failed": asking.failures(gets)},
        "POST": {"requests": len(posts), "failed": asking.failures(posts),
                 **_posts(posts, happened, begun, finished)},
        "examples": [{"method": asked.method, "id": asked.key, "why": asked.why,
                      "took_ms": asked.took * 1000, "text": asked.text, "due": asked.due,
                      "after": _after(asked, happened)}
                     for asked in seen if asked.why][:60],
    }


def _around(some: list[Asked], happened: list[Fault]) -> dict[str, object]:
    took = asking.milliseconds(some)
    slowest = sorted(some, key=lambda asked: asked.took, reverse=True)[:SLOWEST]
    return {"requests": len(some), "failed": asking.failures(some),
            "p99": asking.percentile(took, 0.99), "worst": max(took, default=0.0),
            "clear": asking.worst_clear(some),
            "held_up": sum(one > HELD_UP for one in took),
            "late_ms": max((asked.late * 1000 for asked in some), default=0.0),
            "slowest": [{"id": asked.key, "took_ms": asked.took * 1000, "by": asked.by,
                         "late_ms": asked.late * 1000, "still_ms": asked.still * 1000, "after": _after(asked, happened)}
                        for asked in slowest]}


def _unnoticed(gets: list[Asked], happened: list[Fault], bearable: float) -> dict[str, list[int]]:
    """How many faults of each kind there were, and around how many of them nobody waited for longer
    than is bearable."""
    out: dict[str, list[int]] = {}
    for fault in happened:
        worst = asking.worst_clear([asked for asked in gets if fault.covers(asked)])
        counts = out.setdefault(fault.kind, [0, 0])
        counts[0] += worst <= bearable
        counts[1] += 1
    return out


def _after(asked: Asked, happened: list[Fault]) -> str:
    """The fault it may be due to, and when it ended after that."""
    before = [fault for fault in happened if fault.began < asked.done]
    if not before:
        return "before any fault"
    return f"{before[-1].kind} {before[-1].backend} +{asked.done - before[-1].began:.3f} s"


def _posts(posts: list[Asked], happened: list[Fault], begun: Counter[str], finished: set[str]
           ) -> dict[str, object]:
    """Where the POSTs that failed had got to. `killed`: was executing in the process that was
    killed, so that nobody can know. `stopped`: was executing in the process that hung. `done`: the
    backend finished it, the answer was lost. `unread`: no backend ever began with it."""
    in_killed: set[str] = set()
    in_stopped: set[str] = set()
    for fault in happened:
        if fault.kind == "restart" or not fault.log.exists():
            continue
        for line in fault.log.read_text().splitlines():
            at, event, key = line.split(" ")
            if event == "begun" and fault.kind == "kill" and key not in finished:
                in_killed.add(key)
            # Work of up to 25 ms was under way, or was read when the process went on.
            if event == "begun" and fault.kind == "stop" and \
                    fault.began - 0.05 < float(at) < fault.began + AFTER["stop"]:
                in_stopped.add(key)
    where: Counter[str] = Counter()
    for asked in posts:
        key = str(asked.key)
        if asked.why:
            where["killed" if key in in_killed else "stopped" if key in in_stopped else
                  "done" if key in finished else "begun" if key in begun else "unread"] += 1
    answered = {str(asked.key) for asked in posts if not asked.why}
    return {"where": dict(where), "twice": sum(count > 1 for count in begun.values()),
            "lost": len(answered - finished)}
