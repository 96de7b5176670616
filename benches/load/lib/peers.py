"""The proxies that are compared, each started from its template in benches/load/peers, and the two
backends behind them."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import ssl
import subprocess
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

from machine import Cores, Process, Trouble, free_port, run, within
from template import fill

KINDS = ("ostler", "nginx", "haproxy", "envoy", "caddy")
UNVERIFIED = ssl.create_default_context()
UNVERIFIED.check_hostname = False
UNVERIFIED.verify_mode = ssl.CERT_NONE


@dataclass(frozen=True)
class Plan:
    """What a proxy is to be set up with: one route to one pool, or many to many."""

    routes: int = 1
    pools: int = 1
    watched: bool = False  # routes are to be changed while it runs
    backends: int = 2  # of each pool; the other proxies have two always
    workers: int = 1  # the other proxies have one always
    interval: int | None = None  # seconds between checks of a backend; None: by what there is

    def values(self, version: int = 1) -> dict[str, object]:
        """For the templates. Each version has one route that no other has, /vN/."""
        many = self.routes > 1
        names = [f"r{number:05}" for number in range(self.routes)]
        pools = [{"name": f"pool{number}" if many else "web",
                  "routes": [{"name": name} for name in names[number::self.pools]]}
                 for number in range(self.pools)]
        if self.watched:
            pools[0]["routes"].append({"name": f"v{version}"})
        for pool in pools:
            pool["patterns"] = "".join(f" /{route['name']}/*" for route in pool["routes"])
        # Two hundred backends are checked five times less often than two.
        interval = self.interval or (10 if many else 2)
        return {"many": many, "pools": pools, "watched": self.watched,
                "interval": interval, "workers": self.workers}

    def members(self, ports: list[int]) -> list[dict[str, object]]:
        """The backends of each pool, from both nginx in turn; a pool takes no address twice."""
        names = ["one", "two", *(f"b{number}" for number in range(2, self.backends))]
        return [{"name": name, "host": loopback(at // len(ports)), "port": ports[at % len(ports)]}
                for at, name in enumerate(names)]


def loopback(number: int) -> str:
    """One of many addresses of this machine, the first of them 127.0.0.1."""
    return f"127.0.{number // 250}.{number % 250 + 1}"


@dataclass
class Site:
    """What all proxies share: folder, certificate, backends, cores."""

    work: Path
    cores: Cores
    files: int  # that a process may open
    hosts: int = 1  # addresses of each backend
    ports: list[int] = field(default_factory=list)
    backends: list[Process] = field(default_factory=list)

    def open(self, nginx: str) -> None:
        self._certificate()
        for name in ("one", "two"):
            folder = self.work / name
            (folder / "site").mkdir(parents=True)
            (folder / "temp").mkdir()
            (folder / "site/body").write_bytes(b"x" * 1024)
            (folder / "site/large").write_bytes(b"x" * (1 << 20))
            with open(folder / "site/huge", "wb") as huge:
                huge.truncate(100 << 20)
            port = free_port()
            (folder / "nginx.conf").write_text(fill("backend", {
                "folder": folder, "port": port,
                "addresses": [{"host": loopback(at)} for at in range(self.hosts)]}))
            command = [nginx, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", "stderr"]
            backend = Process(f"backend-{name}", self.cores.load, command, folder)
            self.backends.append(backend)
            self.ports.append(port)
            within(10, f"backend {name}: {backend.last_words()}",
                   lambda port=port: answers(f"http://127.0.0.1:{port}/body"))

    def _certificate(self) -> None:
        """One for all: P-256, signed by itself."""
        key, certificate = self.work / "site.key", self.work / "site.crt"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
             "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=localhost",
             "-addext", "subjectAltName=DNS:localhost,DNS:*.localhost,IP:127.0.0.1",
             "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
        key.chmod(0o600)
        (self.work / "site.pem").write_text(certificate.read_text() + key.read_text())

    def close(self) -> None:
        for backend in self.backends:
            backend.stop()


def fetch(url: str, timeout: float = 2) -> tuple[int, dict[str, str]]:
    """Status and fields of an answer; 0 when none comes."""
    try:
        request = urllib.request.Request(url)
        with urllib.request.urlopen(request, timeout=timeout, context=UNVERIFIED) as answer:
            answer.read()
            return answer.status, {name.lower(): text for name, text in answer.headers.items()}
    except urllib.error.HTTPError as error:
        return error.code, {}
    except OSError:
        return 0, {}


def read(url: str) -> str:
    """A text, or "" when there is none."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.read().decode(errors="replace")
    except OSError:
        return ""


