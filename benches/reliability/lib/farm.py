"""Backends (tests/real/origin.py) as processes of their own, with others that stand by to take
their place, so that nothing is loaded while the clock runs."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import urllib.request
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from machine import Trouble, free_port, within

ORIGIN = Path(__file__).resolve().parents[3] / "tests/real/origin.py"


@dataclass
class Backend:
    """One place behind the proxy: its ports stay, its process may change."""

    name: str
    folder: Path
    settings: list[str]
    port: int = field(default_factory=free_port)
    control: int = field(default_factory=free_port)
    spares: list[subprocess.Popen[bytes]] = field(default_factory=list)
    child: subprocess.Popen[bytes] | None = None
    logs: list[Path] = field(default_factory=list)

    def stand_by(self, count: int) -> None:
        """Loads so many processes that open nothing yet."""
        for _ in range(count):
            log = self.folder / f"{self.name}-{len(self.logs)}.posts"
            self.logs.append(log)
            # Of an earlier run, in a folder that was kept.
            log.unlink(missing_ok=True)
            command = [sys.executable, str(ORIGIN), self.name, str(self.port), "--held",
                       "--control", str(self.control), "--log", str(log), *self.settings]
            with open(self.folder / f"origin-{self.name}.log", "ab") as errors:
                self.spares.append(subprocess.Popen(command, stdin=subprocess.PIPE,
                                                    stdout=errors, stderr=errors))

    def open(self) -> None:
        """The next one that stands by takes the port."""
        if not self.spares:
            self.stand_by(1)
        self.child = self.spares.pop(0)
        self.child.stdin.write(b"\n")
        self.child.stdin.flush()

    def send(self, number: int) -> None:
        self.child.send_signal(number)

    def kill(self) -> None:
        self.send(signal.SIGKILL)
        self.child.wait()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.control}"

    def told(self, path: str = "/") -> dict[str, object]:
        """What its control port says."""
        with urllib.request.urlopen(self.url + path, timeout=10) as answer:
            return json.load(answer)

    def counts(self) -> Counter[str]:
        return Counter(self.told()["counts"])

    def is_open(self) -> bool:
        try:
            return bool(self.told())
        except (OSError, ValueError):  # or somebody else's port
            return False


class Farm:
    """The backends of one run."""

    def __init__(self, folder: Path, names: str, *settings: str, spares: int = 0) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.backends = [Backend(name, folder, list(settings)) for name in names]
        for backend in self.backends:
            backend.stand_by(1 + spares)
        for backend in self.backends:
            backend.open()
        try:
            for backend in self.backends:
                within(30, f"backend {backend.name}", backend.is_open)
        except Trouble:
            self.close()
            raise

    def members(self) -> list[dict[str, object]]:
        """For the templates."""
        return [{"name": backend.name, "address": f"127.0.0.1:{backend.port}"}
                for backend in self.backends]

    def set(self, query: str) -> None:
        for backend in self.backends:
            backend.told(f"/set?{query}")

    def clear(self) -> None:
        for backend in self.backends:
            backend.told("/clear")

    def counts(self) -> Counter[str]:
        """Of all, summed up."""
        total: Counter[str] = Counter()
        for backend in self.backends:
            total.update(backend.counts())
        return total

    def posts(self) -> tuple[Counter[str], set[str]]:
        """How often each POST was begun by any process of any backend, and which were finished."""
        begun: Counter[str] = Counter()
        finished: set[str] = set()
        for path in (path for backend in self.backends for path in backend.logs):
            if not path.exists():
                continue
            for line in path.read_text().splitlines():
                _, event, key = line.split(" ")
                if event == "begun":
                    begun[key] += 1
                else:
                    finished.add(key)
        return begun, finished

    def close(self) -> None:
        for backend in self.backends:
            for child in [*backend.spares, *([backend.child] if backend.child else [])]:
                with contextlib.suppress(OSError):
                    child.kill()
                child.wait()
                child.stdin.close()

    def __enter__(self) -> Farm:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
