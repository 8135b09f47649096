"""SIGTERM loses nothing (promise P13): what was received is answered, then the engine exits 0."""

import contextlib
import os
import select
import socket
import time

import pytest

import client
import forms
import harness
from client import Connection, ConnectionEnded, post, request, submission
from ledger import Ledger, by_journal, check_directory
from load import PIPELINED, PLAIN, Load, Trigger

SEGMENT = {"segment_bytes": 8 << 20}
SECOND_SIGNAL_S = 2.0 * harness.TIME_FACTOR


@pytest.mark.parametrize("transport", [PLAIN, PIPELINED], ids=lambda transport: transport.name)
def test_sigterm_under_load_loses_nothing_and_a_restart_continues(
        fleet, tmp_path, seeded, transport):
    data = tmp_path / "data"
    ledger = Ledger(forms.pilot())
    for acks in (seeded.randint(100, 1500), seeded.randint(100, 1500)):
        engine = fleet.start(data, SEGMENT)
        load = Load(engine.address, ledger, seeded, transport, connections=32)
        load.run(ledger.unacknowledged(), Trigger(engine.terminate, acks=acks))
        assert engine.wait(harness.STOP_S) == 0
        check_directory(ledger, data, complete=False)
    engine = fleet.start(data, SEGMENT)
    Load(engine.address, ledger, seeded).run(ledger.unacknowledged())
    records = check_directory(ledger, data)
    assert len(by_journal(records)) <= len(os.sched_getaffinity(0))


@pytest.mark.parametrize("deadline_ms", [3000, 10, 10, 10])
def test_requests_received_before_sigterm_are_all_stored_and_answered(
        fleet, tmp_path, deadline_ms):
    """Far more than one batch: when the barrier is answered, most of them wait for the worker. A deadline
    that passes meanwhile ends what is half received, and nothing else."""
    data = tmp_path / "data"
    engine = fleet.start(data, {**SEGMENT, "drain_deadline_ms": deadline_ms}, cores=harness.ONE_CORE)
    per_connection = 20  # small ones, so that they arrive in one piece
    ledger = Ledger(submission(submissionId=f"received-{n}") for n in range(4000))
    starts = range(0, len(ledger.forms), per_connection)
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(Connection(engine.address)) for _ in starts]
        barrier = stack.enter_context(Connection(engine.address))
        for connection, start in zip(connections, starts):
            burst = ledger.forms[start:start + per_connection]
            connection.send(b"".join(post(form) for form in burst))
        assert barrier.exchange(request("GET", "/livez")).status == 200
        engine.terminate()
        for connection, start in zip(connections, starts):
            for index in range(start, start + per_connection):
                ledger.record(index, connection.response().receipt())
            assert connection.rest() == b""
    assert engine.wait(harness.STOP_S) == 0
    check_directory(ledger, data)


def fill_both_ways(connection):
    """Sends requests and reads nothing until neither side takes another byte."""
    connection.socket.setblocking(False)
    writable = True
    while writable:
        with contextlib.suppress(BlockingIOError):
            connection.socket.send(request("GET", "/livez") * 1000)
        writable = select.select([], [connection.socket], [], 0.3 * harness.TIME_FACTOR)[1]


def test_a_client_that_does_not_read_does_not_hold_up_a_drain_for_ever(fleet, tmp_path):
    """It gets the linger deadline beyond the drain's, and is then closed."""
    settings = {**SEGMENT, "drain_deadline_ms": harness.scaled_ms(300),
                "linger_deadline_ms": harness.scaled_ms(300), "send_deadline_ms": 3600000}
    engine = fleet.start(tmp_path / "data", settings, cores=harness.ONE_CORE)
    with Connection(engine.address, receive_buffer_bytes=4096) as deaf:
        fill_both_ways(deaf)
        engine.terminate()
        assert engine.wait(harness.STOP_S) == 0


def test_a_client_that_reads_late_gets_whole_answers_behind_the_drain_deadline(fleet, tmp_path):
    """Its answers are stuck when the deadline passes, which the end of a half-received request shows."""
    settings = {**SEGMENT, "drain_deadline_ms": harness.scaled_ms(300),
                "linger_deadline_ms": harness.scaled_ms(5000), "send_deadline_ms": 3600000}
    engine = fleet.start(tmp_path / "data", settings, cores=harness.ONE_CORE)
    with (Connection(engine.address, receive_buffer_bytes=4096) as late,
          Connection(engine.address) as half):
        half.send(post(submission())[:-1])
        fill_both_ways(late)
        engine.terminate()
        half.rest()
        late.socket.settimeout(harness.STOP_S)
        answers = b""
        with contextlib.suppress(ConnectionResetError):
            while some := late.socket.recv(1 << 16):
                answers += some
    assert engine.wait(2 * harness.STOP_S) == 0
    *_, last = answers.rpartition(b"HTTP/1.1 200 OK")
    assert last.endswith(b'{"status":"live"}\n') and b"Connection: close" in last, last[-200:]


