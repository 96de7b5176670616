"""Raw requests for the differential run: what each is, and what of it may reach a backend.

A case is bytes for one connection. `@@` in them stands for the case's own number (two characters,
so that no length changes), by which every request can be told at the backend and in the log.
`expect` is the list of (method, target, body) that must arrive, in order; empty where everything
must be refused; None where both is right, and only backend and log must agree.
"""

import random
from dataclasses import dataclass, field

CRLF = b"\r\n"


@dataclass
class Case:
    name: str
    data: bytes
    expect: list | None
    # Where the bytes are cut into several writes.
    cuts: tuple = ()
    # Whether the client ends its half when it has written.
    ends: bool = False


def head(line, *fields, host=b"Host: a", close=True):
    lines = [line] + ([host] if host else []) + list(fields)
    return CRLF.join(lines + ([b"Connection: close"] if close else [])) + CRLF + CRLF


def get(*fields, target=b"/@@", version=b"HTTP/1.1", method=b"GET", **more):
    return head(b" ".join((method, target, version)), *fields, **more)


def post(*fields, body=b"", method=b"POST", **more):
    return get(*fields, method=method, **more) + body


def sized(body, **more):
    return post(b"Content-Length: %d" % len(body), body=body, **more)


def chunks(*parts, extension=b"", trailers=b""):
    sent = b"".join(b"%x%s\r\n%s\r\n" % (len(part), extension, part) for part in parts)
    return sent + b"0\r\n" + trailers + CRLF


CHUNKED = b"Transfer-Encoding: chunked"
NEXT = get(target=b"/@@/smuggled")


def hosts():
    for value in (b"a", b"A.Example", b"a.", b"a:80", b"a:8080", b"[::1]", b"[::1]:80", b"127.0.0.1",
                  b"xn--bcher-kva.example", b" a ", b"a-b.c"):
        yield Case(f"host {value}", get(host=b"Host:" + value), [(b"GET", b"/@@", b"")])
    for value in (b"a b", b"a/b", b"a/..@evil", b"user@a", b"user:pass@a", b"a:80:80", b"a:x", b"a:-1",
                  b"a:65536", b"a:+80", b"[::1", b"::1]", b"[::1]x", b"[::1]:", b"a,b", b"a\\b", b"a?b",
                  b"a#b", b"a\tb", b"http://a", b"a:80 ", b"[]", b"[x]", b"a%00b", b"a;b"):
        refused = value not in (b"[::1]:", b"a:80 ")
        yield Case(f"host {value}", get(host=b"Host: " + value) + NEXT, [] if refused else None)
    for value in (b"", b"a_b", b"a..b", b"-a", b"1.2.3.4.5", b"a%41", b"a:", b"a!b", b"\xe4", b"a*b"):
        yield Case(f"host {value}", get(host=b"Host: " + value), None)
    for name, lines in (
        ("no host", (None,)), ("two hosts", (b"Host: a", b"Host: b")),
        ("two equal hosts", (b"Host: a", b"Host: a")), ("hosts of two cases", (b"Host: a", b"hOST: a")),
        ("host folded", (b"Host:\r\n a",)), ("a space before the colon", (b"Host : a",)),
        ("a host and a list", (b"Host: a, a",)),
    ):
        yield Case(name, get(*lines[1:], host=lines[0]) + NEXT, [])


