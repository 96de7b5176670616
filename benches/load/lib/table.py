"""Medians over rounds, ratios to the best peer, and tables as text and Markdown."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass

Figures = dict[str, object]
COUNTED = ("errors", "other", "cut")  # these are summed, not averaged


@dataclass(frozen=True)
class Metric:
    key: str
    title: str
    digits: int = 1
    better: str | None = "low"  # what is best among the peers; None: not compared


LOADED = [
    Metric("cpu_fixed", "CPU µs/req"), Metric("cpu_full", "saturated µs/req"),
    Metric("peak", "peak req/s", 0, "high"), Metric("core_full", "core % at peak", 0, None),
    Metric("p50", "p50 ms", 2), Metric("p99", "p99 ms", 2), Metric("memory", "MiB", 1),
]
SLOW = [Metric("added", "MiB added", 1), Metric("memory", "MiB before", 1),
        Metric("honest", "honest requests", 0, None),
        Metric("honest_p50", "their p50 ms", 2, None),
        Metric("honest_slowest", "slowest ms", 1, None),
        Metric("trickled", "MiB trickled", 1, None)]
IDLE = [Metric("idle-h1", "plain h1 KiB"), Metric("idle-tls-h1", "TLS h1 KiB"),
        Metric("idle-tls-h2", "TLS h2 KiB"), Metric("connections", "connections", 0, None)]
RELOADED = [Metric("reload", "reload ms", 0), Metric("memory", "MiB before"),
            Metric("memory_peak", "peak MiB"), Metric("p99", "p99 ms", 2),
            Metric("p99_reload", "with a reload", 2), Metric("p99_added", "added ms", 2, None),
            Metric("worst", "slowest ms", 1), Metric("cpu_fixed", "CPU µs/req")]
HANDSHAKES = [*LOADED, Metric("resumed", "resumed %", 0, None)]
METRICS = {"handshake": HANDSHAKES, "slow-readers": SLOW, "idle": IDLE, "reload": RELOADED}
WRONG = [Metric("errors", "errors", 0, None), Metric("other", "not 2xx", 0, None)]


def metrics(scenario: str) -> list[Metric]:
    return METRICS.get(scenario, LOADED)


def medians(rounds: list[dict[str, Figures]]) -> dict[str, Figures]:
    """For each peer the median of each figure; what went wrong is summed."""
    found: dict[str, Figures] = {}
    for name in dict.fromkeys(name for figures in rounds for name in figures):
        mine = [figures[name] for figures in rounds if name in figures]
        out: Figures = {"rounds": len(mine)}
        for key in dict.fromkeys(key for figures in mine for key in figures):
            values = [figures[key] for figures in mine if is_number(figures.get(key))]
            if values:
                out[key] = sum(values) if key in COUNTED else statistics.median(values)
        found[name] = out
    return found


def is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def best(figures: dict[str, Figures], rivals: Iterable[str], metric: Metric) -> tuple[str, float]:
    """The best of the peers in a metric, and its figure; ("", nan) where none has one."""
    have = [(figures[name][metric.key], name) for name in rivals
            if name in figures and is_number(figures[name].get(metric.key))]
    if not have or metric.better is None:
        return "", math.nan
    value, name = max(have) if metric.better == "high" else min(have)
    return name, value


def ratios(scenario: str, figures: dict[str, Figures], rivals: list[str],
           names: list[str]) -> dict[str, dict[str, object]]:
    """Each of the named ones by the best peer, for every metric that is compared."""
    found: dict[str, dict[str, object]] = {}
    for metric in metrics(scenario):
        rival, value = best(figures, rivals, metric)
        for name in names:
            mine = figures.get(name, {}).get(metric.key)
            if rival and value > 0 and is_number(mine):
                entry = found.setdefault(name, {})
                entry[metric.key] = {"ratio": mine / value, "best": rival}
    return found


def number(value: object, digits: int) -> str:
    return f"{value:,.{digits}f}" if is_number(value) else "-"


def rows(scenario: dict[str, object], name: str, order: list[str],
         rivals: list[str]) -> list[list[str]]:
    """A table of one scenario: a row for each peer, a ratio beside what is compared."""
    figures = scenario["medians"]
    out = [["peer", *(metric.title for metric in [*metrics(name), *WRONG])]]
    for peer in order:
        row = [peer]
        for metric in [*metrics(name), *WRONG]:
            value = figures.get(peer, {}).get(metric.key)
            text = number(value, metric.digits)
            _, top = best(figures, rivals, metric)
            if is_number(value) and is_number(top) and top > 0:
                text += f" ×{value / top:.2f}"
            row.append(text)
        out.append(row)
    return out


def summary(results: dict[str, object]) -> list[list[str]]:
    """Ostler by the best peer in each scenario."""
    keys = [LOADED[0], LOADED[1], LOADED[2], LOADED[5], LOADED[6]]
    out = [["scenario", "build", *(metric.title for metric in keys), "best in CPU"]]
    for name, scenario in results["scenarios"].items():
        for build, entry in scenario.get("ratios", {}).items():
            if metrics(name)[:len(LOADED)] != LOADED:
                continue
            row = [name, build]
            row += [f"{entry[metric.key]['ratio']:.2f}" if metric.key in entry else "-"
                    for metric in keys]
            row.append(entry.get("cpu_fixed", {}).get("best", "-"))
            out.append(row)
    return out


def text(table: list[list[str]]) -> str:
    widths = [max(len(row[at]) for row in table) for at in range(len(table[0]))]
    return "\n".join("  ".join(cell.ljust(width) if at == 0 else cell.rjust(width)
                               for at, (cell, width) in enumerate(zip(row, widths, strict=True)))
                     .rstrip() for row in table)


def markdown(table: list[list[str]]) -> str:
    head, *body = ["| " + " | ".join(row) + " |" for row in table]
    rule = "|---" + "|---:" * (len(table[0]) - 1) + "|"
    return "\n".join([head, rule, *body])


def heading(name: str, scenario: dict[str, object]) -> str:
    rate = scenario.get("rate")
    at = f", fixed rate {rate:,.0f}/s" if rate else ""
    return f"{name}: {scenario['title']}{at}, rounds: {len(scenario['rounds'])}"


def notes(scenario: dict[str, object]) -> list[str]:
    """What a reader has to know beside the figures."""
    out = [f"{peer}: {note}" for peer, note in scenario.get("notes", {}).items()]
    for peer, figures in scenario["medians"].items():
        rate, wanted = figures.get("rate"), scenario.get("rate")
        if is_number(rate) and wanted and rate < 0.97 * wanted:
            out.append(f"{peer}: reached {rate:,.0f} of {wanted:,.0f} requests a second")
        if figures.get("cut"):
            out.append(f"{peer}: {figures['cut']:.0f} streams were under way when oha ended")
        if figures.get("disturbed", 0) > 10:
            out.append(f"{peer}: others took {figures['disturbed']:.0f} % of the proxy's core")
    return out
