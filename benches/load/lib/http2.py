"""Just enough of HTTP/2 to write its frames by hand (RFC 9113 §4 and §6)."""

from __future__ import annotations

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS = range(5)
PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(6, 10)
END_STREAM = ACK = 1
END_HEADERS = 4


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return (len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big")
            + payload)


def block(path: str, host: str = "localhost", method: int = 0x82) -> bytes:
    """HPACK (RFC 7541): a GET, or with 0x83 a POST, over https; path and authority are literals
    that are not indexed."""
    return (bytes([method]) + b"\x87\x04" + bytes([len(path)]) + path.encode()
            + b"\x01" + bytes([len(host)]) + host.encode())
