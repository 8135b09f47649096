"""What a start makes of a data directory that is not as a stop left it, and how the commands end
that meet damage in one (promises P1, P4 and P8)."""

import os
import shutil

import pytest

import client
import harness
from client import submission

SETTINGS = {"segment_bytes": 4 << 20, "mark_idle_ms": 60000}  # no mark behind the last batch
ALL_CORES = sorted(os.sched_getaffinity(0))
EX_DATAERR = 65

needs_two_cores = pytest.mark.skipif(len(ALL_CORES) < 2, reason="needs two cores")


def fill_and_kill(fleet, data, count, journal=0):
    """`count` submissions, all in the journal asked for; then SIGKILL."""
    engine = fleet.start(data, SETTINGS)
    stored = 0
    while stored < count:
        stored += client.submit(engine.address, submission())["journal"] == journal
    engine.kill()
    engine.wait()


def forget_mark(data, journal):
    """What a power cut may do to the watermark file, which is not flushed."""
    with open(data / "watermark", "r+b") as file:
        file.seek(64 + 64 * journal)
        file.write(bytes(8))


def shown(data, journal):
    return [record["sequence"] for record in harness.cat(data, "--journal", journal)]


def test_a_start_publishes_what_it_found_durable(fleet, tmp_path):
    data = tmp_path / "data"
    fill_and_kill(fleet, data, 3)
    before = shown(data, 0)
    forget_mark(data, 0)
    assert shown(data, 0) == before[:-1], "the last batch is not proved by anything"
    fleet.start(data, SETTINGS)
    assert shown(data, 0) == before


@needs_two_cores
def test_a_start_on_fewer_cores_makes_the_other_journals_whole_too(fleet, tmp_path):
    data = tmp_path / "data"
    fill_and_kill(fleet, data, 3, journal=1)
    before = shown(data, 1)
    forget_mark(data, 1)
    [segment] = [path for path in (data / "journal-0001").glob("*.open")
                 if path.read_bytes()[:8] == b"SLUICSEG"]
    end = len(segment.read_bytes().rstrip(b"\0")) + 4095 & ~4095
    with open(segment, "r+b") as file:
        file.seek(end)
        file.write(b"a write that was cut off")
    fleet.start(data, SETTINGS, cores=harness.ONE_CORE)
    assert shown(data, 1) == before
    [torn] = (data / "torn").iterdir()
    assert torn.name.startswith("journal-0001-")
    assert torn.read_bytes().startswith(b"a write that was cut off")
    assert segment.read_bytes()[end:].strip(b"\0") == b""


@needs_two_cores
def test_a_journal_that_is_gone_with_its_records_is_refused(fleet, tmp_path):
    """Also one that this engine, on fewer cores, would not write to."""
    data = tmp_path / "data"
    fill_and_kill(fleet, data, 1, journal=1)
    shutil.rmtree(data / "journal-0001")
    with pytest.raises(harness.EngineFailed) as refused:
        fleet.start(data, SETTINGS, cores=harness.ONE_CORE)
    assert f"exit code {EX_DATAERR} " in str(refused.value)
    assert str(data / "journal-0001") in str(refused.value)


def test_cat_that_meets_damage_shows_what_comes_before_and_ends_with_1(fleet, tmp_path):
    data = tmp_path / "data"
    fill_and_kill(fleet, data, 3)
    whole = harness.run("cat", "--journal", 0, data)
    assert whole.returncode == 0
    segment = data / "journal-0000" / "0000000001.open"
    content = bytearray(segment.read_bytes())
    second = content.index(b"SLUICBAT", content.index(b"SLUICBAT") + 4096)
    content[second + 200] ^= 1
    segment.write_bytes(content)
    cut = harness.run("cat", "--journal", 0, data)
    assert cut.returncode == 1
    assert f"{segment} at offset {second}".encode() in cut.stderr
    assert whole.stdout.startswith(cut.stdout) and cut.stdout.count(b"\n") == 1
