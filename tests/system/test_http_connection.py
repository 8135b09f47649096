"""How connections live and end: keep-alive, pipelining, half-close, reset, clients that never read.

All tests share one engine on one core; fixture `stored` pins what each of them may store.
"""

import pathlib
import select
import time

import pytest

import client
import harness
from client import Connection, post, request, submission
from ledger import check_sequences

LIVEZ = request("GET", "/livez")


def test_a_connection_serves_many_requests(shared_engine, stored):
    with Connection(shared_engine.address) as connection:
        for _ in range(100):
            response = connection.exchange(post(submission()))
            stored.append(response.receipt())
            assert not response.closes


def test_connection_close_is_honoured_and_announced(shared_engine, stored):
    with Connection(shared_engine.address) as connection:
        connection.send(post(submission(), [("Connection", "close")]) + LIVEZ)
        response = connection.response()
        stored.append(response.receipt())
        assert response.closes
        assert connection.rest() == b""


def test_http_1_0_ends_after_one_request(shared_engine, stored):
    with Connection(shared_engine.address) as connection:
        response = connection.exchange(post(submission(), version="HTTP/1.0", host=None))
        stored.append(response.receipt())
        assert connection.rest() == b""


def test_http_1_0_goes_on_when_asked_to(shared_engine, stored):
    keep_alive = [("Connection", "keep-alive")]
    with Connection(shared_engine.address) as connection:
        for _ in range(3):
            whole = post(submission(), keep_alive, version="HTTP/1.0", host=None)
            response = connection.exchange(whole)
            stored.append(response.receipt())
            assert response.headers["connection"].lower() == "keep-alive"


def test_pipelined_requests_are_answered_in_order_whatever_their_outcome(
        shared_engine, stored, seeded):
    """200 requests in one write: the quick ones must not overtake those that wait for the disk."""
    kinds = {
        "stored": (lambda n: post(submission(submissionId=f"mixed-{n}")), 201),
        "malformed": (lambda n: post(b'{"mixed": %d,}' % n), 400),
        "invalid": (lambda n: post(submission(submissionId=f"mixed-{n}", scores=n)), 422),
        "unknown": (lambda n: request("GET", f"/mixed-{n}"), 404),
        "method": (lambda n: request("DELETE", "/v1/submissions"), 405),
        "live": (lambda n: LIVEZ, 200),
        "head": (lambda n: request("HEAD", "/livez"), 200),
    }
    trace = [f"{n:032x}" for n in range(1, 201)]
    order = [seeded.choice(list(kinds)) for _ in trace]
    parts = []
    for n, (kind, trace_id) in enumerate(zip(order, trace)):
        whole = kinds[kind][0](n)
        line = f"\r\ntraceparent: 00-{trace_id}-00f067aa0ba902b7-01\r\n".encode()
        parts.append(whole.replace(b"\r\n", line, 1))
    with Connection(shared_engine.address) as connection:
        connection.send(b"".join(parts))
        for n, (kind, trace_id) in enumerate(zip(order, trace)):
            response = connection.response(to_head=kind == "head")
            assert response.status == kinds[kind][1], f"request {n}, {kind}"
            if kind == "stored":
                stored.append(response.receipt())
                assert response.receipt()["submissionId"] == f"mixed-{n}"
            elif response.status >= 400:
                assert response.problem()["traceId"] == trace_id
        connection.finish_sending()
        assert connection.rest() == b""


@pytest.mark.parametrize("count", [1, 20, 200])
def test_a_client_that_finished_sending_still_gets_its_answers(shared_engine, stored, count):
    with Connection(shared_engine.address) as connection:
        connection.send(post(submission()) * count)
        connection.finish_sending()
        for _ in range(count):
            stored.append(connection.response().receipt())
        assert connection.rest() == b""


@pytest.mark.parametrize("sent_bytes", [1, 30, -10])
def test_a_client_that_finishes_in_the_middle_of_a_request_is_let_go(
        shared_engine, stored, sent_bytes):
    with Connection(shared_engine.address) as connection:
        connection.send(post(submission())[:sent_bytes])
        connection.finish_sending()
        assert b" 201 " not in connection.rest()


def test_resets_in_the_middle_of_bodies_harm_nobody(shared_engine, stored, seeded):
    with Connection(shared_engine.address) as bystander:
        for _ in range(100):
            whole = post(submission())
            connection = Connection(shared_engine.address)
            connection.send(whole[:seeded.randrange(1, len(whole))])
            connection.reset()
            stored.append(bystander.exchange(whole).receipt())


def test_resets_after_whole_requests_harm_nobody(fleet, tmp_path):
    """The answer finds no connection: what was stored stays, what comes next is served."""
    engine = fleet.start(tmp_path / "data", cores=harness.ONE_CORE)
    for _ in range(100):
        connection = Connection(engine.address)
        connection.send(post(submission()) * 10)
        connection.reset()
    last = client.submit(engine.address, submission(submissionId="last"))
    records = harness.cat(tmp_path / "data")
    check_sequences(records)
    assert records[last["sequence"] - 1]["submissionId"] == "last"
    harness.verify(tmp_path / "data")


def send_while_taken(connection, data, limit_bytes, quiet_s):
    """Sends `data` again and again until nothing was taken for `quiet_s`; returns bytes taken."""
    connection.socket.setblocking(False)
    taken = 0
    while taken < limit_bytes:
        if not select.select([], [connection.socket], [], quiet_s)[1]:
            return taken
        try:
            taken += connection.socket.send(data)
        except (BrokenPipeError, ConnectionResetError):
            return taken
    raise AssertionError(f"{taken} bytes taken from a client that reads no answers")


@pytest.mark.parametrize("whole", [LIVEZ, post(submission()), request("GET", "/nowhere")],
                         ids=["livez", "submission", "problem"])
def test_a_client_that_never_reads_is_bounded_and_harms_nobody(fleet, tmp_path, whole):
    engine = fleet.start(tmp_path / "data", cores=harness.ONE_CORE)
    with Connection(engine.address, receive_buffer_bytes=4096) as deaf, \
            Connection(engine.address) as bystander:
        bystander.exchange(post(submission())).receipt()
        resident_bytes = engine.resident_bytes()
        send_while_taken(deaf, whole * 500, limit_bytes=64 << 20, quiet_s=0.5 * harness.TIME_FACTOR)
        started = time.monotonic()
        for _ in range(50):
            bystander.exchange(post(submission())).receipt()
        assert time.monotonic() - started < 2.0 * harness.TIME_FACTOR
        if not harness.SANITIZER:  # whose shadow memory grows by itself
            assert engine.resident_bytes() - resident_bytes < 32 << 20
        deaf.reset()
        bystander.exchange(post(submission())).receipt()


def test_two_thousand_connections_one_after_the_other_leave_nothing_behind(shared_engine, stored):
    descriptors = f"/proc/{shared_engine.pid}/fd"
    before = len(list(pathlib.Path(descriptors).iterdir()))
    for _ in range(2000):
        with Connection(shared_engine.address) as connection:
            assert connection.exchange(LIVEZ).status == 200
    with Connection(shared_engine.address) as connection:
        assert connection.exchange(LIVEZ).status == 200
        after = len(list(pathlib.Path(descriptors).iterdir()))
    assert after - before < 50
