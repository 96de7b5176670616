#!/usr/bin/env python3
"""Sends raw requests through Ostler and compares what a backend saw with what the log says.

differential.py NAME PORT RECORDS LOG: NAME is the backend behind 127.0.0.1:PORT, RECORDS the file
in which it notes each request as tab-separated id, status, host, request line and SHA-1 of the
body, and LOG Ostler's access log. Prints what was compared in a line, or what differs, and fails.
"""

import hashlib
import json
import re
import socket
import string
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from differential_cases import everything

CLIENTS = 12


def numbered(number):
    """The number of a case in two characters."""
    digits = string.digits + string.ascii_lowercase
    return (digits[number // 36] + digits[number % 36]).encode()


def exchange(port, number, case):
    """Sends a case on a connection of its own: statuses, whether it ended, and our address."""
    data = case.data.replace(b"@@", numbered(number))
    # An address of its own for each: the log knows a case by its peer, and ports come again.
    own = (f"127.1.{number // 250}.{number % 250 + 1}", 0)
    wire = socket.create_connection(("127.0.0.1", port), timeout=15, source_address=own)
    wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    received = b""
    try:
        at = 0
        for cut in (*case.cuts, len(data)):
            wire.sendall(data[at:cut])
            at = cut
            if case.cuts:
                time.sleep(0.01)
        if case.ends:
            wire.shutdown(socket.SHUT_WR)
    except OSError:
        pass
    ended = True
    try:
        while part := wire.recv(65536):
            received += part
    except TimeoutError:
        ended = False
    except OSError:
        pass
    peer = "%s:%d" % wire.getsockname()
    wire.close()
    return answers(received, case), ended, peer


def answers(received, case):
    """The final statuses in what was received, in order; ValueError where it is no HTTP."""
    methods = [method for method, _, _ in case.expect or []]
    found = []
    while received:
        head, end, rest = received.partition(b"\r\n\r\n")
        line, *fields = head.split(b"\r\n")
        match = re.fullmatch(rb"HTTP/1\.[01] (\d{3})(?: .*)?", line)
        if not match or not end:
            raise ValueError(f"no answer: {received[:200]}")
        status = int(match[1])
        if status < 200:
            received = rest
            continue
        method = methods[len(found)] if len(found) < len(methods) else b"GET"
        found.append(status)
        fields = {
            name.lower(): value.strip()
            for name, _, value in (field.partition(b":") for field in fields)
        }
        if method == b"HEAD" or status in (204, 304):
            received = rest
        elif b"transfer-encoding" in fields:
            while True:
                size, _, rest = rest.partition(b"\r\n")
                size = int(size, 16)
                rest = rest[size + 2 :]
                if size == 0:
                    break
            received = rest
        elif b"content-length" in fields:
            received = rest[int(fields[b"content-length"]) :]
        else:
            received = b""
    return found


def logged(path, listener):
    with open(path, encoding="utf-8") as file:
        lines = [json.loads(line) for line in file if line.endswith("\n")]
    return [line for line in lines if line["listener"] == listener]


def settled(count):
    """Waits until a count stands still for a second."""
    last, since = None, time.monotonic()
    until = since + 60
    while time.monotonic() < until:
        now = count()
        if now != last:
            last, since = now, time.monotonic()
        elif time.monotonic() - since > 1:
            return
        time.sleep(0.1)


def records(name, path):
    """What the backend saw: (id, status, host, request line, hash; `-` where it read no body)."""
    with open(path, "rb") as file:
        lines = [line for line in file if line.endswith(b"\n")]
    return [of_nginx(line) if line.startswith(b"{") else of_others(name, line) for line in lines]


def of_nginx(line):
    seen = json.loads(line.decode("latin-1"), strict=False)
    body = hashlib.sha1(seen["body"].encode("latin-1")).hexdigest()
    taken = seen["status"] < 400
    return (
        seen["id"],
        seen["status"],
        seen["host"].encode("latin-1"),
        seen["line"].encode("latin-1"),
        body if taken else "-",
    )


def of_others(name, line):
    # Apache writes what is not printable as \xhh, and a backslash before quotes and backslashes.
    def unescape(text):
        return re.sub(
            rb"\\(x[0-9a-fA-F]{2}|.)",
            lambda it: bytes([int(it[1][1:], 16)]) if len(it[1]) == 3 else it[1],
            text,
        )

    key, status, host, first, body = line.rstrip(b"\n").split(b"\t")
    first = unescape(first) if name == "apache" else first
    return key.decode(), int(status), host, first, body.decode()


def target_of(entry):
    query = entry["query"]
    return (entry["path"] + ("" if query is None else "?" + query)).encode("latin-1")


def unnamed(line, forwarded, named):
    """The id of a request of which the backend read the first line, and refused it for that."""
    method, target, _ = line.split(b" ")
    alike = (
        key
        for key, entry in forwarded.items()
        if key not in named and (entry["method"].encode(), target_of(entry)) == (method, target)
    )
    return next(alike, "-")


def main():
    name, port, record_file, log_file = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
    cases = everything()
    wrong = []
    with ThreadPoolExecutor(CLIENTS) as pool:
        tasks = [pool.submit(exchange, port, number, case) for number, case in enumerate(cases)]
        results = []
        for case, task in zip(cases, tasks):
            try:
                results.append(task.result())
            except ValueError as error:
                wrong.append(f"{case.name}: {error}")
                results.append(([], True, ""))
    settled(lambda: (len(logged(log_file, name)), len(records(name, record_file))))
    log, seen = logged(log_file, name), records(name, record_file)

    # What was answered is what was logged; 499 is in the log only.
    by_peer = {}
    for line in sorted(log, key=lambda line: line["time"]):
        if line["status"] not in (0, 499):
            by_peer.setdefault(line["peer"], []).append(line["status"])
    for case, (found, _, peer) in zip(cases, results):
        noted = by_peer.pop(peer, [])
        if sorted(noted) != sorted(status for status in found if status != 499):
            wrong.append(f"{case.name}: answered {found}, logged {noted}")
    if by_peer:
        wrong.append(f"logged from nowhere: {by_peer}")

    # Each request at the backend is one that was logged, as it was logged, once; and the other way.
    forwarded = {line["request_id"]: line for line in log if line["pool"] and line["attempts"] > 0}
    order = {line["request_id"]: place for place, line in enumerate(log)}
    whole = {key for key, line in forwarded.items() if line["reason"] in ("none", "backend_status")}
    seen = [
        (key or unnamed(line, forwarded, {one[0] for one in seen}), *rest)
        for key, *rest in seen
        for line in [rest[2]]
    ]
    times = Counter(key for key, *_ in seen)
    for key, status, host, line, _ in seen:
        entry = forwarded.get(key)
        if entry is None:
            wrong.append(f"the backend saw what is not in the log: {line}")
            continue
        method, target, version = line.split(b" ")
        path = target_of(entry)
        same = (
            method == entry["method"].encode()
            and target == path
            and version == b"HTTP/1.1"
            and host in ((entry["host"] or "").encode("latin-1"), b"", b"-")
        )
        if not same or times[key] != entry["attempts"]:
            wrong.append(
                f"logged {entry['method']} {path[:60]} {entry['host']} {entry['attempts']} times, "
                f"seen {line[:80]} {host} {times[key]} times"
            )
    for key in whole - set(times):
        wrong.append(f"logged and not at the backend: {forwarded[key]}")

    # What must arrive has arrived in order and byte for byte, and nothing else.
    at_backend, compared, unread = {}, 0, 0
    for key, status, _, line, body in seen:
        method, target, _ = line.split(b" ")
        number = target[-2:] if target.startswith(b"//a/") else target.lstrip(b"/")[:2]
        at_backend.setdefault(number, []).append(
            (order.get(key, -1), method, target, status, body, key)
        )
    for number, case in enumerate(cases):
        found, ended, _ = results[number]
        got = sorted(at_backend.pop(numbered(number), []))
        complete = [one for one in got if one[5] in whole]
        if not ended:
            wrong.append(f"{case.name}: the connection was left open after {found}")
        if case.expect is None:
            continue
        expected = [
            (method, target.replace(b"@@", numbered(number)), body)
            for method, target, body in case.expect
        ]
        if expected and expected[0][1] == b"*":
            continue
        if [one[1:3] for one in complete] != [one[:2] for one in expected]:
            wrong.append(
                f"{case.name}: {[one[1:3] for one in complete]} arrived, "
                f"not {[one[:2] for one in expected]}; "
                f"answers {found}"
            )
            continue
        for (_, _, _, status, hashed, _), (_, _, body) in zip(complete, expected):
            body = body.replace(b"@@", numbered(number))
            if not hashed or hashed == "-":
                # The backend refused it itself, and read no body.
                unread += 1
            elif hashed != hashlib.sha1(body).hexdigest():
                wrong.append(f"{case.name}: the body arrived otherwise")
            else:
                compared += 1
        if not expected and not case.ends and (len(found) != 1 or not 400 <= found[0] < 506):
            wrong.append(f"{case.name}: answered {found}")
        if len(found) < len(expected):
            wrong.append(f"{case.name}: answered {found} for {len(expected)} requests")
    asterisks = at_backend.pop(b"*", [])
    if at_backend or any(target != b"*" for _, _, target, *_ in asterisks):
        wrong.append(f"the backend saw what nobody sent: {at_backend} {asterisks}")

    for line in wrong[:40]:
        print(line, file=sys.stderr)
    if wrong:
        sys.exit(f"{name}: {len(wrong)} of {len(cases)} cases went wrong")
    print(
        f"{len(cases)} raw connections to {name}: {len(log)} requests logged, {len(seen)} of them "
        f"seen by the backend as logged; {compared} bodies equal, {unread} not read by it"
    )


if __name__ == "__main__":
    main()
