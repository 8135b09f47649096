"""`sluice tail`: every durable record once, across rolls, seals, SIGKILL and restarts, and no record that
is not there afterwards (promise P8)."""

import json
import os
import select
import subprocess
import time

import pytest

import client
import forms
import harness
from client import submission
from ledger import Ledger, by_journal
from load import PIPELINED, PLAIN, Load, Trigger

SEGMENT = {"segment_bytes": 1 << 20}
SEEN_S = 20.0 * harness.TIME_FACTOR


class Tail:
    """A running `sluice tail`; reads its lines as they come."""

    def __init__(self, data, *options):
        self.process = subprocess.Popen(
            [harness.engine_binary(), "tail", str(data), *options], stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        os.set_blocking(self.process.stdout.fileno(), False)
        self.rest = b""
        self.records = []

    def read_until(self, count):
        """Reads until `count` records were printed in all."""
        deadline = time.monotonic() + SEEN_S
        while len(self.records) < count:
            left = deadline - time.monotonic()
            assert select.select([self.process.stdout], [], [], max(left, 0))[0], (
                f"{len(self.records)} of {count} records seen")
            some = os.read(self.process.stdout.fileno(), 1 << 20)
            assert some, self.process.stderr.read().decode()
            *lines, self.rest = (self.rest + some).split(b"\n")
            self.records += map(json.loads, lines)
        return self.records

    def close(self):
        self.process.terminate()
        self.process.wait(harness.STOP_S)
        self.process.stdout.close()
        self.process.stderr.close()


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
    seen = tails[0].read_until(len(stored))
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
    while not select.select([from_now.process.stdout], [], [], 0)[0]:
        client.submit(engine.address, submission(submissionId=f"after-{sent}"))
        sent += 1
        assert sent < 10_000
    seen = from_now.read_until(1)
    assert "before" not in {record["submissionId"] for record in seen}
    assert everything.read_until(1 + sent)[0]["submissionId"] == "before"


def test_a_tail_of_one_journal_prints_raw_bodies(fleet, tmp_path, tails):
    data = tmp_path / "data"
    engine = fleet.start(data, SEGMENT, cores=harness.ONE_CORE)
    body = submission(submissionId="raw")
    tail = Tail(data, "--raw", "--journal", "0", "--from", "1")
    tails.append(tail)
    client.submit(engine.address, body)
    assert tail.read_until(1) == [json.loads(body)]