def wait_until_refused(address):
    """Connects until that is refused: the drain has begun, or ended."""
    deadline = time.monotonic() + harness.STOP_S
    while time.monotonic() < deadline:
        try:
            Connection(address).close()
        except (ConnectionRefusedError, ConnectionResetError):
            return
    raise AssertionError("new connections are taken in spite of SIGTERM")


def test_a_draining_engine_finishes_what_is_half_received_and_takes_nothing_new(fleet, tmp_path):
    """A submission whose second half comes after SIGTERM holds the drain open."""
    data = tmp_path / "data"
    settings = {**SEGMENT, "drain_deadline_ms": harness.scaled_ms(4000)}
    engine = fleet.start(data, settings, cores=harness.ONE_CORE)
    half = post(submission(submissionId="half"))
    with Connection(engine.address) as late, Connection(engine.address) as idle:
        assert idle.exchange(request("GET", "/readyz")).status == 200
        late.send(half[:-20])
        assert idle.exchange(request("GET", "/livez")).status == 200  # so both are received
        engine.terminate()
        wait_until_refused(engine.address)
        for _ in range(20):
            with pytest.raises((ConnectionRefusedError, ConnectionResetError)):
                Connection(engine.address)
        with contextlib.suppress(ConnectionEnded):  # idle connections may be closed
            assert idle.exchange(request("GET", "/readyz")).status == 503
        late.send(half[-20:])
        receipt = late.response().receipt()
        assert late.rest() == b""
    assert engine.wait(harness.STOP_S) == 0
    assert [record["sha256"] for record in harness.cat(data)] == [receipt["sha256"]]
    harness.verify(data)


def test_a_half_received_request_does_not_hold_up_a_drain_for_ever(fleet, tmp_path):
    settings = {**SEGMENT, "drain_deadline_ms": harness.scaled_ms(500)}
    engine = fleet.start(tmp_path / "data", settings, cores=harness.ONE_CORE)
    with Connection(engine.address) as connection:
        connection.send(post(submission())[:-1])
        with Connection(engine.address) as barrier:
            assert barrier.exchange(request("GET", "/livez")).status == 200
        engine.terminate()
        assert engine.wait(harness.STOP_S) == 0
        assert b" 201 " not in connection.rest()
    assert harness.cat(tmp_path / "data") == []


def test_a_second_sigterm_does_not_wait(fleet, tmp_path, seeded):
    data = tmp_path / "data"
    settings = {**SEGMENT, "drain_deadline_ms": 60000}
    engine = fleet.start(data, settings, cores=harness.ONE_CORE)
    ledger = Ledger(forms.synthetic(1000))
    Load(engine.address, ledger, seeded).run(range(1000))
    with Connection(engine.address) as held:
        held.send(post(submission())[:-1])
        with Connection(engine.address) as barrier:
            assert barrier.exchange(request("GET", "/livez")).status == 200
        engine.terminate()
        wait_until_refused(engine.address)
        assert engine.process.poll() is None, "nothing holds this drain open"
        engine.terminate()
        code = engine.wait(SECOND_SIGNAL_S)
    assert code in (0, 1, 2, -15), f"exit code {code}"
    engine = fleet.start(data, settings)
    client.submit(engine.address, ledger.forms[0])
    records = check_directory(ledger, data)
    assert len(records) == 1001


def test_sigterm_with_nothing_to_do_exits_at_once(fleet, tmp_path):
    engine = fleet.start(tmp_path / "data", SEGMENT)
    engine.terminate()
    assert engine.wait(SECOND_SIGNAL_S) == 0
    assert harness.cat(tmp_path / "data") == []
    harness.verify(tmp_path / "data")


def test_a_second_engine_on_the_same_directory_is_refused(fleet, tmp_path):
    data = tmp_path / "data"
    engine = fleet.start(data, SEGMENT)
    first = client.submit(engine.address, submission(submissionId="before"))
    for _ in range(3):
        refused = harness.serve_to_exit(data, SEGMENT)
        assert refused.returncode >= 64
        assert refused.stdout == ""
        assert str(data) in refused.stderr
        assert engine.process.poll() is None
    second = client.submit(engine.address, submission(submissionId="after"))
    stored = {record["submissionId"]: record["sha256"] for record in harness.cat(data)}
    assert stored == {"before": first["sha256"], "after": second["sha256"]}
    harness.verify(data)


@pytest.mark.parametrize("settings", [{"no_such_key": 1}, {"segment_bytes": "many"},
                                      {"segment_bytes": 1}, {"pipeline_depth_max": -1}])
def test_a_wrong_setting_is_refused_by_name(tmp_path, settings):
    refused = harness.serve_to_exit(tmp_path / "data", settings)
    assert refused.returncode >= 64
    assert refused.stdout == ""
    assert next(iter(settings)) in refused.stderr
