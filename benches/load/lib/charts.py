"""Charts as SVG, drawn from text: bars in panels of their own scale, bars in groups of one scale,
and ratios about a line at 1."""

from __future__ import annotations

from dataclasses import dataclass, field
from xml.sax.saxutils import escape

INK, FAINT, RULE, PAPER = "#1f2937", "#6b7280", "#e5e7eb", "#ffffff"
COLOURS = {"ostler": "#c2410c", "nginx": "#3f8f63", "haproxy": "#4472b0", "envoy": "#8461a8",
           "caddy": "#8a8f98"}
FURTHER = ["#f59e0b", "#7c2d12", "#be185d"]  # of other builds of Ostler
FONT = "Inter, 'Helvetica Neue', Arial, 'DejaVu Sans', sans-serif"
# Text stays legible where a line of the grid runs below it.
HALO = f'stroke="{PAPER}" stroke-width="3" paint-order="stroke" stroke-linejoin="round"'
MARGIN, BAR, GAP = 28, 16, 6


def colours(names: list[str]) -> dict[str, str]:
    others = iter(FURTHER * 9)
    return {name: COLOURS.get(name) or next(others) for name in names}


def present(order: list[str], groups: list[tuple[str, dict[str, float]]]) -> dict[str, str]:
    """The colours of those that have a bar anywhere."""
    return {name: colour for name, colour in colours(order).items()
            if any(name in group for _, group in groups)}


@dataclass
class Drawing:
    """Shapes on a page as wide as asked, as high as they need."""

    width: int
    parts: list[str] = field(default_factory=list)

    def text(self, x: float, y: float, text: str, size: int = 12, colour: str = INK,
             anchor: str = "start", weight: str = "normal") -> None:
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{colour}" '
                          f'text-anchor="{anchor}" font-weight="{weight}" {HALO}>'
                          f"{escape(text)}</text>")

    def bar(self, x: float, y: float, width: float, height: float, colour: str,
            tip: str = "") -> None:
        title = f"<title>{escape(tip)}</title>" if tip else ""
        self.parts.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0.8):.1f}" '
                          f'height="{height:.1f}" rx="2" fill="{colour}">{title}</rect>')

    def line(self, x1: float, y1: float, x2: float, y2: float, colour: str = RULE,
             dashes: str = "") -> None:
        dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
        self.parts.append(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
                          f'stroke="{colour}"{dashed}/>')

    def head(self, title: str, subtitle: str, legend: dict[str, str]) -> float:
        """Title, what is shown in which unit, and who has which colour; tells where it ends."""
        self.text(MARGIN, 38, title, 19, weight="600")
        self.text(MARGIN, 59, subtitle, 12, FAINT)
        x = float(MARGIN)
        for name, colour in legend.items():
            self.bar(x, 74, 12, 12, colour)
            self.text(x + 17, 84, name)
            x += 17 + 7.2 * len(name) + 22
        return 106.0

    def page(self, height: float, title: str) -> str:
        return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {height:.0f}" '
                f'width="{self.width}" height="{height:.0f}" role="img" font-family="{FONT}">'
                f"<title>{escape(title)}</title>"
                f'<rect width="100%" height="100%" fill="{PAPER}"/>'
                + "\n".join(self.parts) + "</svg>\n")


def label(value: float) -> str:
    """Three digits, whatever the size."""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def panels(title: str, subtitle: str, unit: str, order: list[str],
           groups: list[tuple[str, dict[str, float]]], columns: int = 3) -> str:
    """A panel for each group, with a scale of its own that begins at zero."""
    hues = present(order, groups)
    drawing = Drawing(960)
    top = drawing.head(title, subtitle, hues)
    wide = (drawing.width - 2 * MARGIN - (columns - 1) * 28) / columns
    names, y = 62, top
    for at in range(0, len(groups), columns):
        row = groups[at:at + columns]
        high = 0.0
        for column, (head, values) in enumerate(row):
            x = MARGIN + column * (wide + 28)
            drawing.text(x, y + 12, head, 13, weight="600")
            most = max(values.values(), default=1.0) or 1.0
            base, room = x + names, wide - names - 50
            lines = [name for name in order if name in values]
            for number, name in enumerate(lines):
                line = y + 24 + number * (BAR + GAP)
                drawing.text(base - 7, line + 12, name, 11, FAINT, "end")
                long = room * values[name] / most
                drawing.bar(base, line, long, BAR, hues[name],
                            f"{head}, {name}: {label(values[name])} {unit}")
                drawing.text(base + long + 5, line + 12, label(values[name]), 11)
            bottom = y + 24 + len(lines) * (BAR + GAP)
            drawing.line(base, y + 20, base, bottom, FAINT)
            high = max(high, bottom - y)
        y += high + 22
    drawing.text(MARGIN, y, f"{unit}; each panel has its own scale, from zero", 11, FAINT)
    return drawing.page(y + 18, title)


def grouped(title: str, subtitle: str, unit: str, order: list[str],
            groups: list[tuple[str, dict[str, float]]], mark: float | None = None,
            marked: str = "") -> str:
    """Groups of bars on one scale; a dashed line where something is to be seen against."""
    hues = present(order, groups)
    drawing = Drawing(960)
    top = drawing.head(title, subtitle, hues)
    values = [value for _, group in groups for value in group.values()]
    most = max([*values, (mark or 0) * 1.15, 1e-9])
    apart = step(most)
    base, room = MARGIN + 168, drawing.width - 2 * MARGIN - 168 - 56
    bars = sum(len(group) for _, group in groups)
    bottom = top + 10 + bars * (BAR + 3) + len(groups) * 14
    tick = 0.0
    while tick <= most * 1.0001:
        x = base + room * tick / most
        drawing.line(x, top, x, bottom)
        drawing.text(x, bottom + 16, f"{tick:g}", 11, FAINT, "middle")
        tick += apart
    drawing.text(base + room, bottom + 34, unit, 11, FAINT, "end")
    y = top + 10
    for head, group in groups:
        lines = [name for name in order if name in group]
        middle = y + len(lines) * (BAR + 3) / 2 + 3
        drawing.text(base - 12, middle, head, 12, INK, "end")
        for name in lines:
            long = room * group[name] / most
            drawing.bar(base, y, long, BAR, hues[name],
                        f"{head}, {name}: {label(group[name])} {unit}")
            drawing.text(base + long + 6, y + 12, label(group[name]), 11)
            y += BAR + 3
        y += 14
    drawing.line(base, top, base, bottom, FAINT)
    if mark is not None:
        x = base + room * mark / most
        drawing.line(x, top - 4, x, bottom, INK, "5 4")
        drawing.text(x + 5, top - 8, marked, 11)
    return drawing.page(bottom + 50, title)


def step(most: float) -> float:
    """A round number that divides a scale into four to ten."""
    power = 1e-3
    while True:
        for factor in (1, 2, 5):
            if most / (power * factor) <= 8:
                return power * factor
        power *= 10
