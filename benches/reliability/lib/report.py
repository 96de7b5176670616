"""The figures as tables of Markdown, which read well on a terminal too."""

from __future__ import annotations

from pathlib import Path

import page
from page import kinds, table


def text(name: str, results: dict[str, dict]) -> str:
    if not results:
        return f"{name}: nothing was run"
    return {"script": script, "idle-close": idle_close, "half-failing": half_failing,
            "slots": slots, "checks": checks}[name](results) + "\n"


def script(results: dict[str, dict]) -> str:
    out = []
    head = ["", "GET failed", "around kill -9", "around STOP", "around restart", "POST failed",
            "seen twice", "others %"]
    rows = []
    for kind, one in results.items():
        around, posts = one["around"], one["POST"]
        rows.append([
            kind, f"{kinds(one['GET']['failed'])} of {one['GET']['requests']:,}",
            *(kinds(around[fault]["failed"]) for fault in ("kill", "stop", "restart")),
            f"{kinds(posts['failed'])} of {posts['requests']:,}", str(posts["twice"]),
            f"{one['others']:.0f}"])
    out.append(table(head, rows))
    head = ["GET, ms", "usual p50", "usual p99", "usual worst", "worst at kill -9",
            "worst at STOP", "worst at restart", "kills unnoticed", "p99 at kill -9", "over 200 ms at STOP",
            "client late by at most"]
    rows = []
    for kind, one in results.items():
        around, usual = one["around"], one["usual"]
        rows.append([kind, *(f"{usual[key]:.1f}" for key in ("p50", "p99")),
                     *(f"{part['worst']:,.0f} ({part['clear']:,.0f})" for part in
                       (usual, around["kill"], around["stop"], around["restart"])),
                     "{} of {}".format(*one["unnoticed"]["kill"]), f"{around['kill']['p99']:,.1f}", f"{around['stop']['held_up']:,}",
                     f"{one['client_late_ms']:.0f}"])
    out.append(table(head, rows))
    head = ["POSTs that failed", "executing when killed", "executing when stopped",
            "done, answer lost", "begun elsewhere", "never read by a backend"]
    rows = [[kind, *(str(one["POST"]["where"].get(key, 0))
                     for key in ("killed", "stopped", "done", "begun", "unread"))]
            for kind, one in results.items()]
    out.append(table(head, rows))
    return "\n\n".join(out)


def idle_close(results: dict[str, dict]) -> str:
    head = ["", "closes", "GET failed", "GET at the backend", "POST failed", "POST at the backend",
            "seen twice", "others %"]
    rows = []
    for kind, one in results.items():
        for when, figures in one.items():
            get, post = figures["GET"], figures["POST"]
            rows.append([kind, when, kinds(get["failed"]), f"{get['seen_by_backend']:,}",
                         kinds(post["failed"]), f"{post['seen_by_backend']:,}",
                         str(post["twice"]), f"{figures['others']:.0f}"])
    return table(head, rows)


def half_failing(results: dict[str, dict]) -> str:
    head = ["", "failing", "requests", "at the backends", "amplification", "errors seen",
            "errors %", "fewer by %", "to the sick %", "others %"]
    rows = []
    for kind, one in results.items():
        for what, figures in one.items():
            rows.append([kind, what, f"{figures['requests']:,}", f"{figures['at_backends']:,}",
                         f"{figures['amplification']:.3f}", kinds(figures["kinds"]),
                         f"{100 * figures['error_share']:.2f}", str(round(100 * figures["fall"])),
                         f"{100 * figures['to_sick']:.0f}", f"{figures['others']:.0f}"])
    return table(head, rows)


def slots(results: dict[str, dict]) -> str:
    head = ["", "limit", "served/s", "most at once", "most waiting", "wait p50 ms",
            "wait worst ms", "refused", "refused after ms, worst", "MiB from, to", "others %"]
    rows = []
    for kind, one in results.items():
        for what, figures in one.items():
            rows.append([kind, what, f"{figures['served']:.1f}", str(figures["most_at_once"]),
                         str(figures["waiting_worst"]), f"{figures['wait_p50']:.0f}",
                         f"{figures['wait_worst']:.0f}", kinds(figures["failed"]),
                         f"{figures['refused_after_worst']:.0f}",
                         ", ".join(f"{mib:.1f}" for mib in figures["memory"]),
                         f"{figures['others']:.0f}"])
    return table(head, rows)


def checks(results: dict[str, dict]) -> str:
    head = ["", "when", "checks per backend and interval", "least", "most",
            "connections per check", "per 100 ms: mean", "deviation", "worst"]
    rows = []
    for kind, one in results.items():
        for when in ("calm", "reloading", "after", "checks changed"):
            part = one[when]
            rows.append([kind, when, f"{part['checks_per_backend_and_interval']:.2f}",
                         f"{part['least']:.2f}", f"{part['most']:.2f}",
                         f"{part['connections_per_check']:.2f}", f"{part['per_100ms_mean']:.1f}",
                         f"{part['per_100ms_deviation']:.1f}", str(part["per_100ms_worst"])])
    out = [table(head, rows)]
    head = ["", "reloads", "in seconds", "requests to the one that is down", "requests", "failed",
            "others %"]
    rows = [[kind, str(one["reloads"]), f"{one['reloads_took']:.0f}", str(one["to_ill"]),
             f"{one['requests']:,}", kinds(one["failed"]), f"{one['others']:.0f}"]
            for kind, one in results.items()]
    out.append(table(head, rows))
    return "\n\n".join(out)


def fill(file: Path, results: dict[str, dict]) -> None:
    """Puts the tables of what was run into a page."""
    page.fill(file, results, {name: text(name, figures)
                              for name, figures in results["scenarios"].items()})
