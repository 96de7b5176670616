#!/usr/bin/env python3
"""Python's websockets and grpcio: clients_python.py serve PORT | socket URL CA | grpc HOST:PORT CA."""

import asyncio
import queue
import ssl
import sys


async def serve(port):
    """A WebSocket server that echoes."""
    import websockets

    async def echo(socket):
        async for message in socket:
            await socket.send(message)

    async with websockets.serve(echo, "127.0.0.1", port, max_size=None):
        await asyncio.get_running_loop().create_future()


async def talk(url, certificate):
    import websockets

    tls = ssl.create_default_context(cafile=certificate) if url.startswith("wss:") else None
    async with websockets.connect(url, ssl=tls, max_size=None) as socket:
        for message in ("hello", "", b"\0\xff" * 500_000, "ä" * 100_000):
            await socket.send(message)
            assert await socket.recv() == message
        await asyncio.wait_for(await socket.ping(), 10)
        await asyncio.gather(*(socket.send(str(number)) for number in range(100)))
        assert [await socket.recv() for _ in range(100)] == [str(number) for number in range(100)]
    assert socket.close_code == 1000, socket.close_code


def call(target, certificate):
    import grpc

    with open(certificate, "rb") as file:
        channel = grpc.secure_channel(target, grpc.ssl_channel_credentials(file.read()))
    unary = channel.unary_unary("/echo.Echo/Unary")
    for number in range(50):
        assert unary(b"%d" % number, timeout=10) == b"%d" % number
    assert unary(b"x" * 1_000_000, timeout=20) == b"x" * 1_000_000
    both = channel.stream_stream("/echo.Echo/Both")

    # Each message is sent when the answer to the one before has come.
    questions = queue.SimpleQueue()
    answers = both(iter(questions.get, None), timeout=20)
    for number in range(20):
        questions.put(b"%d" % number)
        assert next(answers) == b"%d" % number
    questions.put(None)
    assert list(answers) == [] and answers.code() == grpc.StatusCode.OK
    many = both((b"%d" % number for number in range(500)), timeout=20)
    assert list(many) == [b"%d" % number for number in range(500)]
    try:
        channel.unary_unary("/echo.Echo/Fail")(b"", timeout=10)
        raise AssertionError("it did not fail")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.NOT_FOUND, error.code()
        assert error.details() == "not here", error.details()


if __name__ == "__main__":
    verb, *words = sys.argv[1:]
    if verb == "serve":
        asyncio.run(serve(int(words[0])))
    elif verb == "socket":
        asyncio.run(talk(*words))
    else:
        call(*words)
