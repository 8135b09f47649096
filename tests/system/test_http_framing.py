"""Requests that could mean two things mean nothing: refused, the connection closed, nothing stored.

Behind each of them stands a valid submission in the same send: had the engine lost its place in the
byte stream, it would be answered.
"""

import pytest

import client
from client import Connection, post, request, submission

BODY = submission()
JSON = "Content-Type: application/json\r\n"
HEAD = "POST /v1/submissions HTTP/1.1\r\nHost: sluice.test\r\n" + JSON
CHUNKED = HEAD + "Transfer-Encoding: chunked\r\n\r\n"
LENGTH = f"Content-Length: {len(BODY)}\r\n"

REFUSED = {
    "length and chunked": (HEAD + LENGTH + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "chunked and length": (HEAD + "Transfer-Encoding: chunked\r\n" + LENGTH + "\r\n0\r\n\r\n", 400),
    "two lengths": (HEAD + LENGTH + LENGTH + "\r\n", 400),
    "a list of lengths": (HEAD + "Content-Length: 5, 5\r\n\r\n", 400),
    "a signed length": (HEAD + "Content-Length: +5\r\n\r\n", 400),
    "a negative length": (HEAD + "Content-Length: -1\r\n\r\n", 400),
    "a hexadecimal length": (HEAD + "Content-Length: 0x5\r\n\r\n", 400),
    "a length beyond 64 bits": (HEAD + "Content-Length: 18446744073709551621\r\n\r\n", (400, 413)),
    "no length value": (HEAD + "Content-Length:\r\n\r\n", 400),
    "two codings": (HEAD + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
    "an unknown coding": (HEAD + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501),
    "repeated coding": (HEAD + "Transfer-Encoding: chunked\r\n" * 2 + "\r\n0\r\n\r\n", 400),
    "chunked in 1.0": (CHUNKED.replace("1.1", "1.0") + "0\r\n\r\n", 400),
    "space before colon": (HEAD + "Content-Length : 5\r\n\r\n", 400),
    "folded line": (HEAD + "X-A: 1\r\n folded\r\n" + LENGTH + "\r\n", 400),
    "first line folded": ("GET /livez HTTP/1.1\r\n Host: sluice.test\r\n\r\n", 400),
    "bare LF": ("GET /livez HTTP/1.1\nHost: sluice.test\n\n", 400),
    "bare LF in headers": ("GET /livez HTTP/1.1\r\nHost: sluice.test\nX: 1\r\n\r\n", 400),
    "bare CR": ("GET /livez HTTP/1.1\r\nHost: sluice.test\r\nX: a\rb\r\n\r\n", 400),
    "NUL in a value": ("GET /livez HTTP/1.1\r\nHost: sluice.test\r\nX: a\0b\r\n\r\n", 400),
    "control in a value": ("GET /livez HTTP/1.1\r\nHost: sluice.test\r\nX: a\x7fb\r\n\r\n", 400),
    "empty header name": ("GET /livez HTTP/1.1\r\nHost: sluice.test\r\n: b\r\n\r\n", 400),
    "no colon": ("GET /livez HTTP/1.1\r\nHost: sluice.test\r\nno colon\r\n\r\n", 400),
    "no host": ("GET /livez HTTP/1.1\r\n\r\n", 400),
    "two hosts": ("GET /livez HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
    "two spaces": ("GET  /livez HTTP/1.1\r\nHost: sluice.test\r\n\r\n", 400),
    "no version": ("GET /livez\r\n\r\n", 400),
    "version 2": ("GET /livez HTTP/2.0\r\nHost: sluice.test\r\n\r\n", 505),
    "version 1.2": ("GET /livez HTTP/1.2\r\nHost: sluice.test\r\n\r\n", 505),
    "connect": ("CONNECT sluice.test:443 HTTP/1.1\r\nHost: sluice.test\r\n\r\n", (400, 405, 501)),
    "not HTTP": ("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    "chunk size is no number": (CHUNKED + "g\r\n{\r\n0\r\n\r\n", 400),
    "chunk size is signed": (CHUNKED + "+2\r\n{}\r\n0\r\n\r\n", 400),
    "chunk size is prefixed": (CHUNKED + "0x2\r\n{}\r\n0\r\n\r\n", 400),
    "chunk size overflows": (CHUNKED + "10000000000000002\r\n{}\r\n0\r\n\r\n", (400, 413)),
    "chunk longer than said": (CHUNKED + "1\r\n{}\r\n0\r\n\r\n", 400),
    "chunk without CRLF": (CHUNKED + "2\r\n{}0\r\n\r\n", 400),
    "chunk size ends in LF": (CHUNKED + "2\n{}\r\n0\r\n\r\n", 400),
    "trailer": (CHUNKED + "2\r\n{}\r\n0\r\nX: 1\r\n\r\n", 400),
    "endless chunk extension": (CHUNKED + "2;" + "x" * 20000 + "\r\n{}\r\n0\r\n\r\n", (400, 413)),
}


@pytest.mark.parametrize("start,statuses", REFUSED.values(), ids=REFUSED.keys())
def test_an_ambiguous_request_ends_the_connection(shared_engine, stored, start, statuses):
    with Connection(shared_engine.address) as connection:
        response = connection.exchange(start.encode("latin-1") + post(BODY))
        assert response.status in (statuses if isinstance(statuses, tuple) else (statuses,))
        assert response.closes
        assert response.problem()["detail"]
        assert connection.rest() == b""


def test_one_empty_line_before_a_request_is_skipped(shared_engine, stored):
    with Connection(shared_engine.address) as connection:
        stored.append(connection.exchange(b"\r\n" + post(BODY)).receipt())
        stored.append(connection.exchange(b"\r\n" + post(BODY)).receipt())


def test_a_body_where_none_belongs_is_not_taken_for_a_request(shared_engine, stored):
    inner = post(BODY)
    outer = request("GET", "/livez", [("Content-Length", len(inner))], inner)
    with Connection(shared_engine.address) as connection:
        connection.exchange(outer)
        connection.finish_sending()
        assert b"201" not in connection.rest()


def test_an_upgrade_is_ignored(shared_engine, stored):
    upgrade = [("Connection", "upgrade"), ("Upgrade", "h2c")]
    with Connection(shared_engine.address) as connection:
        assert connection.exchange(request("GET", "/livez", upgrade)).status == 200
        assert connection.exchange(request("GET", "/livez")).status == 200


def test_random_bytes_never_store_and_never_harm(shared_engine, stored, seeded):
    for _ in range(200):
        noise = seeded.randbytes(seeded.randint(1, 300))
        with Connection(shared_engine.address) as connection:
            connection.send(noise)
            connection.finish_sending()
            assert b" 201 " not in connection.rest()
    with Connection(shared_engine.address) as connection:
        stored.append(connection.exchange(client.post(BODY)).receipt())


def test_a_mutated_request_gives_answers_and_nothing_else(shared_engine, seeded):
    """One byte changed anywhere: what comes back is whole responses and then the end."""
    whole = post(BODY)
    for _ in range(300):
        mutated = bytearray(whole)
        mutated[seeded.randrange(len(whole))] = seeded.randrange(256)
        with Connection(shared_engine.address) as connection:
            connection.send(bytes(mutated))
            connection.finish_sending()
            received = bytearray(connection.rest())
        while received:
            assert client.take_response(received) is not None, received
