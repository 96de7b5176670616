"""The little language of the templates in benches/*/peers: `{{name}}` is a value, and the lines
`%for x in list`, `%if name`, `%else` and `%end` do what they say. A dotted name looks inside."""

from __future__ import annotations

import re
from pathlib import Path

from machine import Trouble

# Where templates are looked for, one folder after the other; whoever has others puts theirs first.
PEERS = [Path(__file__).resolve().parent.parent / "peers"]
_VALUE = re.compile(r"\{\{([a-z_.]+)\}\}")
_LOOP = re.compile(r"%for (\w+) in ([\w.]+)")


def fill(name: str, values: dict[str, object]) -> str:
    """The text of peers/NAME.template with these values."""
    files = (folder / f"{name}.template" for folder in PEERS)
    lines = next(file for file in files if file.exists()).read_text().splitlines()
    out: list[str] = []
    _block(lines, 0, values, out, name)
    return "\n".join(out) + "\n"


def _look(values: dict[str, object], path: str, name: str) -> object:
    found: object = values
    for part in path.split("."):
        if not isinstance(found, dict) or part not in found:
            raise Trouble(f"peers/{name}.template: nothing is called {path}")
        found = found[part]
    return found


def _block(lines: list[str], at: int, values: dict[str, object], out: list[str] | None,
           name: str) -> int:
    """Writes lines to the end of a block, and tells where that is; without `out` it only looks
    for the end."""
    while at < len(lines):
        line = lines[at]
        if line in ("%end", "%else"):
            return at
        if line.startswith("%if "):
            true = out is not None and bool(_look(values, line[4:], name))
            at = _block(lines, at + 1, values, out if true else None, name)
            if lines[at] == "%else":
                other = out if out is not None and not true else None
                at = _block(lines, at + 1, values, other, name)
        elif loop := _LOOP.fullmatch(line):
            items = _look(values, loop[2], name) if out is not None else []
            end = _block(lines, at + 1, values, None, name)
            for item in items:
                _block(lines, at + 1, {**values, loop[1]: item}, out, name)
            at = end
        elif out is not None:
            out.append(_VALUE.sub(lambda match: str(_look(values, match[1], name)), line))
        at += 1
    return at