def targets():
    for path in (b"/@@/", b"/@@//x", b"/@@/%2F", b"/@@/%2f", b"/@@/a%20b", b"/@@/;p=1", b"/@@/a;p/b",
                 b"/@@/./x", b"/@@/x/../y", b"/@@/%2e/x", b"/@@/x/%2E%2e/y", b"/@@/%41", b"/@@/%7euser",
                 b"/@@?", b"/@@?a=b", b"/@@?a=b&c=%20", b"/@@?a?b", b"/@@?/../x", b"/@@/a:b@c",
                 b"/@@/!$&'()*+,=~-._", b"/@@/%25", b"/@@/%252e%252e", b"/@@/%C3%A4", b"/@@/%5c",
                 b"//@@/x", b"/@@/..x", b"/@@/x..", b"/@@/...", b"/@@/.x",
                 b"/@@/" + b"x" * 1000, b"/@@/" + b"y" * 8000, b"/@@?" + b"z" * 16000):
        yield Case(f"target {path[:40]}", get(target=path), [(b"GET", path, b"")])
    for path in (b"/@@#x", b"/@@?a#x", b"/@@/%", b"/@@/%1", b"/@@/%zz", b"/@@/%00", b"/../@@",
                 b"/@@/../../x", b"/%2e%2e/@@", b"/@@ x", b"/@@\tx", b"/@@\x7f", b"/@@\x80", b"/@@\xc3\xa4",
                 b"@@", b"", b"/@@\x00", b"/@@\x01", b"*", b"a:80", b"@@/x", b"?@@",
                 b"/@@/" + b"x" * 70000):
        yield Case(f"target {path[:40]}", get(target=path) + NEXT, [])
    for path in (b"/@@\"", b"/@@<", b"/@@>", b"/@@\\x", b"/@@^", b"/@@`", b"/@@{x}", b"/@@|", b"/@@?\"",
                 b"/@@?%", b"/@@?%00", b"/@@?<>", b"/@@?{}", b"/@@?\\", b"/@@[x]", b"/@@'"):
        yield Case(f"target {path[:40]}", get(target=path), None)
    for target, arrives in (
        (b"http://a/@@", b"/@@"), (b"http://a/@@?x", b"/@@?x"), (b"HTTP://a/@@", b"/@@"),
        (b"https://a/@@", b"/@@"), (b"http://A/@@", b"/@@"),
        (b"http://b/@@", None), (b"http://a:80/@@", None), (b"ftp://a/@@", None),
        (b"http://user@a/@@", None), (b"http:///@@", None), (b"http:/@@", None), (b"a:80/@@", None),
        (b"//a/@@", b"//a/@@"), (b"http://a/@@#x", None), (b"http://[::1/@@", None),
        (b"ws://a/@@", None), (b"http://a/@@/../../x", None),
    ):
        expect = [(b"GET", arrives, b"")] if arrives else []
        yield Case(f"absolute {target}", get(target=target) + (b"" if arrives else NEXT), expect)
    yield Case("absolute without host", get(target=b"http://a/@@", host=None) + NEXT, [])
    yield Case("OPTIONS *", get(target=b"*", method=b"OPTIONS"), [(b"OPTIONS", b"*", b"")])
    for method in (b"GET", b"POST", b"HEAD", b"PUT", b"DELETE", b"PURGE"):
        yield Case(f"{method} *", get(target=b"*", method=method) + NEXT, [])
        yield Case(f"{method} authority", get(target=b"a:80", method=method) + NEXT, [])


