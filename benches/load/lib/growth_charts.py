"""The charts and the table of what benches/load/growth measured: CPU per request over the one thing
that varies, on a logarithmic axis, with the range of the rounds about each median."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import table
from charts import COLOURS, FAINT, FURTHER, INK, MARGIN, Drawing, label, step

# What is drawn together, by the name of the SVG: title, axis, and each line's series and name.
CHARTS = {
    "connections": ("CPU per request by busy connections", "connections, all in use",
                    {"connections": "HTTP/1.1"}),
    "idle": ("CPU per request by idle connections", "idle connections beside 64 busy ones",
             {"idle": "HTTP/1.1"}),
    "routes": ("CPU per request by routes", "routes, each asked for as often",
               {"routes": "HTTP/1.1"}),
    "backends": ("CPU per request by backends", "backends of the pool",
                 {"backends": "known visitors", "backends-new": "a new session on each request"}),
    "workers": ("CPU per request by workers", "workers, on cores shared with the load",
                {"workers": "HTTP/1.1"}),
}
HUES = [COLOURS["ostler"], COLOURS["haproxy"], *FURTHER]
WIDTH, HIGH, LEFT = 640, 220, MARGIN + 34
UNIT = "µs of CPU per request"
COLUMNS = [table.Metric("cpu", "CPU µs/req"), table.Metric("p50", "p50 ms", 2),
           table.Metric("p99", "p99 ms", 2), table.Metric("memory", "MiB"), *table.WRONG]


@dataclass
class Line:
    """One line of a chart: for each value median, least and most of the rounds."""

    name: str
    points: list[tuple[int, float, float, float]] = field(default_factory=list)


def _range(results: dict[str, object], key: str) -> tuple[float, float] | None:
    found = [figures[key]["cpu"] for figures in results["rounds"]
             if key in figures and table.is_number(figures[key].get("cpu"))]
    return (min(found), max(found)) if found else None


def _line(results: dict[str, object], series: str, name: str) -> Line:
    line = Line(name)
    for value, key in results["series"].get(series, {}).get("points", []):
        if spread := _range(results, key):
            line.points.append((value, results["medians"][key]["cpu"], *spread))
    return line


def draw(results: dict[str, object]) -> dict[str, str]:
    """Each SVG by its name. All have one scale upwards, so that they may be compared."""
    charts = {name: [line for series, text in lines.items()
                     if (line := _line(results, series, text)).points]
              for name, (_, _, lines) in CHARTS.items()}
    most = max((high for lines in charts.values() for line in lines
                for *_, high in line.points), default=1.0)
    return {f"growth-{name}": _chart(results, name, lines, most)
            for name, lines in charts.items() if lines}


def _chart(results: dict[str, object], name: str, lines: list[Line], most: float) -> str:
    title, axis, _ = CHARTS[name]
    drawing = Drawing(WIDTH)
    hues = dict(zip((line.name for line in lines), HUES, strict=False))
    about = f"Medians of {_rounds(results)}; {_rate(results)}; bars: least and most."
    top = drawing.head(title, about, hues if len(lines) > 1 else {})
    if len(lines) == 1:
        top -= 26
    apart = step(most)
    scale = math.ceil(most * 1.02 / apart) * apart
    base = top + HIGH

    def up(value: float) -> float:
        return base - HIGH * value / scale

    drawing.text(MARGIN, top - 2, UNIT, 11, FAINT)
    top += 12
    base += 12
    for number in range(round(scale / apart) + 1):
        drawing.line(LEFT, up(number * apart), WIDTH - MARGIN, up(number * apart))
        drawing.text(LEFT - 7, up(number * apart) + 4, f"{number * apart:g}", 11, FAINT, "end")
    places = _places(sorted({value for line in lines for value, *_ in line.points}))
    for value, x in places.items():
        drawing.line(x, base, x, base + 4, FAINT)
        drawing.text(x, base + 18, f"{value:,}", 11, FAINT, "middle")
    drawing.line(LEFT, base, WIDTH - MARGIN, base, FAINT)
    drawing.text(WIDTH - MARGIN, base + 36, axis + ("" if 0 in places else ", logarithmic"), 11,
                 FAINT, "end")
    if 0 in places:
        drawing.text(MARGIN, base + 36, "logarithmic but for 0", 11, FAINT)
    for line in lines:
        _trace(drawing, line, hues[line.name], places, up, lines)
    return drawing.page(base + 52, title)


def _trace(drawing: Drawing, line: Line, hue: str, places: dict[int, float],
           up: Callable[[float], float], lines: list[Line]) -> None:
    path = " ".join(f"{places[value]:.1f},{up(middle):.1f}" for value, middle, *_ in line.points)
    drawing.parts.append(f'<polyline points="{path}" fill="none" stroke="{hue}" '
                         f'stroke-width="2" stroke-linejoin="round"/>')
    for value, middle, low, high in line.points:
        x, others = places[value], [other for rest in lines if rest is not line
                                    for at, other, *_ in rest.points if at == value]
        if high > low:
            drawing.line(x, up(low), x, up(high), hue)
            for end in (low, high):
                drawing.line(x - 4, up(end), x + 4, up(end), hue)
        drawing.parts.append(f'<circle cx="{x:.1f}" cy="{up(middle):.1f}" r="4" fill="{hue}">'
                             f"<title>{value:,}: {label(middle)} {UNIT}</title></circle>")
        # A figure stands above its line, below it where the other line is above.
        below = any(other > middle for other in others)
        drawing.text(x, up(low) + 18 if below else up(high) - 9, label(middle), 11, INK, "middle")


def _places(values: list[int]) -> dict[int, float]:
    """Where each value stands; zero, which has no logarithm, a decade before the next."""
    room = WIDTH - MARGIN - 36 - (LEFT + 30)
    logs = {value: math.log10(value) for value in values if value > 0}
    if 0 in values:
        logs[0] = min(logs.values(), default=1.0) - 1
    low, span = min(logs.values()), max(logs.values()) - min(logs.values())
    return {value: LEFT + 30 + (room * (log - low) / span if span else room / 2)
            for value, log in logs.items()}


def _rounds(results: dict[str, object]) -> str:
    number = sum(bool(figures) for figures in results["rounds"])
    return "one round" if number == 1 else f"{number} interleaved rounds"


def _rate(results: dict[str, object]) -> str:
    return f"{results['options']['rate']:,.0f} requests a second"


def _rows(results: dict[str, object], name: str) -> list[list[str]]:
    """A row for each value: medians, how far rounds were apart, the ratio to the first value."""
    out, first = [], None
    for value, key in results["series"][name]["points"]:
        figures, spread = results["medians"].get(key, {}), _range(results, key)
        row = [f"{value:,}", *(table.number(figures.get(metric.key), metric.digits)
                               for metric in COLUMNS)]
        cpu = figures.get("cpu")
        first = cpu if first is None else first
        ratio = f"×{cpu / first:.2f}" if table.is_number(cpu) and first else "-"
        low, high = spread or (math.nan, math.nan)
        row[2:2] = [f"{low:,.1f}–{high:,.1f}" if spread else "-", ratio]
        out.append(row)
    return out


HEAD = [COLUMNS[0].title, "least–most", "ratio", *(metric.title for metric in COLUMNS[1:])]


def _notes(results: dict[str, object]) -> list[str]:
    out = [f"{key}: {note}" for key, note in results["notes"].items()]
    wanted = results["options"]["rate"]
    for key, figures in results["medians"].items():
        rate = figures.get("rate")
        if table.is_number(rate) and rate < 0.97 * wanted:
            out.append(f"{key}: reached {rate:,.0f} of {wanted:,.0f} requests a second")
    shares = [figures.get("disturbed", 0) for figures in results["medians"].values()]
    if disturbed := [share for share in shares if share > 10]:
        out.append(f"others took up to {max(disturbed):.0f} % of Ostler's core, "
                   f"and more than 10 % in {len(disturbed)} of {len(shares)} settings")
    return out


def _about(results: dict[str, object]) -> str:
    facts, options = results["facts"], results["options"]
    return (f"{facts['date']}; {facts['cpu']}, {facts['cores']} cores, Linux {facts['kernel']}; "
            f"ostler {facts['version']}; {facts['oha']}. {_rate(results)}, {_rounds(results)}, "
            f"windows of {options['seconds']:g} s.")


def text(results: dict[str, object]) -> str:
    out = [_about(results)]
    for name, series in results["series"].items():
        rows = [[series["axis"].split(",")[0].split(";")[0], *HEAD], *_rows(results, name)]
        out.append(f"{series['title']} ({series['axis']})\n{table.text(rows)}")
    if notes := _notes(results):
        out.append("\n".join(notes))
    return "\n\n".join(out)


def tables(results: dict[str, object]) -> dict[str, str]:
    """What stands between the marks called `growth`: one table of all series."""
    rows = [["what varies", "", *HEAD]]
    for name, series in results["series"].items():
        for number, row in enumerate(_rows(results, name)):
            rows.append([series["title"] if number == 0 else "", *row])
    notes = "".join(f"\n- {note}" for note in _notes(results))
    return {"growth": f"{_about(results)}\n\n{table.markdown(rows)}"
                      + (f"\n{notes}" if notes else "")}
