"""Runs a program under callgrind, reads what a request costs and allocates, keeps the figures."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Time for what follows an answer: closed connections, the writer of a log, the last wake-up.
SETTLE = 0.25

# The caches of one core as most servers have them: 32 KiB each for code and data, and half a MiB
# behind both, whatever this machine has.
CACHES = ["--cache-sim=yes", "--I1=32768,8,64", "--D1=32768,8,64", "--LL=524288,8,64"]

# A context is a function and its callers, as callgrind writes them: "f'caller'its caller"; a number
# after a name is the level of its recursion.
Context = str
# Where a call stands: the object it is in, and the address in it (0 when addresses are not kept).
Site = tuple[str, int]


class Trouble(Exception):
    """What went wrong, in one line for whoever runs the script."""


@dataclass
class Profile:
    """What one dump holds, or the difference of two."""

    total: int = 0
    # What the first caches of a core would have missed, where that was asked for.
    code_misses: int = 0
    data_misses: int = 0
    own: Counter[str] = field(default_factory=Counter)
    inclusive: Counter[str] = field(default_factory=Counter)
    calls: Counter[str] = field(default_factory=Counter)
    edges: Counter[tuple[Context, Site, Context]] = field(default_factory=Counter)
    # How often each instruction was carried out, where that was asked for.
    places: Counter[tuple[str, Site]] = field(default_factory=Counter)

    def add(self, other: Profile, sign: int = 1) -> Profile:
        """This and another one, or this less another one when the sign is -1."""
        result = Profile(total=self.total + sign * other.total,
                         code_misses=self.code_misses + sign * other.code_misses,
                         data_misses=self.data_misses + sign * other.data_misses)
        for name in ("own", "inclusive", "calls", "edges", "places"):
            counts: Counter[Any] = Counter(getattr(self, name))
            for key, value in getattr(other, name).items():
                counts[key] += sign * value
            setattr(result, name, counts)
        return result


@dataclass
class Cost:
    """What a program does for one request, and while nobody asks."""

    requests: int
    profile: Profile
    idle_second: float

    @property
    def per_request(self) -> float:
        return self.profile.total / self.requests

    @property
    def misses(self) -> str:
        """Of code and of data, for a request."""
        code, data = self.profile.code_misses, self.profile.data_misses
        return f"{code / self.requests:,.0f} + {data / self.requests:,.0f}"


class Callgrind:
    """A program under callgrind; it counts from its first instruction on."""

    def __init__(self, command: list[str], folder: Path, chains: bool = False,
                 caches: bool = False, places: bool = False) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.dumps, self.chains, self.places = folder, 0, chains, places
        self.log = folder / "log"
        # Callgrind counts each byte that `rep movsb` moves as an instruction, a CPU the whole of it
        # as one; and from which size on libc uses it depends on the machine.
        never = 1 << 40
        env = os.environ | {"GLIBC_TUNABLES": f"glibc.cpu.x86_rep_movsb_threshold={never}:"
                                              f"glibc.cpu.x86_rep_stosb_threshold={never}"}
        options = [f"--dump-instr={'yes' if chains or places else 'no'}"]
        options += ["--separate-callers=12"] if chains else []
        options += CACHES if caches else []
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                ["valgrind", "--tool=callgrind", "--compress-pos=no",
                 f"--vgdb-prefix={folder}/vgdb", f"--callgrind-out-file={folder}/dump", *options,
                 *command],
                cwd=folder, env=env, stdout=log, stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL)

    def ask(self, command: str) -> None:
        """Has valgrind carry out a command, and waits until it is done."""
        answer = subprocess.run(
            ["vgdb", f"--vgdb-prefix={self.folder}/vgdb", f"--pid={self.process.pid}",
             "--cmd-time-out=30", command],
            capture_output=True, text=True, timeout=60, check=False)
        if answer.returncode != 0:
            raise Trouble(f"vgdb could not {command}: {answer.stderr.strip()}")

    def dump(self) -> Profile:
        """What was counted since the last dump or zero; the counts begin anew."""
        self.ask("dump")
        self.dumps += 1
        return read(self.folder / f"dump.{self.dumps}", self.chains, self.places)

    def measure(self, load: Callable[[int], None], warm: int, short: int, long: int) -> Cost:
        """Warms up, then counts a long and a short run, each within the same length of time.

        Their difference is free of what a run costs once (connections, handshakes) and of what
        comes by the clock (ticks, checks), which the rest of the shorter run's time has as well.
        """
        load(warm)
        time.sleep(SETTLE)
        self.ask("zero")
        began = time.monotonic()
        load(long)
        time.sleep(SETTLE)
        window = time.monotonic() - began
        more = self.dump()
        began = time.monotonic()
        load(short)
        time.sleep(SETTLE)
        rest = max(window - (time.monotonic() - began), 0.0)
        less = self.dump()
        time.sleep(rest)
        idle = self.dump()
        return Cost(long - short, more.add(less, -1).add(idle, -1),
                    idle.total / rest if rest > 0 else 0.0)

    def stop(self) -> None:
        """Ends it at once: what it would write at its end is of no interest."""
        self.process.kill()
        self.process.wait()


def read(path: Path, chains: bool, places: bool) -> Profile:
    """Reads one dump; calls are kept with their places when chains are asked for, and how often each
    instruction was carried out when places are."""
    profile = Profile()
    functions: dict[str, str] = {}
    objects: dict[str, str] = {}
    current = callee = within = ""
    called: int | None = None
    columns, events = 1, list[str]()
    with path.open(errors="replace") as lines:
        for line in lines:
            key, _, value = line.rstrip("\n").partition("=")
            if key == "fn":
                current = named(value, functions)
            elif key == "cfn":
                callee = named(value, functions)
            elif key == "ob":
                within = named(value, objects)
            elif key == "cob":
                named(value, objects)
            elif key == "calls":
                called = int(value.split()[0])
            elif line.startswith("positions:"):
                columns = len(line.split()) - 1
            elif line.startswith("events:"):
                events = line.split()[1:]
            elif line.startswith("totals:"):
                totals = dict(zip(events, map(int, line.split()[1:])))
                profile.total = totals["Ir"]
                profile.code_misses = totals.get("I1mr", 0)
                profile.data_misses = totals.get("D1mr", 0) + totals.get("D1mw", 0)
            elif line[:1].isdigit():
                parts = line.split()
                cost = int(parts[columns]) if len(parts) > columns else 0
                if called is None:
                    profile.own[title(current)] += cost
                    if places:
                        site = (within, int(parts[0], 16))
                        profile.places[title(current), site] += cost
                    continue
                profile.inclusive[title(callee)] += cost
                profile.calls[title(callee)] += called
                if chains:
                    site = (within, int(parts[0], 16))
                    profile.edges[(current, site, callee)] += called
                called = None
    return profile


def named(text: str, names: dict[str, str]) -> str:
    """A name in callgrind's short form: "(12) name" the first time, "(12)" from then on."""
    if not text.startswith("("):
        return text
    number, _, name = text.partition(" ")
    if name:
        names[number] = name
    return names.get(number, "?")


