"""Tables of Markdown, which read well on a terminal too, and the pages that have them."""

from __future__ import annotations

import re
from pathlib import Path


def table(head: list[str], rows: list[list[str]]) -> str:
    every = [head, *rows]
    widths = [max(len(row[at]) for row in every) for at in range(len(head))]
    lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
             + " |" for row in every]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def kinds(failed: dict[str, int]) -> str:
    """`7 (5 × 502, 2 × closed)`, or `0`."""
    if not failed:
        return "0"
    parts = ", ".join(f"{count} × {why}" for why, count in
                      sorted(failed.items(), key=lambda pair: -pair[1]))
    return f"{sum(failed.values())} ({parts})"


def facts(results: dict[str, dict]) -> str:
    """The machine and the versions, in a line."""
    machine, versions = results["facts"], results["versions"]
    names = ", ".join(f"{kind} {version}" for kind, version in versions.items())
    return (f"{machine['date']}; {machine['cpu']}, {machine['cores']} cores, "
            f"{machine['memory_mib']:,} MiB, Linux {machine['kernel']}; {names}.")


def fill(page: Path, results: dict[str, object], parts: dict[str, str]) -> None:
    """Puts these parts, and the facts, between the marks `<!-- begin:NAME -->` and
    `<!-- end:NAME -->`."""
    text = page.read_text()
    for name, part in {**parts, "facts": facts(results) + "\n"}.items():
        text = re.sub(rf"(<!-- begin:{name} -->\n).*?(<!-- end:{name} -->)",
                      lambda match, part=part: match[1] + part + match[2], text, flags=re.S)
    page.write_text(text)
