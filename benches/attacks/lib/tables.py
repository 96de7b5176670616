"""The figures as tables."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import page
from crowd import STAY
from page import table

Rows = dict[str, dict]


def text(name: str, results: dict[str, Rows]) -> str:
    if not results:
        return f"{name}: nothing was run"
    return {"crowd": crowd, "hello": hello, "floods": floods,
            "never-read": never_read, "memory": at_once}[name](results) + "\n"


def fill(file: Path, results: dict[str, dict]) -> None:
    """Puts the tables of what was run into a page."""
    page.fill(file, results, {name: text(name, figures)
                              for name, figures in results["scenarios"].items()})


def crowd(results: dict[str, Rows]) -> str:
    head = ["", "the crowd", "slow heads + silent TLS", "came in all", "KiB per slow head",
            "KiB per silent TLS", "MiB before, peak, after"]
    rows = []
    for peer, one in results.items():
        for name, part in one.items():
            # Who was closed again costs nothing, and would make the others look cheap.
            stay = [name == STAY and got >= 0.99 * wanted for got, wanted in
                    zip(part["held"], (part["slow"], part["silent"]), strict=True)]
            rows.append([peer, name, " + ".join(f"{count:,}" for count in part["held"]),
                         f"{part['came']:,}",
                         f"{part['slow_kib']:.2f}" if stay[0] else "-",
                         f"{part['silent_kib']:.2f}" if stay[1] else "-", memory(part)])
    out = [table(head, rows)]
    head = ["honest client", "the crowd", "requests", "errors", "p50 ms quiet", "p50 ms",
            "p99 ms quiet", "p99 ms", "times", "worst ms quiet", "worst ms", "core % quiet",
            "core %", "newcomers failed", "others %"]
    rows = []
    for peer, one in results.items():
        for name, part in one.items():
            quiet, now = part["quiet"], part["attacked"]
            rows.append([peer, name, f"{now['requests']:,}", str(now["errors"]),
                         f"{quiet['p50']:.2f}", f"{now['p50']:.2f}",
                         f"{quiet['p99']:.2f}", f"{now['p99']:.2f}",
                         f"{now['p99'] / quiet['p99']:.2f}",
                         f"{quiet['worst']:.1f}", f"{now['worst']:.1f}",
                         f"{quiet['core']:.0f}", f"{now['core']:.0f}",
                         f"{part['newcomers_failed']} of {part['newcomers']}",
                         f"{max(quiet['disturbed'], now['disturbed']):.0f}"])
    out.append(table(head, rows))
    return "\n\n".join(out)


def hello(results: dict[str, Rows]) -> str:
    peers = list(results)
    head = ["", *(f"{peer} KiB" for peer in peers), *(f"{peer} closed after s" for peer in peers)]
    rows = []
    for name in next(iter(results.values())):
        row = [name]
        for peer in peers:
            part = results[peer].get(name, {})
            row.append(f"{part['kib']:.2f}" if part else "-")
        row += [closed(results[peer].get(name, {})) for peer in peers]
        rows.append(row)
    return table(head, rows)


def closed(part: dict[str, object]) -> str:
    if "closed" not in part:
        return ""
    if not part["closed"]:
        return "not within 7"
    span = f"{part['soonest']:.1f} to {part['latest']:.1f}"
    return span if part["closed"] == part["few"] else f"{part['closed']} of {part['few']}: {span}"


def floods(results: dict[str, Rows]) -> str:
    head = ["", "by", "frames", "then", "counted", "CPU ms", "CPU s per 100,000",
            "MiB before, peak, after", "honest failed"]
    rows = []
    names = dict.fromkeys(name for one in results.values() for name in one)
    for name in names:
        for peer, one in results.items():
            if part := one.get(name):
                each = part["per_100k"]
                rows.append([
                    name, peer, f"{part['frames']:,}",
                    "goes on" if part["goes_on"] else part["told"],
                    ", ".join(f"{cause} {count}" for cause, count in part["causes"].items()) or "-",
                    f"{part['cpu_ms']:.0f}",
                    f"{each:.3f}" if part["goes_on"] and each is not None else "-",
                    memory(part), f"{part['honest_failed']} of {part['honest']}"])
    return table(head, rows)


def never_read(results: dict[str, Rows]) -> str:
    head = ["", "", "MiB grown", "MiB before, peak, after", "honest failed"]
    rows = [[peer, name, f"{part['grown']:.1f}", memory(part),
             f"{part['honest_failed']} of {part['honest']}"]
            for peer, one in results.items() for name, part in one.items()]
    return table(head, rows)


def at_once(results: dict[str, Rows]) -> str:
    head = ["", "MB before", "peak, PSS", "peak, resident", "5 s after", "well after s",
            "memory back after s", "known visitor failed", "new failed", "new, TLS failed",
            "told 503", "told GOAWAY", "closed or refused"]
    rows = []
    for peer, one in results.items():
        told = sum((Counter(troop["told"]) for troop in one["troops"].values()), Counter())
        rows.append([
            peer, *(f"{one[when]:.0f}" for when in ("base", "peak_pss", "peak_rss", "soon")),
            *(late(one[what]) for what in ("normal", "back")),
            *(failed(one["honest"][kind]) for kind in ("known", "new", "new, TLS")),
            *(f"{told[what]:,}" for what in ("503", "GOAWAY")),
            f"{told['closed'] + told['refused']:,}"])
    out = [table(head, rows)]
    peers = list(results)
    head = ["most at once, and came in all", *peers]
    rows = [[name, *(f"{troop['most']:,} of {troop['came']:,}" for troop in
                     (results[peer]["troops"][name] for peer in peers))]
            for name in next(iter(results.values()))["troops"]]
    out.append(table(head, rows))
    return "\n\n".join(out)


def late(seconds: float | None) -> str:
    return "not within 30" if seconds is None else f"{seconds:.1f}"


def failed(asked: dict[str, int]) -> str:
    """`7 of 100 (5 × 503, 2 × none)`."""
    bad = {status: count for status, count in asked.items() if status != "200"}
    return f"{page.kinds(bad)} of {sum(asked.values())}"


def memory(part: dict[str, object]) -> str:
    return ", ".join(f"{part[when]:.1f}" for when in ("base", "peak", "after"))
