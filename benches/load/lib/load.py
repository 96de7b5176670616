"""Drives oha and looks at the window after its start-up: what was answered in it, how fast, and
what the proxy's CPU did meanwhile."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from machine import Trouble
from peers import Running

# Before the window: connections are opened, TLS is shaken hands, caches are warm. Setting them up
# would otherwise be a share of each request that depends on how long a run lasts.
WARM = 0.6


@dataclass(frozen=True)
class Load:
    """What oha is to ask for."""

    url: str
    connections: int = 64
    streams: int = 1
    h2: bool = False
    close: bool = False  # a connection for each request
    cookie: str | None = None
    regex: bool = False  # the URL is a regular expression

    def command(self, oha: str, seconds: float, rate: float | None, database: Path) -> list[str]:
        text = [oha, "--no-tui", "--output-format", "json", "--worker-threads", "1", "--insecure",
                "-z", f"{round(seconds * 1000)}ms", "-w", "-c", str(self.connections),
                "--db-url", str(database)]
        if self.h2:
            text += ["--http2", "-p", str(self.streams)]
        if self.close:
            text.append("--disable-keepalive")
        if self.cookie:
            text += ["-H", f"cookie: {self.cookie}"]
        if rate:
            text += ["-q", f"{rate:.0f}", "--latency-correction"]
        if self.regex:
            text.append("--rand-regex-url")
        return [*text, self.url]


@dataclass(frozen=True)
class Outcome:
    """What a window showed. Errors and other answers than 2xx are counted over the whole run."""

    requests: int
    rate: float  # a second
    cpu: float  # microseconds a request
    core: float  # percent of the proxy's core
    p50: float  # milliseconds
    p99: float
    worst: float
    errors: int
    other: int  # answers that are not 2xx
    cut: int  # under way when oha ended: it waits for those of HTTP/1.1, but not of HTTP/2
    why: dict[str, int]
    disturbed: float  # percent of the proxy's core that others took


def percentile(values: list[float], share: float) -> float:
    """The nearest-rank percentile of sorted values."""
    return values[max(0, min(len(values) - 1, -int(-share * len(values) // 1) - 1))]


def core_busy(core: str) -> int:
    """Nanoseconds that anybody, also another guest of the host, has had of a core."""
    for line in Path("/proc/stat").read_text().splitlines():
        if line.startswith(f"cpu{core} "):
            user, nice, system, _, _, *rest = (int(text) for text in line.split()[1:9])
            return (user + nice + system + sum(rest)) * 1_000_000_000 // os.sysconf("SC_CLK_TCK")
    return 0


class Run:
    """One run of oha beside a proxy: `begin` returns at once, `end` waits and tells."""

    def __init__(self, oha: str, load: Load, running: Running, seconds: float,
                 rate: float | None, cores: str) -> None:
        self.running, self.seconds = running, seconds
        self.folder = running.folder
        self.database = self.folder / "oha.db"
        self.database.unlink(missing_ok=True)
        command = load.command(oha, WARM + seconds + 0.1, rate, self.database)
        self.output = open(self.folder / "oha.json", "w+")
        self.errors = open(self.folder / "oha.log", "w+")
        self.started = time.monotonic()
        self.child = subprocess.Popen(["taskset", "-c", cores, *command], text=True,
                                      stdin=subprocess.DEVNULL, stdout=self.output,
                                      stderr=self.errors)

    def wait_for(self, moment: float) -> float:
        """Sleeps until so many seconds after the start, and tells how many it became."""
        time.sleep(max(0.0, self.started + moment - time.monotonic()))
        return time.monotonic() - self.started

    def measure(self) -> Outcome:
        """Reads the proxy's CPU at both ends of the window."""
        core = self.running.site.cores.proxy
        try:
            begin = self.wait_for(WARM)
            before, all_before = self.running.process.busy(), core_busy(core)
            end = self.wait_for(WARM + self.seconds)
            after, all_after = self.running.process.busy(), core_busy(core)
        except BaseException:
            self.stop()
            raise
        return self.end(begin, end, after - before, all_after - all_before)

    def end(self, begin: float, end: float, busy: int, all_busy: int) -> Outcome:
        try:
            self.child.wait(self.seconds + 60)
        except subprocess.TimeoutExpired:
            raise Trouble(f"{self.running.peer.name}: oha does not end") from None
        finally:
            self.stop()
        self.output.seek(0)
        self.errors.seek(0)
        try:
            report = json.load(self.output)
        except ValueError:
            words = self.errors.read().strip()[-300:]
            raise Trouble(f"{self.running.peer.name}: oha gave no figures: {words}") from None
        finally:
            self.output.close()
            self.errors.close()
        statuses = report.get("statusCodeDistribution") or {}
        why = dict(report.get("errorDistribution") or {})
        cut = why.pop("aborted due to deadline", 0)
        other = sum(number for code, number in statuses.items() if not code.startswith("2"))
        rows = self._rows(begin, end)
        self.database.unlink(missing_ok=True)
        span, number = end - begin, len(rows)
        return Outcome(
            requests=number, rate=number / span,
            cpu=busy / 1000 / number if number else float("nan"), core=busy / 1e7 / span,
            p50=percentile(rows, 0.5) if rows else float("nan"),
            p99=percentile(rows, 0.99) if rows else float("nan"),
            worst=rows[-1] if rows else float("nan"),
            errors=sum(why.values()), other=other, cut=cut, why=why,
            disturbed=max(0.0, (all_busy - busy) / 1e7 / span))

    def _rows(self, begin: float, end: float) -> list[float]:
        """Milliseconds of what was answered in the window, sorted."""
        if not self.database.exists():
            return []
        with contextlib.closing(sqlite3.connect(self.database)) as database:
            found = database.execute("SELECT duration FROM oha WHERE end >= ? AND end < ?",
                                     (begin, end))
            return sorted(duration * 1000 for (duration,) in found)

    def stop(self) -> None:
        if self.child.poll() is None:
            self.child.kill()
            self.child.wait()