def title(context: Context) -> str:
    """The function of a context, with the level of its recursion but without its callers."""
    name, _, rest = context.partition("'")
    level = rest.partition("'")[0]
    return f"{name}'{level}" if level.isdigit() else name


def costliest(cost: Cost, count: int) -> list[str]:
    """The functions that cost most themselves, as a table's lines."""
    lines = [f"{'self':>9} {'inclusive':>10} {'calls':>8}  function"]
    for name, own in cost.profile.own.most_common(count):
        inclusive = cost.profile.inclusive[name] / cost.requests
        calls = cost.profile.calls[name] / cost.requests
        lines.append(f"{own / cost.requests:9,.0f} {inclusive:10,.0f} {calls:8.2f}  {name[:130]}")
    return lines


def widest(cost: Cost, count: int) -> list[str]:
    """The functions of which a request touches most lines of memory (64 bytes), as a table's lines."""
    # What is carried out in fewer than two requests of five belongs to something else.
    usual = {place for place, times in cost.profile.places.items() if 5 * times > 2 * cost.requests}
    lines, instructions = defaultdict[str, set[Site]](set), Counter[str]()
    for name, (within, address) in usual:
        lines[name].add((within, address // 64))
        instructions[name] += 1
    all_lines = set().union(*lines.values())
    table = [f"{len(all_lines):,} lines of code, {len(usual):,} different instructions",
             f"{'lines':>7} {'different':>9} {'self':>9}  function"]
    for name, its in sorted(lines.items(), key=lambda item: -len(item[1]))[:count]:
        own = cost.profile.own[name] / cost.requests
        table.append(f"{len(its):>7} {instructions[name]:9,} {own:9,.0f}  {name[:130]}")
    return table


# What hands out memory: mimalloc, jemalloc, libc, and Rust's own names for the global allocator.
ENTRY = re.compile(r"_?mi_\w*(alloc|dup)\w*|_?rjem_\w*alloc\w*|(__libc_)?(m|c|re)alloc"
                   r"|posix_memalign|aligned_alloc|memalign|.*__r(ust|dl|g)_(re)?alloc\w*")
INSIDE = re.compile(r"_?mi_.*|_?rjem_.*|je_.*|_(int|mid)_.*|__libc_.*|(m|c|re)alloc\w*"
                    r"|aligned_alloc|posix_memalign|memalign|.*__r(ust|dl|g)_.*")
# Code that allocates for others and says nothing of why.
GENERIC = re.compile(r"<?&?(alloc|core|std|mimalloc|libmimalloc_sys|__rustc?)::.*|.*__rust_.*")


@dataclass(frozen=True)
class Frame:
    """A function, inlined or not, and the place in it that is being carried out."""

    function: str
    place: str
    crate: str  # "" for the program's own code, "std", a package with its version, or "?"

    def __str__(self) -> str:
        return f"{self.function} ({self.place})" if self.place else self.function


def allocations(cost: Cost, program: Path) -> list[str]:
    """Who allocates how often for a request: a table's lines, with the sum at its head."""
    into: dict[Context, list[tuple[Context, Site, int]]] = defaultdict(list)
    for (caller, site, callee), count in cost.profile.edges.items():
        # Once in two hundred requests or less is no part of an exchange.
        if count * 200 > cost.requests:
            into[callee].append((caller, site, count))
    entries = {callee for callee in into if ENTRY.fullmatch(function(callee))}
    frames = inlined(program, addresses(entries, into, program))
    found: Counter[str] = Counter()
    for callee in entries:
        again = "grow: " if "realloc" in function(callee) else ""
        for caller, site, count in into[callee]:
            if not INSIDE.fullmatch(function(caller)):
                origins = chains(caller, site, into, frames, program, 12)
                found[again + origin_text(origins)] += count
    whole = sum(found.values()) / cost.requests
    lines = [f"{whole:9.2f}  allocations an exchange; by caller, up to the first of our own code:"]
    lines += [f"{count / cost.requests:9.2f}  {text}" for text, count in found.most_common()]
    return lines


def function(context: Context) -> str:
    """The innermost function of a context."""
    return context.partition("'")[0]


def addresses(entries: set[Context], into: dict[Context, list[tuple[Context, Site, int]]],
              program: Path) -> set[int]:
    """All places in the program from which the entries are reached."""
    known, waiting, places = set(entries), list(entries), set()
    while waiting:
        for caller, (within, address), _ in into.get(waiting.pop(), ()):
            if within == str(program):
                places.add(address)
            if caller not in known:
                known.add(caller)
                waiting.append(caller)
    return places


def inlined(program: Path, places: set[int]) -> dict[int, list[Frame]]:
    """The functions at each address, the innermost first: what was inlined has no call to count."""
    answer = subprocess.run(
        ["addr2line", "-a", "-i", "-f", "-C", "-e", str(program)], text=True, check=True,
        input="".join(f"{place:#x}\n" for place in sorted(places)), capture_output=True)
    frames: dict[int, list[Frame]] = {}
    lines = iter(answer.stdout.splitlines())
    address = 0
    for line in lines:
        if line.startswith("0x"):
            address = int(line, 16)
            frames[address] = []
            continue
        name = re.sub(r"::h[0-9a-f]{16}$", "", line)
        if not name.startswith("<") and name.endswith(">"):
            name = name.partition("<")[0]  # what it is generic over fills many lines
        place = next(lines, "??:0").partition(" (discriminator")[0]
        frames[address].append(frame(name, place))
    return frames


def frame(name: str, place: str) -> Frame:
    """A function with the crate that its file tells."""
    if place.startswith("??"):
        return Frame(name, "", "std" if GENERIC.fullmatch(name) else "?")
    if package := re.search(r"/(?:registry/src/[^/]+|git/checkouts)/([^/]+)/(.*)", place):
        crate, rest = package.groups()
        allocator = re.match(r"(lib)?mimalloc|tikv-jemalloc", crate)
        return Frame(name, f"{crate}/{rest}", "std" if allocator else crate)
    if re.search(r"/rustc/|/rustlib/src/", place) or GENERIC.fullmatch(name):
        return Frame(name, "", "std")
    if "/src/net/sys.rs:" in place:  # the allocator, and what reads for others
        return Frame(name, "", "std")
    return Frame(name, "src/" + place.rpartition("/src/")[2], "")


def chains(caller: Context, site: Site, into: dict[Context, list[tuple[Context, Site, int]]],
           frames: dict[int, list[Frame]], program: Path, depth: int) -> list[tuple[Frame, ...]]:
    """The ways from a call up to the first function of our own code, without the generic ones.

    Callgrind tells callers apart, not the places in one from which another is called: each of
    those is a way of its own.
    """
    here = frames.get(site[1], []) if site[0] == str(program) else []
    if not any(step.crate != "?" for step in here):
        here = [frame(function(caller), "??")]
    named_ones: list[Frame] = []
    for step in here:
        if step.crate != "std":
            named_ones.append(step)
        if step.crate == "":
            return [tuple(named_ones)]
    above = sorted(into.get(caller, ()), key=lambda edge: -edge[2])[:6] if depth else []
    ways: dict[tuple[Frame, ...], None] = {}
    for parent, place, _ in above:
        for way in chains(parent, place, into, frames, program, depth - 1):
            ways[(*named_ones, *way)] = None
    return list(ways) or [tuple(named_ones)]


def origin_text(ways: list[tuple[Frame, ...]]) -> str:
    """The innermost named function, and the places of our own code that it may serve."""
    inner = next((way[0] for way in ways if way), None)
    outer = [way[-1] for way in ways if way and way[-1] != inner]
    if inner is None:
        return "?"
    unique = [str(step) for step in dict.fromkeys(outer)]
    rest = f" or {len(unique) - 3} more" if len(unique) > 3 else ""
    return f"{inner} < {' or '.join(unique[:3])}{rest}" if unique else str(inner)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def tail(log: Path) -> str:
    """The end of a log, to stand below what went wrong."""
    lines = log.read_text(errors="replace").splitlines()[-12:]
    return "".join(f"\n    {line}" for line in lines)


def baseline(path: Path) -> dict[str, float]:
    """The stored figures, one "name instructions" a line."""
    if not path.exists():
        return {}
    figures: dict[str, float] = {}
    for line in path.read_text().splitlines():
        if line and not line.startswith("#"):
            name, _, figure = line.partition(" ")
            try:
                figures[name] = float(figure)
            except ValueError:
                raise Trouble(f"{path}: not a name and a number: {line!r}") from None
    return figures


def store(path: Path, figures: dict[str, float]) -> None:
    """Writes the figures, with what they depend on beside the code."""
    said = subprocess.run(["rustc", "-V"], capture_output=True, text=True, check=False).stdout
    head = f"# Instructions per request, from benches/load/instructions --store ({said.strip()})\n"
    lines = (f"{name} {figure:.0f}\n" for name, figure in sorted(figures.items()))
    path.write_text(head + "".join(lines))
