"""What belongs to one client never shows up in another's answer (promise P14), also when the engine
answers many of them at once."""

import contextlib
import hashlib
import signal

import harness
from client import Connection, post, request, submission

CLIENTS = 48
SETTINGS = {"segment_bytes": 4 << 20}


def exchange_at_once(engine, requests):
    """Stops the engine while each request is sent on a connection of its own, so that it meets all
    of them in one round; returns the responses in that order."""
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(Connection(engine.address)) for _ in requests]
        engine.process.send_signal(signal.SIGSTOP)
        try:
            for connection, whole in zip(connections, requests):
                connection.send(whole)
        finally:
            engine.process.send_signal(signal.SIGCONT)
        return [connection.response() for connection in connections]


def test_receipts_of_one_round_go_to_those_who_sent_the_submissions(fleet, tmp_path):
    engine = fleet.start(tmp_path / "data", SETTINGS, cores=harness.ONE_CORE)
    bodies = [submission(submissionId=f"own-{n}-\u00e9", patientId=f"P-{n}") for n in range(CLIENTS)]
    for body, response in zip(bodies, exchange_at_once(engine, [post(body) for body in bodies])):
        assert response.receipt()["sha256"] == hashlib.sha256(body).hexdigest()
    stored = {record["sha256"]: record for record in harness.cat(engine.data)}
    for n, body in enumerate(bodies):
        record = stored[hashlib.sha256(body).hexdigest()]
        assert (record["submissionId"], record["patientId"]) == (f"own-{n}-\u00e9", f"P-{n}")


def test_problems_of_one_round_name_the_trace_of_their_request(fleet, tmp_path):
    engine = fleet.start(tmp_path / "data", SETTINGS, cores=harness.ONE_CORE)
    traces = [f"{n + 1:032x}" for n in range(CLIENTS)]
    requests = [request("GET", "/nowhere", [("traceparent", f"00-{trace}-00f067aa0ba902b7-01")])
                for trace in traces]
    responses = exchange_at_once(engine, requests)
    assert [response.problem()["traceId"] for response in responses] == traces
