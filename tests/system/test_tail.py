"""`sluice tail`: every durable record once, across rolls, seals, SIGKILL and restarts, and no record that
is not there afterwards (promise P8)."""

import json

import pytest

import client
import forms
import harness
from client import submission
from ledger import Ledger, by_journal
from load import PIPELINED, PLAIN, Load, Trigger
from tailing import Tail

SEGMENT = {"segment_bytes": 1 << 20}


def records(lines):
    return [json.loads(line) for line in lines]


@pytest.fixture
def tails():
    running = []
    yield running
    for tail in running:
        tail.close()


def test_a_tail_shows_each_record_once_through_kills_and_restarts(fleet, tmp_path, seeded, tails):
    data = tmp_path / "data"
    ledger = Ledger(forms.synthetic(4000))
    engine = fleet.start(data, SEGMENT)
    tails.append(Tail(data, "--from", "1"))
    for _ in range(4):
        Load(engine.address, ledger, seeded, PIPELINED, connections=16).run(
            ledger.unacknowledged(), Trigger(engine.kill, acks=seeded.randint(100, 900)))
        engine.wait()
        engine = fleet.start(data, SEGMENT)
    Load(engine.address, ledger, seeded, PLAIN, connections=16).run(ledger.unacknowledged())
    stored = harness.cat(data)
    seen = records(tails[0].read_until(len(stored)))
    assert by_journal(seen) == by_journal(stored)
    assert sum(path.suffix == ".sealed" for path in data.rglob("*")) >= 2


def test_a_tail_starts_from_now_unless_told_otherwise(fleet, tmp_path, tails):
    data = tmp_path / "data"
    engine = fleet.start(data, SEGMENT, cores=harness.ONE_CORE)
    client.submit(engine.address, submission(submissionId="before"))
    everything = Tail(data, "--from", "1")
    tails.append(everything)
    everything.read_until(1)
    from_now = Tail(data)
    tails.append(from_now)
    # that it has opened its reader shows when it takes something: send until it does
    sent = 0
    while not from_now.lines:
        client.submit(engine.address, submission(submissionId=f"after-{sent}"))
        sent += 1
        assert sent < 10_000
    assert "before" not in {record["submissionId"] for record in records(from_now.lines)}
    assert records(everything.read_until(1 + sent))[0]["submissionId"] == "before"


def test_a_tail_of_one_journal_prints_raw_bodies(fleet, tmp_path, tails):
    data = tmp_path / "data"
    engine = fleet.start(data, SEGMENT, cores=harness.ONE_CORE)
    body = submission(submissionId="raw")
    tail = Tail(data, "--raw", "--journal", "0", "--from", "1")
    tails.append(tail)
    client.submit(engine.address, body)
    assert tail.read_until(1) == [body]
