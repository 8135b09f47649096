"""`sluice cat` and `sluice verify` beside a running engine: a reader never sees a record that later
vanishes or changes (promise P8), and sees all that was acknowledged before it started."""

import concurrent.futures
import contextlib
import json
import stat

import pytest

import forms
import harness
from ledger import Ledger, by_journal, check_directory, check_sequences
from load import Load, Trigger

SETTINGS = {"segment_bytes": 1 << 20}  # rolls and seals several times under this load
FORM_COUNT = 12000


@contextlib.contextmanager
def running(function, *arguments):
    """Runs it in a thread; its exception, if any, comes out at the end of the block."""
    with concurrent.futures.ThreadPoolExecutor(1) as executor:
        future = executor.submit(function, *arguments)
        yield future
        future.result()


def lines_by_journal(lines):
    journals = {}
    for line in lines:
        journals.setdefault(json.loads(line)["journal"], []).append(line)
    return journals


def check_is_continued(earlier, later):
    """In each journal, what was shown earlier begins what is shown later."""
    for journal, lines in earlier.items():
        assert later.get(journal, [])[:len(lines)] == lines, f"journal {journal}"


def sealed_segments(data):
    return [path for path in data.rglob("*")
            if path.is_file() and not path.stat().st_mode & (stat.S_IWUSR | stat.S_IWGRP)]


def test_cat_beside_the_engine_shows_all_that_was_acknowledged_and_only_grows(
        fleet, tmp_path, seeded):
    data = tmp_path / "data"
    engine = fleet.start(data, SETTINGS)
    ledger = Ledger(forms.synthetic(FORM_COUNT))
    shown = [{}]
    load = Load(engine.address, ledger, seeded, connections=32)
    with running(load.run, range(FORM_COUNT), Trigger(engine.kill, acks=FORM_COUNT - 500)) as job:
        while not job.done():
            acknowledged = dict(ledger.receipts)
            lines = harness.cat_lines(data)
            records = [json.loads(line) for line in lines]
            check_sequences(records)
            places = {(record["journal"], record["sequence"]) for record in records}
            assert acknowledged.keys() <= places
            shown.append(lines_by_journal(lines))
            check_is_continued(shown[-2], shown[-1])
    assert len(shown) > 3, "the load was too short to say anything"
    assert engine.wait() == -9

    check_is_continued(shown[-1], lines_by_journal(harness.cat_lines(data)))
    engine = fleet.start(data, SETTINGS)
    check_is_continued(shown[-1], lines_by_journal(harness.cat_lines(data)))
    Load(engine.address, ledger, seeded).run(ledger.unacknowledged())
    check_directory(ledger, data)


def test_verify_beside_the_engine_finds_nothing_wrong(fleet, tmp_path, seeded):
    data = tmp_path / "data"
    engine = fleet.start(data, SETTINGS)
    ledger = Ledger(forms.synthetic(FORM_COUNT))
    load = Load(engine.address, ledger, seeded, connections=32)
    verified = 0
    with running(load.run, range(FORM_COUNT)) as job:
        while not job.done():
            harness.verify(data)
            verified += 1
    assert verified > 3
    check_directory(ledger, data)
    assert len(sealed_segments(data)) > 2


@pytest.fixture
def filled(fleet, tmp_path, seeded):
    """A running engine's data directory with several sealed segments, and its ledger."""
    data = tmp_path / "data"
    engine = fleet.start(data, SETTINGS)
    ledger = Ledger(forms.synthetic(4000))
    Load(engine.address, ledger, seeded).run(range(4000))
    return data, ledger


def test_cat_selects_by_journal_sequence_and_count(filled, seeded):
    data, _ = filled
    journals = by_journal(harness.cat(data))
    for journal, records in journals.items():
        assert harness.cat(data, "--journal", journal) == records
        for _ in range(10):
            start, limit = seeded.randint(1, len(records)), seeded.randint(1, 500)
            options = ("--journal", journal, "--from", start, "--limit", limit)
            assert harness.cat(data, *options) == records[start - 1:start - 1 + limit]
        assert harness.cat(data, "--journal", journal, "--from", len(records)) == records[-1:]
        assert harness.cat(data, "--journal", journal, "--from", len(records) + 1) == []
    assert len(harness.cat(data, "--limit", 7)) == 7


def test_cat_raw_gives_bodies_and_nothing_else(filled):
    data, ledger = filled
    assert sorted(harness.cat_raw(data).splitlines()) == sorted(
        line for form in ledger.forms for line in form.splitlines())


def test_cat_shows_the_same_running_and_stopped(filled, fleet):
    data, ledger = filled
    running_lines = harness.cat_lines(data)
    fleet.engines[-1].terminate()
    assert fleet.engines[-1].wait() == 0
    assert harness.cat_lines(data) == running_lines
    check_directory(ledger, data)
    assert sealed_segments(data)


def test_cat_and_verify_fail_where_there_is_no_data(tmp_path):
    for command in ("cat", "verify"):
        done = harness.run(command, tmp_path / "nowhere")
        assert done.returncode not in (0, -6, -11)
        assert done.stdout == b""
        assert b"nowhere" in done.stderr