def lines():
    for method in (b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"PURGE", b"PROPFIND",
                   b"MKCOL", b"REPORT", b"M-SEARCH", b"LOCK", b"COPY", b"SEARCH"):
        yield Case(f"method {method}", get(method=method), [(method, b"/@@", b"")])
    for method in (b"get", b"Get", b"FOO", b"FOO-BAR", b"X" * 60, b"G.T", b"!#$%&'*+-.^_`|~"):
        yield Case(f"method {method}", get(method=method), None)
    for method in (b"TRACE", b"CONNECT", b"GE(T", b"G\x00T", b"G\tT", b"", b"\xe4", b"G:", b"G/T", b"G\"T"):
        yield Case(f"method {method}", get(method=method) + NEXT, [])
    for version in (b"HTTP/0.9", b"HTTP/1.2", b"HTTP/2.0", b"HTTP/3", b"HTTP/1", b"HTTP/1.", b"HTTP/.1",
                    b"HTTP/01.1", b"HTTP/1.01", b"HTTP/1.10", b"HTTP/11.1", b"http/1.1", b"Http/1.1", b"ICY/1.1",
                    b"HTTP/1.1 ", b"HTTP/1.1\t", b"HTTP /1.1", b"HTTP/1.1 x", b"HTTP/1,1", b"XHTTP/1.1", b"",
                    b"HTTP/-1.1", b"HTTP/1.1\x00", b"HTTP/9.9", b"HTTP/1.x"):
        yield Case(f"version {version}", get(version=version) + NEXT, [])
    for line in (b"GET /@@", b"GET", b"", b"GET  /@@ HTTP/1.1", b"GET /@@  HTTP/1.1", b" GET /@@ HTTP/1.1",
                 b"GET\t/@@\tHTTP/1.1", b"GET /@@ /x HTTP/1.1", b"GET /@@\rHTTP/1.1", b"\x16\x03\x01\x00\x05",
                 b"PRI * HTTP/2.0", b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2"):
        # An empty line before a request is skipped, and what follows is no request line.
        yield Case(f"line {line}", head(line) + NEXT, [])
    for before in (b"\r\n", b"\r\n\r\n", b"\r\n" * 8):
        yield Case(f"{len(before)} bytes of empty lines", before + get(), [(b"GET", b"/@@", b"")])
    for before in (b"\n", b"\r", b" ", b"\t", b"\0", b"\r\r\n", b"\n\r\n", b"\xef\xbb\xbf"):
        yield Case(f"{before} before the line", before + get() + NEXT, [])


def bytes_everywhere():
    """Each suspicious byte in each place of a head."""
    places = {
        "method": b"GE%sT /@@ HTTP/1.1\r\nHost: a\r\nX-A: b\r\nConnection: close\r\n\r\n",
        "target": b"GET /@@/x%sy HTTP/1.1\r\nHost: a\r\nX-A: b\r\nConnection: close\r\n\r\n",
        "version": b"GET /@@ HTTP/1.%s1\r\nHost: a\r\nX-A: b\r\nConnection: close\r\n\r\n",
        "line end": b"GET /@@ HTTP/1.1%s\r\nHost: a\r\nX-A: b\r\nConnection: close\r\n\r\n",
        "host": b"GET /@@ HTTP/1.1\r\nHost: a%sb\r\nX-A: b\r\nConnection: close\r\n\r\n",
        "name": b"GET /@@ HTTP/1.1\r\nHost: a\r\nX-%sA: b\r\nConnection: close\r\n\r\n",
        "name end": b"GET /@@ HTTP/1.1\r\nHost: a\r\nX-A%s: b\r\nConnection: close\r\n\r\n",
        "value": b"GET /@@ HTTP/1.1\r\nHost: a\r\nX-A: b%sc\r\nConnection: close\r\n\r\n",
        "field start": b"GET /@@ HTTP/1.1\r\nHost: a\r\n%sX-A: b\r\nConnection: close\r\n\r\n",
        "head end": b"GET /@@ HTTP/1.1\r\nHost: a\r\nX-A: b\r\nConnection: close\r\n%s\r\n",
    }
    suspects = (b"\0", b"\x01", b"\x08", b"\t", b"\n", b"\x0b", b"\x0c", b"\r", b"\x1b", b" ", b"\x7f", b"\x85",
                b"\xa0", b"\xff")
    for place, text in places.items():
        for byte in suspects:
            expect = []
            if place == "value" and byte in b"\t \x85\xa0\xff":
                expect = [(b"GET", b"/@@", b"")]
            elif byte in b"\x7f\x85\xa0\xff" and place in ("value", "host"):
                expect = None
            yield Case(f"{byte} in the {place}", text.replace(b"%s", byte) + NEXT, expect)


def fields():
    for byte in b"\"(),/;<=>?@[\\]{}":
        field = b"X" + bytes([byte]) + b"Y: z"
        yield Case(f"name {field}", get(field) + NEXT, [])
    good = [(b"GET", b"/@@", b"")]
    for byte in b"!#$%&'*+-.^_`|~":
        yield Case(f"name with {bytes([byte])}", get(b"X" + bytes([byte]) + b"Y: z"), good)
    for field in (b"X-A:", b"X-A: ", b"X-A:b", b"X-A:\tb\t", b"X-A: " + b"b" * 8000, b"X-A: \"b\\\"c\"",
                  b"Content_Length: 9", b"Transfer_Encoding: chunked", b"X-Forwarded-For: 6.6.6.6",
                  b"Forwarded: for=6.6.6.6", b"Cookie: a=b; c", b"Cookie: =;;;", b"TE: trailers", b"TE: gzip",
                  b"Keep-Alive: timeout=5", b"Trailer: X-T", b"Max-Forwards: 0", b"Via: 1.1 x",
                  b"Range: bytes=0-1", b"If-None-Match: *"):
        yield Case(f"field {field[:40]}", get(field), good)
    for field in (b" X-A: b", b"\tX-A: b", b"X-A: b\r\n c", b"X-A: b\r\n\tc", b"X-A: b\r\n \r\n", b"X-A", b"X-A b",
                  b": b", b":", b"X-A : b", b"X-A\t: b", b"X A: b", b"Content-Length : 5", b"\x00: b",
                  b"X-A: " + b"b" * 40000):
        yield Case(f"field {field[:40]}", get(field) + NEXT, [])
    many = [b"X-%d: y" % index for index in range(200)]
    yield Case("98 fields", get(*many[:98]), good)
    yield Case("101 fields", get(*many[:99]) + NEXT, [])
    yield Case("200 fields", get(*many) + NEXT, [])
    for named in (b"Content-Length", b"Host", b"Cookie", b"Transfer-Encoding", b"X-Forwarded-For", b"Via",
                  b"close, content-length", b"keep-alive, X-A", b",,", b"\"close\"", b"Connection",
                  b"Content-Type"):
        body = b"named " + named
        yield Case(f"Connection: {named}", sized(body) .replace(
            b"Connection: close", b"Connection: " + named + b"\r\nConnection: close"),
            [(b"POST", b"/@@", body)])
    for value in (b"100-continue", b"100-Continue"):
        yield Case(f"Expect: {value}", post(b"Expect: " + value, b"Content-Length: 5", body=b"hello"),
                   [(b"POST", b"/@@", b"hello")])
    for value in (b"miracles", b"100-continue, x", b"100", b"200-ok"):
        yield Case(f"Expect: {value}", get(b"Expect: " + value) + NEXT, [])


def lengths():
    smuggled = b"hello" + NEXT
    for value in (b"+5", b"-5", b"-0", b"0x5", b"5.0", b"5e0", b"", b"five", b"5 5", b"5,5", b"5, 5", b"5;5",
                  b"\"5\"", b"0_5", b"18446744073709551616", b"99999999999999999999999", b"5\x0b", b"\x0c5",
                  b"5\x00", b"\xb2", b"0 0", b"5\t5", b"'5'", b"5a", b"a5"):
        for method in (b"POST", b"GET"):
            yield Case(f"{method} length {value}",
                       post(b"Content-Length: " + value, body=smuggled, method=method), [])
    for pair in ((b"5", b"5"), (b"5", b"6"), (b"0", b"5"), (b"5", b"0"), (b"5", b""), (b"5", b"+5")):
        two = [b"Content-Length: " + value for value in pair]
        yield Case(f"lengths {pair}", post(*two, body=smuggled), [])
        yield Case(f"lengths {pair} apart", post(two[0], b"X-A: b", two[1].replace(b"C", b"c"), body=smuggled), [])
    for value in (b"5", b"05", b"0000000000005", b"  5  ", b"\t5\t", b"5 "):
        yield Case(f"length {value}", post(b"Content-Length:" + value, body=b"hello"),
                   [(b"POST", b"/@@", b"hello")])
    yield Case("length 0", sized(b""), [(b"POST", b"/@@", b"")])
    yield Case("no length", post(), [(b"POST", b"/@@", b"")])


def codings():
    smuggled = chunks(b"hello") + NEXT
    for value in (b"gzip", b"gzip, chunked", b"chunked, gzip", b"chunked, chunked", b"chunked,", b",chunked",
                  b"identity", b"identity, chunked", b"chunked, identity", b"", b"xchunked", b"chunkedx",
                  b"chunked;", b"chunked;q=1", b"\"chunked\"", b"'chunked'", b"chunked\x00", b"\x0bchunked",
                  b"chunked\x0b", b"\x0cchunked", b"chun ked", b"chunke\xe4", b"c\xa0hunked", b"deflate",
                  b"chunked\r\n chunked", b"\r\n chunked", b"trailers", b"chunked gzip", b"chunked\tgzip"):
        for method in (b"POST", b"GET"):
            yield Case(f"{method} coding {value}",
                       post(b"Transfer-Encoding: " + value, body=smuggled, method=method), [])
    for value in (b"chunked", b"Chunked", b"CHUNKED", b" chunked ", b"\tchunked", b"chunked\t"):
        yield Case(f"coding {value}", post(b"Transfer-Encoding:" + value, body=chunks(b"hello")),
                   [(b"POST", b"/@@", b"hello")])
    for spelling in (b"transfer-encoding", b"TRANSFER-ENCODING", b"tRaNsFeR-eNcOdInG"):
        yield Case(f"{spelling}", post(spelling + b": chunked", body=chunks(b"hello")),
                   [(b"POST", b"/@@", b"hello")])
    for other in (b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip", b"Transfer-Encoding: identity",
                  b"transfer-encoding: chunked", b"Transfer-Encoding:", b"Content-Length: 5",
                  b"Content-Length: 0", b"content-length: 15", b"Content-Length: x"):
        for order in ((CHUNKED, other), (other, CHUNKED)):
            for method in (b"POST", b"PUT", b"GET"):
                yield Case(f"{method} {order}", post(*order, body=smuggled, method=method), [])
    for spelling in (b"Transfer-Encoding : chunked", b" Transfer-Encoding: chunked", b"Transfer-Encoding\t: chunked",
                     b"X: y\nTransfer-Encoding: chunked", b"X: y\rTransfer-Encoding: chunked",
                     b"\0Transfer-Encoding: chunked"):
        yield Case(f"length and {spelling}", post(b"Content-Length: 5", spelling, body=smuggled), [])


def chunked():
    """Bodies in chunks: whole ones arrive, broken ones never as whole."""
    whole = [
        chunks(b"hello"), chunks(b"h", b"e", b"l", b"l", b"o"), chunks(b"hello", extension=b";a"),
        chunks(b"hello", extension=b";a=b"), chunks(b"hello", extension=b";a=\"b;c\""),
        b"05\r\nhello\r\n0\r\n\r\n", b"0000005\r\nhello\r\n000\r\n\r\n",
        b"5\r\nhello\r\n0;last\r\n\r\n", chunks(b"hello", trailers=b"X-T: 1\r\n"),
        chunks(b"hello", trailers=b"X-T: 1\r\nX-U: 2\r\n"),
        chunks(b"hello", trailers=b"Content-Length: 3\r\n"),
        chunks(b"hello", trailers=b"Transfer-Encoding: chunked\r\nHost: b\r\n"),
        chunks(b"hello", trailers=b"Authorization: x\r\nCookie: y\r\n"),
    ]
    for body in whole:
        yield Case(f"chunks {body[:40]}", post(CHUNKED, body=body), [(b"POST", b"/@@", b"hello")])
        yield Case(f"chunks {body[:40]} and on", post(CHUNKED, body=body, close=False) + get(target=b"/@@/2"),
                   [(b"POST", b"/@@", b"hello"), (b"GET", b"/@@/2", b"")])
    for size in (b"A", b"a", b"0a", b"0A"):
        yield Case(f"chunk size {size}", post(CHUNKED, body=size + b"\r\n0123456789\r\n0\r\n\r\n"),
                   [(b"POST", b"/@@", b"0123456789")])
    for body in (b"5 \r\nhello\r\n0\r\n\r\n", b"5\t\r\nhello\r\n0\r\n\r\n", b"5 ;a\r\nhello\r\n0\r\n\r\n",
                 b"5;\r\nhello\r\n0\r\n\r\n", b"5;;;\r\nhello\r\n0\r\n\r\n", b"5\r\nhello\r\n0 \r\n\r\n"):
        yield Case(f"chunks {body[:40]}", post(CHUNKED, body=body), None)
    for body in (b"+5\r\nhello\r\n0\r\n\r\n", b"-5\r\nhello\r\n0\r\n\r\n", b"0x5\r\nhello\r\n0\r\n\r\n",
                 b" 5\r\nhello\r\n0\r\n\r\n", b"\r\nhello\r\n0\r\n\r\n", b"5\nhello\r\n0\r\n\r\n",
                 b"5\rhello\r\n0\r\n\r\n", b"5\r\nhello\n0\r\n\r\n", b"5\r\nhello0\r\n\r\n",
                 b"5\r\nhelloXX0\r\n\r\n", b"4\r\nhello\r\n0\r\n\r\n", b"6\r\nhello\r\n0\r\n\r\n",
                 b"5g\r\nhello\r\n0\r\n\r\n", b"g\r\nhello\r\n0\r\n\r\n", b"5,5\r\nhello\r\n0\r\n\r\n",
                 b"fffffffffffffffff\r\nhello\r\n0\r\n\r\n", b"10000000000000005\r\nhello\r\n0\r\n\r\n",
                 b"5;a\nb\r\nhello\r\n0\r\n\r\n", b"5;a\rb\r\nhello\r\n0\r\n\r\n", b"5;a\0b\r\nhello\r\n0\r\n\r\n",
                 b"5\0\r\nhello\r\n0\r\n\r\n", b"5;" + b"x" * 5000 + b"\r\nhello\r\n0\r\n\r\n",
                 b"5\r\nhello\r\n0\n\r\n", b"5\r\nhello\r\n0\r\nX-T : 1\r\n\r\n",
                 b"5\r\nhello\r\n0\r\nX-T\r\n\r\n", b"5\r\nhello\r\n0\r\n X-T: 1\r\n\r\n",
                 b"5\r\nhello\r\n0\r\nX-T: a\0b\r\n\r\n", b"5\r\nhello\r\n0\r\nX-T: 1\n\r\n",
                 b"5\r\nhello\r\n0\r\nX: " + b"y" * 20000 + b"\r\n\r\n"):
        yield Case(f"broken chunks {body[:40]}", post(CHUNKED, body=body + NEXT), [])


def pipelines():
    first, second = get(target=b"/@@/1", close=False), get(target=b"/@@/2")
    one, two = (b"GET", b"/@@/1", b""), (b"GET", b"/@@/2", b"")
    yield Case("two", first + second, [one, two])
    yield Case("ten", first * 9 + second, [one] * 9 + [two])
    yield Case("what follows a close", get(target=b"/@@/1") + second, [one])
    yield Case("empty lines between", first + b"\r\n" + second, [one, two])
    inner = get(target=b"/@@/inner")
    for method in (b"POST", b"PUT", b"GET", b"DELETE", b"OPTIONS", b"PATCH"):
        sent = sized(inner, method=method, target=b"/@@/1", close=False)
        yield Case(f"{method} of a request", sent + second, [(method, b"/@@/1", inner), two])
        sent = post(CHUNKED, body=chunks(inner), method=method, target=b"/@@/1", close=False)
        yield Case(f"{method} of a request in chunks", sent + second, [(method, b"/@@/1", inner), two])
    heads = get(target=b"/@@/1", method=b"HEAD", close=False)
    yield Case("HEAD and another", heads + second, [(b"HEAD", b"/@@/1", b""), two])
    for name, bad in (
        ("two hosts", get(b"Host: b")), ("both lengths", post(b"Content-Length: 5", CHUNKED, body=b"0\r\n\r\n")),
        ("a bare LF", b"GET /@@/bad HTTP/1.1\nHost: a\n\n"), ("garbage", b"\x00\x01\x02\r\n\r\n"),
        ("no host", get(host=None)), ("TRACE", get(method=b"TRACE")), ("a fold", get(b"X: y\r\n z")),
        ("a length too long", sized(b"").replace(b"h: 0", b"h: x")), ("HTTP/1.2", get(version=b"HTTP/1.2")),
    ):
        yield Case(f"{name} behind a good one", first + bad + NEXT, [one])
        body = sized(b"body", target=b"/@@/1", close=False)
        yield Case(f"{name} behind a body", body + bad + NEXT, [(b"POST", b"/@@/1", b"body")])
    for excess in (b"(", b"\n", b"\0", b" ", b"\r"):
        yield Case(f"{excess} beyond a length", sized(b"five!", target=b"/@@/1", close=False) + excess + second,
                   [(b"POST", b"/@@/1", b"five!")])


def old_and_upgrades():
    old = (b"GET", b"/@@", b"")
    yield Case("HTTP/1.0", get(version=b"HTTP/1.0", host=None), [old])
    yield Case("HTTP/1.0 with a host", get(version=b"HTTP/1.0"), [old])
    # An answer without length ends such a connection, and Apache's have none at times.
    yield Case("HTTP/1.0 kept", get(b"Connection: keep-alive", version=b"HTTP/1.0", close=False)
               + get(target=b"/@@/2", version=b"HTTP/1.0"), None)
    yield Case("HTTP/1.0 not kept", get(version=b"HTTP/1.0", close=False) + get(target=b"/@@/2"), [old])
    yield Case("HTTP/1.0 with a body", sized(b"hello", version=b"HTTP/1.0"), [(b"POST", b"/@@", b"hello")])
    yield Case("HTTP/1.0 without a length", post(version=b"HTTP/1.0", body=NEXT), [(b"POST", b"/@@", b"")])
    for value in (b"chunked", b"identity", b"gzip"):
        yield Case(f"HTTP/1.0 {value}", post(b"Transfer-Encoding: " + value, version=b"HTTP/1.0",
                                            body=chunks(b"hello") + NEXT), [])
    yield Case("HTTP/1.0 absolute", get(target=b"http://a/@@", version=b"HTTP/1.0"), [old])
    socket = (b"Upgrade: websocket", b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
    yield Case("HTTP/1.0 upgrade", get(*socket, version=b"HTTP/1.0") + NEXT, [])
    yield Case("upgrade with a body", sized(b"hello", method=b"GET").replace(
        b"Connection: close", b"Connection: upgrade\r\nUpgrade: websocket") + NEXT, [])
    yield Case("upgrade with chunks", post(CHUNKED, b"Upgrade: websocket", b"Connection: upgrade",
                                           body=chunks(b"x")) + NEXT, [])
    yield Case("upgrade of a POST", post(*socket, b"Connection: upgrade", close=False) + NEXT, [])
    yield Case("upgrade that nobody names", get(*socket) + NEXT, [])
    for token in (b"h2c", b"TLS/1.0", b"h2c, websocket", b"websocket, h2c", b"WebSocket/13", b"x", b""):
        yield Case(f"upgrade to {token}", get(b"Upgrade: " + token, b"Connection: upgrade, close", close=False)
                   + NEXT, None)
    yield Case("an upload as curl --http2 makes it", post(
        b"Content-Length: 5", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAAP__", b"Connection: Upgrade, close",
        body=b"hello", close=False), [(b"POST", b"/@@", b"hello")])
    tunnel = get(*socket, b"Connection: upgrade", close=False)
    yield Case("a handshake that is declined", tunnel + NEXT, None)


def cut_short():
    for whole in (sized(b"hello, world"), post(CHUNKED, body=chunks(b"hello", b"world"))):
        at = whole.index(CRLF + CRLF) + 4
        for end in (at, at + 1, at + 4, len(whole) - 6, len(whole) - 1):
            if end < len(whole):
                yield Case(f"cut at {end} of {whole[:24]}", whole[:end], [], ends=True)
    for end in (1, 3, 5, 14, 18, 30, 40):
        yield Case(f"a head cut at {end}", get()[:end], [], ends=True)


def sizes():
    for size in (0, 1, 2, 15, 16, 63, 255, 256, 1023, 1024, 4095, 4096, 8191, 8192, 8193, 16384, 32768, 65535,
                 65536, 100_000):
        body = random.Random(size).randbytes(size)
        yield Case(f"{size} bytes", sized(body), [(b"POST", b"/@@", body)])
        parts = [body[at:at + 1000] for at in range(0, size, 1000)]
        yield Case(f"{size} bytes in chunks", post(CHUNKED, body=chunks(*parts)), [(b"POST", b"/@@", body)])


def pieces(cases):
    """The same in several writes, cut anywhere."""
    source = random.Random(6)
    plain = [case for case in cases if len(case.data) < 2000 and not case.ends and case.expect is not None]
    for case in source.sample(plain, 120):
        cuts = sorted(source.sample(range(1, len(case.data)), min(3, len(case.data) - 1)))
        yield Case(case.name + " in pieces", case.data, case.expect, cuts=tuple(cuts))


def everything():
    cases = []
    for family in (hosts, targets, lines, bytes_everywhere, fields, lengths, codings, chunked, pipelines,
                   old_and_upgrades, cut_short, sizes):
        cases += family()
    cases += pieces(cases)
    return cases
