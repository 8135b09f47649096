"""Deadlines and the connection cap: slow and surplus clients are let go, others notice nothing.

A client that drips its request byte by byte must not gain time with each byte.
"""

import contextlib
import select
import time

import pytest

import harness
from client import Connection, ConnectionEnded, post, request, submission

DEADLINE_MS = harness.scaled_ms(300)
IDLE_MS = harness.scaled_ms(500)
SETTINGS = {
    "header_deadline_ms": DEADLINE_MS,
    "body_deadline_ms": DEADLINE_MS,
    "idle_deadline_ms": IDLE_MS,
}
EARLY_S = 0.6 * DEADLINE_MS / 1000
LATE_S = 5.0 * harness.TIME_FACTOR
WHOLE = post(submission())
BODY_BYTES = len(submission())
LIVEZ = request("GET", "/livez")
CONNECTIONS_MAX = 8


@pytest.fixture
def engine(fleet, tmp_path):
    return fleet.start(tmp_path / "data", SETTINGS, cores=harness.ONE_CORE)


def check_let_go(connection, sent_at, deadline_s):
    """The connection ends with 408 or without a word, neither early nor far too late."""
    rest = connection.rest(LATE_S)
    took_s = time.monotonic() - sent_at
    assert rest == b"" or rest.startswith(b"HTTP/1.1 408 "), rest
    assert b" 408 " not in rest or b"urn:sluice:problem:request-timeout" in rest
    assert deadline_s * 0.6 < took_s < LATE_S


@pytest.mark.parametrize("sent", [b"P", b"POST /v1/sub", WHOLE[:60]], ids=["1", "12", "60"])
def test_a_header_section_that_never_ends_meets_its_deadline(engine, sent):
    with Connection(engine.address) as connection:
        sent_at = time.monotonic()
        connection.send(sent)
        check_let_go(connection, sent_at, DEADLINE_MS / 1000)


@pytest.mark.parametrize("missing", [BODY_BYTES, 1], ids=["all-missing", "one-byte-missing"])
def test_a_body_that_never_ends_meets_its_deadline(engine, missing):
    with Connection(engine.address) as connection:
        sent_at = time.monotonic()
        connection.send(WHOLE[:-missing])
        check_let_go(connection, sent_at, DEADLINE_MS / 1000)
    assert harness.cat(engine.data) == []


@pytest.mark.parametrize("at_once", [1, len(WHOLE) - BODY_BYTES], ids=["header", "body"])
def test_dripping_bytes_do_not_extend_a_deadline(engine, at_once):
    with Connection(engine.address) as connection:
        sent_at = time.monotonic()
        connection.send(WHOLE[:at_once])
        for offset in range(at_once, len(WHOLE) - 1):
            if select.select([connection.socket], [], [], DEADLINE_MS / 1000 / 10)[0]:
                break
            connection.send(WHOLE[offset:offset + 1])
        check_let_go(connection, sent_at, DEADLINE_MS / 1000)


@pytest.mark.parametrize("requests", [0, 3])
def test_an_idle_connection_is_closed_without_a_word(engine, requests):
    with Connection(engine.address) as connection:
        for _ in range(requests):
            connection.exchange(WHOLE).receipt()
        idle_since = time.monotonic()
        assert connection.rest(LATE_S) == b""
        assert time.monotonic() - idle_since > 0.6 * IDLE_MS / 1000


def test_a_busy_connection_outlives_every_deadline(engine):
    """Deadlines start anew with each request."""
    with Connection(engine.address) as connection:
        until = time.monotonic() + 3 * IDLE_MS / 1000
        while time.monotonic() < until:
            connection.send(WHOLE[:20])
            assert not select.select([connection.socket], [], [], DEADLINE_MS / 1000 / 6)[0]
            connection.send(WHOLE[20:])
            connection.response().receipt()


def test_slow_clients_leave_a_quick_one_alone(engine):
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(Connection(engine.address)) for _ in range(500)]
        for connection in slow:
            connection.send(WHOLE[:100])
        quick = stack.enter_context(Connection(engine.address))
        for _ in range(200):
            started = time.monotonic()
            quick.exchange(WHOLE).receipt()
            assert time.monotonic() - started < 0.5 * harness.TIME_FACTOR
        for connection in slow:
            assert b" 201 " not in connection.rest(LATE_S)


def is_served(address):
    """Whether a new connection is served now; otherwise it must be refused in a regular way."""
    with Connection(address) as connection:
        try:
            response = connection.exchange(LIVEZ)
        except ConnectionEnded:
            return False
        if response.status == 503:
            assert response.closes
            assert connection.rest() == b""
        return response.status == 200


def test_connections_over_the_cap_are_refused_and_the_others_served(fleet, tmp_path):
    settings = {"connections_max": CONNECTIONS_MAX}
    engine = fleet.start(tmp_path / "data", settings, cores=harness.ONE_CORE)
    with contextlib.ExitStack() as stack:
        within = [stack.enter_context(Connection(engine.address)) for _ in range(CONNECTIONS_MAX)]
        for connection in within:
            connection.exchange(WHOLE).receipt()
        for _ in range(50):
            assert not is_served(engine.address)
        for connection in within:
            connection.exchange(WHOLE).receipt()
        within[0].close()
        deadline = time.monotonic() + LATE_S
        while not is_served(engine.address):  # once the engine has seen the end of that one
            assert time.monotonic() < deadline, "the place of a closed connection stays taken"
        for connection in within[1:]:
            connection.exchange(WHOLE).receipt()