def answers(url: str, timeout: float = 2) -> bool:
    return fetch(url, timeout)[0] == 200


@dataclass(frozen=True)
class Peer:
    """A proxy that takes part: its name in tables, which kind it is, where its binary is."""

    name: str
    kind: str
    binary: str

    def version(self) -> str:
        flag = {"nginx": "-v", "haproxy": "-v", "caddy": "version"}.get(self.kind, "--version")
        text = run(self.binary, flag)
        found = re.search(r"\d+\.\d+(\.\d+)?[\w.+~-]*", text)
        return found[0] if found else "unknown"

    @property
    def sticky(self) -> bool:
        return self.kind != "nginx"


class Running:
    """A proxy that serves, in a folder of its own that is removed with it."""

    def __init__(self, peer: Peer, site: Site, plan: Plan) -> None:
        self.peer, self.site, self.plan = peer, site, plan
        self.folder = Path(str(site.work / f"peer-{peer.name}"))
        shutil.rmtree(self.folder, ignore_errors=True)
        (self.folder / "state").mkdir(parents=True)
        self.http, self.https, self.admin = free_port(), free_port(), free_port()
        self.version = 1
        self.config = self.folder / {"ostler": "ostler.toml", "caddy": "Caddyfile",
                                     "envoy": "envoy.yaml"}.get(peer.kind, f"{peer.kind}.conf")
        self._write()
        # HAProxy has no log file: its standard output is one.
        output = self.folder / "access.log" if peer.kind == "haproxy" else None
        self.process = Process(peer.name, site.cores.proxy, self._command(), self.folder, output,
                               {"GOMAXPROCS": "1", "HOME": str(self.folder),
                                "XDG_DATA_HOME": str(self.folder),
                                "XDG_CONFIG_HOME": str(self.folder)})
        try:
            within(30, f"{peer.name}: {self.process.last_words()}", self._serves)
        except Trouble:
            words = self.process.last_words()
            self.process.stop()
            raise Trouble(f"{peer.name} does not serve: {words}") from None

    def _serves(self) -> bool:
        if not self.process.alive():
            raise Trouble("ended")
        return answers(self.url("body")) and answers(self.url("body", tls=True))

    def url(self, name: str, tls: bool = False, route: str = "") -> str:
        """Of a body; with many routes, below one of them."""
        below = f"/{route or 'r00000'}" if self.plan.routes > 1 else ""
        scheme, port = ("https", self.https) if tls else ("http", self.http)
        return f"{scheme}://127.0.0.1:{port}{below}/{name}"

    def _write(self) -> None:
        """Its file, of the present version."""
        site, kind = self.site, self.peer.kind
        values = {
            **self.plan.values(self.version), "folder": self.folder,
            "http": self.http, "https": self.https, "admin": self.admin,
            "one": site.ports[0], "two": site.ports[1],
            "backends": self.plan.members(site.ports), "certificate": site.work / "site.crt",
            "key": site.work / "site.key", "pem": site.work / "site.pem",
            # Clients at once, and the connections of those and to backends.
            "most": site.files * 35 // 100, "twice": site.files * 8 // 10,
            "listeners": [{"name": "http", "port": self.http, "tls": False},
                          {"name": "https", "port": self.https, "tls": True}]}
        if kind == "haproxy":
            (self.folder / "routes.map").write_text(fill("haproxy-map", values))
        if kind == "envoy":
            values["routes"] = fill("envoy-routes", values).rstrip()
            if self.plan.watched:
                new = self.folder / "routes.yaml.new"
                new.write_text(fill("envoy-rds", values))
                new.rename(self.folder / "routes.yaml")
                if self.version > 1:
                    return
        self.config.write_text(fill(kind, values))

    def _command(self) -> list[str]:
        binary, config = self.peer.binary, str(self.config)
        match self.peer.kind:
            case "ostler":
                return [binary, "run", "-c", config]
            case "nginx":
                return [binary, "-p", str(self.folder), "-c", config, "-e", "stderr"]
            case "haproxy":
                return [binary, "-W", "-db", "-f", config]
            case "envoy":
                return [binary, "-c", config, "--concurrency", "1", "--disable-hot-restart",
                        "--file-flush-interval-msec", "1000", "--log-level", "error"]
            case _:
                return [binary, "run", "--config", config, "--adapter", "caddyfile"]

    def cookie(self, tls: bool, route: str = "") -> str | None:
        """The session that a first answer brings, as it is sent back."""
        _, fields = fetch(self.url("body", tls, route))
        text = fields.get("set-cookie")
        return text.split(";")[0] if text else None

    def resumed(self) -> float | None:
        """Percent of TLS handshakes that resumed a session, where the proxy tells."""
        log = self.folder / "access.log"
        match self.peer.kind:
            case "ostler":
                found = re.findall(r'^ostler_tls_handshakes_total{.*resumed="(\w+)"} (\d+)',
                                   read(f"http://127.0.0.1:{self.admin}/metrics"), re.M)
                counts = {"true": 0, "false": 0}
                for word, number in found:
                    counts[word] += int(number)
                again, all_of_them = counts["true"], sum(counts.values())
            case "envoy":
                text = read(f"http://127.0.0.1:{self.admin}/stats?filter=ssl")
                counts = dict(re.findall(r"^listener\..*\.ssl\.(\w+): (\d+)$", text, re.M))
                again = int(counts.get("session_reused", 0))
                all_of_them = int(counts.get("handshake", 0))
            case "nginx" | "haproxy" if log.exists():
                words = re.findall(r'"resumed":"(.)"', log.read_text(errors="replace"))
                again, all_of_them = sum(word in "r1" for word in words), len(words)
            case _:
                return None
        return 100 * again / all_of_them if all_of_them else None

    def prepare_reload(self) -> None:
        """Writes the file of the next version, which asks for the reload where a file does."""
        self.version += 1
        if self.peer.kind != "envoy":
            self._write()

    def reload(self) -> None:
        """Has it take the file; may come back before it has."""
        match self.peer.kind:
            case "ostler":
                self._ask([self.peer.binary, "reload", "-c", str(self.config)])
            case "nginx":
                os.kill(self.process.child.pid, signal.SIGHUP)
            case "haproxy":
                os.kill(self.process.child.pid, signal.SIGUSR2)
            case "envoy":
                self._write()
            case _:
                self._ask([self.peer.binary, "reload", "--config", str(self.config), "--adapter",
                           "caddyfile", "--address", f"unix/{self.folder}/admin.sock"])

    def _ask(self, command: list[str]) -> None:
        # Caddy's `reload` reads and adapts the file itself: that is its work, on its core.
        pinned = ["taskset", "-c", self.site.cores.proxy, *command]
        done = subprocess.run(pinned, capture_output=True, text=True, cwd=self.folder, timeout=60)
        if done.returncode != 0:
            raise Trouble(f"{self.peer.name} refused to reload: {done.stderr.strip()[-300:]}")

    def close(self) -> None:
        self.process.stop()
        with contextlib.suppress(OSError):
            shutil.rmtree(self.folder)

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
