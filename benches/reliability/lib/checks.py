"""500 backends, and what of the proxy's checks comes to each of them while its file is loaded again
and again."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import asking
from asking import Client
from fronts import Front, Others, Setting
from machine import free_port, within
from many import ILL, address

BIN = 0.1  # seconds
MANY = Path(__file__).resolve().parent / "many.py"


def checks(kind: str, binary: str, folder: Path, count: int = 500, reloads: int = 100,
           interval: int = 5000) -> dict[str, object]:
    """Three intervals of calm, then a reload after the other with some traffic, then calm again."""
    folder.mkdir(parents=True, exist_ok=True)
    port, file = free_port(), folder / f"seen-{kind}.json"
    file.unlink(missing_ok=True)
    many = subprocess.Popen([sys.executable, str(MANY), str(port), str(count), str(file)],
                            stdin=subprocess.PIPE)
    try:
        within(30, "many backends", file.exists)
        members = [{"name": f"b{number}", "address": f"{address(number)}:{port}"}
                   for number in range(count)]
        setting = Setting(interval=interval, timeout=1000, fall=2)
        with Front(kind, binary, folder, members, setting) as front:
            begun = time.time()
            # As long as a new backend may take until it is known to be down.
            time.sleep(setting.bound / 1000 + 2)
            others = Others()
            calm = (time.time(), time.time() + 3 * interval / 1000)
            time.sleep(3 * interval / 1000)
            client = Client(front.http)
            traffic = threading.Thread(
                target=lambda: asyncio.run(client.run({"GET": 50}, reloads * 0.25 + 3)))
            traffic.start()
            first = time.time()
            for at in range(reloads):
                front.reload()
                time.sleep(max(0.0, first + (at + 1) * 0.25 - time.time()))
            last = time.time()
            traffic.join()
            time.sleep(max(0.0, last + interval / 1000 - time.time()))
            after = (time.time(), time.time() + 2 * interval / 1000)
            time.sleep(2 * interval / 1000)
            # A reload that changes the checks themselves.
            front.setting = dataclasses.replace(setting, timeout=setting.timeout - 100)
            front.write()
            changed = (time.time(), time.time() + interval / 1000)
            front.reload()
            time.sleep(interval / 1000)
            share = others.share()
    finally:
        many.stdin.close()
        many.wait(30)
    seen = json.loads(file.read_text())
    known = begun + setting.bound / 1000 + 1
    to_ill = [path for at, number, path in seen["notes"]
              if number == ILL and path.startswith("/item") and at > known]
    return {
        "backends": count, "interval_ms": interval, "reloads": reloads,
        "reloads_took": last - first,
        "first_second": sum(begun - 3 < at < begun for at, _, path in seen["notes"]
                            if path == "/healthz"),
        "calm": spread(seen, calm, count, interval / 1000),
        "reloading": spread(seen, (first, last), count, interval / 1000),
        "after": spread(seen, after, count, interval / 1000),
        "checks changed": spread(seen, changed, count, interval / 1000),
        "to_ill": len(to_ill), "requests": len(client.seen),
        "failed": asking.failures(client.seen), "others": share}


def spread(seen: dict[str, list], window: tuple[float, float], count: int, interval: float
           ) -> dict[str, object]:
    """Checks of each backend in an interval, and how evenly they come."""
    begin, end = window
    checks = [(at, number) for at, number, path in seen["notes"]
              if begin <= at < end and path == "/healthz"]
    intervals = (end - begin) / interval
    per_backend = Counter(number for _, number in checks)
    bins = Counter(int((at - begin) / BIN) for at, _ in checks)
    each = [bins[at] for at in range(int((end - begin) / BIN))]
    connections = sum(begin <= at < end for at, _ in seen["opened"])
    return {
        "seconds": end - begin,
        "checks_per_backend_and_interval": len(checks) / count / intervals,
        "least": min(per_backend[number] for number in range(count)) / intervals,
        "most": max(per_backend.values(), default=0) / intervals,
        "connections_per_check": connections / max(1, len(checks)),
        "per_100ms_mean": statistics.fmean(each), "per_100ms_deviation": statistics.pstdev(each),
        "per_100ms_worst": max(each)}

