"""The proxies that stand before the backends, each started from its template in
benches/reliability/peers."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

import template
from machine import Process, Trouble, free_port, need, run, within

KINDS = ("ostler", "nginx", "haproxy")
template.PEERS.insert(0, Path(__file__).resolve().parent.parent / "peers")


@dataclass(frozen=True)
class Setting:
    """What a proxy is told beside its backends; times in milliseconds."""

    checked: bool = True
    interval: int = 500
    timeout: int = 500
    fall: int = 2
    wait: int = 2000  # for an answer, where the proxy has no better way to give up on a backend
    answers: bool = False  # answers of 500 are to be tried again
    fails: int = 1  # after which nginx leaves a backend alone; 0: never
    slots: int = 0  # requests at once at a backend
    queue: int = 1000
    patience: int = 5000  # in the queue

    @property
    def bound(self) -> int:
        """Milliseconds until a backend that hangs is known to: interval × fall + timeout."""
        return self.interval * self.fall + self.timeout


class Front:
    """A proxy that serves, in a folder of its own."""

    def __init__(self, kind: str, binary: str, folder: Path, members: list[dict[str, object]],
                 setting: Setting) -> None:
        self.kind, self.binary, self.folder = kind, binary, folder / f"front-{kind}"
        shutil.rmtree(self.folder, ignore_errors=True)
        (self.folder / "state").mkdir(parents=True)
        (self.folder / "servers.state").touch()
        self.members, self.setting = members, setting
        self.http, self.admin = free_port(), free_port()
        self.config = self.folder / ("ostler.toml" if kind == "ostler" else f"{kind}.conf")
        self.write()
        output = self.folder / "access.log" if kind == "haproxy" else None
        cores = f"0-{(os.cpu_count() or 1) - 1}"
        self.process = Process(kind, cores, self._command(), self.folder, output)
        try:
            within(30, f"{kind} does not serve", self._serves)
        except Trouble:
            words = self.process.last_words()
            self.close()
            raise Trouble(f"{kind} does not serve: {words}") from None

    def write(self) -> None:
        values = {**vars(self.setting), "folder": self.folder, "http": self.http,
                  "admin": self.admin, "backends": self.members}
        self.config.write_text(template.fill(self.kind, values))

    def _command(self) -> list[str]:
        match self.kind:
            case "ostler":
                return [self.binary, "run", "-c", str(self.config)]
            case "nginx":
                return [self.binary, "-p", str(self.folder), "-c", str(self.config), "-e",
                        "stderr"]
            case _:
                return [self.binary, "-W", "-db", "-f", str(self.config)]

    def _serves(self) -> bool:
        """Whether a request comes through."""
        if not self.process.alive():
            raise Trouble("ended")
        try:
            with socket.create_connection(("127.0.0.1", self.http), 2) as wire:
                wire.sendall(b"GET /item?id=0 HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n\r\n")
                return wire.recv(12) == b"HTTP/1.1 200"
        except OSError:
            return False

    def reload(self) -> None:
        """Has it read its file again."""
        match self.kind:
            case "ostler":
                command = [self.binary, "reload", "-c", str(self.config)]
                done = subprocess.run(command, capture_output=True, text=True, timeout=60,
                                      check=False)
                if done.returncode != 0:
                    raise Trouble(f"ostler refused to reload: {done.stderr.strip()[-300:]}")
            case "nginx":
                os.kill(self.process.child.pid, signal.SIGHUP)
            case _:
                # What its checks have found is handed over, as its manual recommends.
                (self.folder / "servers.state").write_text(self.ask("show servers state"))
                os.kill(self.process.child.pid, signal.SIGUSR2)

    def ask(self, command: str) -> str:
        """A word with HAProxy's socket."""
        with socket.socket(socket.AF_UNIX) as wire:
            wire.connect(str(self.folder / "stats.sock"))
            wire.sendall(f"{command}\n".encode())
            parts = []
            while part := wire.recv(65536):
                parts.append(part)
        return b"".join(parts).decode()

    def close(self) -> None:
        self.process.stop()

    def __enter__(self) -> Front:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def binaries(kinds: list[str], ostler: Path) -> dict[str, str]:
    """Where each of them is; nginx and HAProxy are installed where that is possible."""
    if "ostler" in kinds and not os.access(ostler, os.X_OK):
        raise Trouble(f"no binary at {ostler}; cargo build --release makes it")
    return {kind: str(ostler) if kind == "ostler" else need(kind) for kind in kinds}


def version(kind: str, binary: str) -> str:
    text = run(binary, "--version" if kind == "ostler" else "-v")
    with contextlib.suppress(IndexError):
        words = text.replace("nginx version: nginx/", "").replace("HAProxy version", "").split()
        return words[1] if kind == "ostler" else words[0]
    return "unknown"


class Others:
    """What the rest of the machine took of its cores while something ran, in percent of all."""

    def __init__(self) -> None:
        self.all, self.own = self._all(), self._own()

    def share(self) -> float:
        every = [now - then for now, then in zip(self._all(), self.all, strict=True)]
        own = max(0, self._own() - self.own)
        return 100 * max(0, every[0] - own) / every[1] if every[1] else 0.0

    @staticmethod
    def _all() -> tuple[int, int]:
        """Ticks that anybody had, and all there were."""
        with open("/proc/stat") as stat:
            user, nice, system, idle, wait, *rest = (int(word) for word in
                                                     stat.readline().split()[1:9])
        busy = user + nice + system + sum(rest)
        return busy, busy + idle + wait

    @staticmethod
    def _own() -> int:
        """Ticks of this process and of all below it, the dead ones too."""
        total, todo = 0, [os.getpid()]
        while todo:
            pid = todo.pop()
            with contextlib.suppress(OSError):
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                total += sum(int(word) for word in fields[11:15])
            for path in Path(f"/proc/{pid}/task").glob("*/children"):
                with contextlib.suppress(OSError):
                    todo += [int(child) for child in path.read_text().split()]
        return total
