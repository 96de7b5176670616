"""Hundreds of backends in one process: many.py PORT COUNT FILE opens a port on each of so many
addresses, ends with standard input, and writes down who asked what of whom and when."""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from pathlib import Path

ILL = 7  # the number of the backend that is down all the time


def address(number: int) -> str:
    return f"127.0.{1 + number // 250}.{number % 250 + 1}"


class Many(asyncio.Protocol):
    """One connection to one of many backends; each request is noted."""

    notes: list[tuple[float, int, str]] = []
    opened: list[tuple[float, int]] = []

    def __init__(self, number: int) -> None:
        self.number = number

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport, self.buffer = transport, b""
        self.opened.append((time.time(), self.number))

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while b"\r\n\r\n" in self.buffer:
            head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
            path = head.split(b" ", 2)[1].decode()
            self.notes.append((time.time(), self.number, path))
            is_check = path == "/healthz"
            status = "503 Ill" if is_check and self.number == ILL else "200 OK"
            key = path.rpartition("=")[2] if "=" in path else "-"
            body = f"{key} {self.number}".encode()
            closes = b"connection: close" in head.lower() or is_check
            self.transport.write(
                f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\n".encode()
                + (b"connection: close\r\n" if closes else b"") + b"\r\n" + body)
            if closes:
                self.transport.close()


def main() -> None:
    """As a process: opens a port on each of so many addresses; ends with standard input and writes
    down what it saw."""
    port, count, file = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        for number in range(count):
            await loop.create_server(lambda number=number: Many(number), address(number), port,
                                     backlog=128)
        Path(file).touch()
        await loop.run_in_executor(None, sys.stdin.read)

    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    asyncio.run(serve())
    Path(file).write_text(json.dumps({"notes": Many.notes, "opened": Many.opened}))


if __name__ == "__main__":
    main()
