"""`sluice repair`: what an operator does when the engine refuses to start, and what is there afterwards."""

import hashlib
import os
import shutil
import signal
import subprocess
import time

import pytest

import client
import harness
import segment_reader
from client import submission

SEGMENT_BYTES = 4 << 20
SEGMENT = {"segment_bytes": SEGMENT_BYTES}
EX_USAGE, EX_DATAERR, EX_TEMPFAIL = 64, 65, 75
RECORDS = 60


def fill(fleet, data, count=RECORDS, settings=SEGMENT):
    """A directory with `count` records in as many batches; returns their bodies, by sequence."""
    engine = fleet.start(data, settings, cores=harness.ONE_CORE)
    bodies = {}
    with client.Connection(engine.address) as connection:
        for index in range(count):
            body = submission(submissionId=f"n-{index}", visit="v" * (index % 50 + 1))
            connection.send(client.post(body))
            assert connection.response().status == 201
            bodies[index + 1] = body
    engine.terminate()
    assert engine.wait() == 0
    return bodies


def segment_of(data, number=1, suffix="open"):
    return data / "journal-0000" / f"{number:010d}.{suffix}"


def batches_of(path):
    """[(offset, bytes, first sequence, number of records)] by the headers alone."""
    content = path.read_bytes()
    found, offset = [], 4096
    while content[offset:offset + 8] == b"SLUICBAT":
        header = segment_reader.BATCH_HEADER.unpack_from(content, offset)
        found.append((offset, header[12], header[8], header[5]))
        offset += header[12]
    return found


def flip(path, offset):
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 4]))


def hashes(data):
    return {str(path.relative_to(data)): (path.stat().st_mode,
                                          hashlib.sha256(path.read_bytes()).hexdigest())
            for path in data.rglob("*") if path.is_file()}


def damage_record(data, sequence, number=1):
    """Flips a bit in the body of the record; returns the offset of its batch."""
    path = segment_of(data, number)
    for offset, _, first, count in batches_of(path):
        if first <= sequence < first + count:
            assert count == 1
            flip(path, offset + 128 + 250)
            return offset
    raise AssertionError(f"no record {sequence}")


def repair(data, *options, code=0):
    done = harness.run("repair", *options, data)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout.decode(), done.stderr.decode()


def check_records(data, bodies, lost, last):
    """cat and the loader that knows only the specification agree on what is there."""
    records = harness.cat(data)
    assert [record["sequence"] for record in records] == list(range(1, last + 1))
    for record in records:
        sequence = record["sequence"]
        assert record["kind"] == ("lost" if sequence in lost else "submission")
        if sequence in lost:
            assert record["body"] is None and record["submissionId"] is None
            assert record["timestamp"] is None
            assert record["sha256"] == hashlib.sha256(b"").hexdigest()
            assert [finding["code"] for finding in record["findings"]] == ["lost-to-damage"]
    kept = b"".join(bodies[n] + b"\n" for n in range(1, last + 1) if n not in lost and n in bodies)
    assert harness.cat_raw(data).startswith(kept)
    read = list(segment_reader.records(data))
    assert [record.sequence for record in read] == list(range(1, last + 1))
    assert {record.sequence for record in read if record.kind == "lost"} == set(lost)
    assert all(record.body == bodies[record.sequence] for record in read
               if record.kind != "lost" and record.sequence in bodies)


def test_the_way_from_a_refusal_to_service(fleet, tmp_path):
    data = tmp_path / "data"
    bodies = fill(fleet, data)
    offset = damage_record(data, 42)
    damaged = segment_of(data).read_bytes()
    refused = harness.serve_to_exit(data, SEGMENT)
    assert refused.returncode == EX_DATAERR
    assert f"sluice repair {data}" in refused.stderr
    verified = harness.run("verify", data)
    assert verified.returncode == 1 and f"sluice repair {data}".encode() in verified.stderr

    before = hashes(data)
    planned, message = repair(data, code=1)
    assert hashes(data) == before
    assert f"journal 0: damaged: {segment_of(data)} at offset {offset}: " in planned
    assert "journal 0: kept: 1-41\n" in planned
    assert f"journal 0: rescued: 43-{RECORDS}\n" in planned
    assert "journal 0: lost: 42-42\n" in planned
    assert f"journal 0: next: {RECORDS + 1}\n" in planned
    assert "nothing was changed" in message and f"read beyond {RECORDS}" in message

    printed, message = repair(data, "--apply")
    *same, original = printed.splitlines()
    assert same == planned.splitlines()[:-1]
    assert "nothing was changed" not in message and f"read beyond {RECORDS}" in message
    kept = original.removeprefix("journal 0: original: ")
    assert kept.startswith(f"{data}/damaged/journal-0000-0000000001-{offset}-")
    with open(kept, "rb") as file:
        assert file.read() == damaged
    harness.verify(data)
    check_records(data, bodies, {42}, RECORDS)
    assert repair(data)[0] == "journal 0: nothing to repair\n"

    engine = fleet.start(data, SEGMENT, cores=harness.ONE_CORE)
    receipt = client.submit(engine.address, submission(submissionId="later"))
    assert receipt["sequence"] == RECORDS + 1
    harness.verify(data)
    engine.kill()
    engine.wait()
    fleet.start(data, SEGMENT, cores=harness.ONE_CORE)
    check_records(data, bodies, {42}, RECORDS + 1)


def test_a_loader_that_stopped_at_the_damage_goes_on_from_its_cursor(fleet, tmp_path):
    data = tmp_path / "data"
    bodies = fill(fleet, data)
    damage_record(data, 20)
    stopped = harness.run("cat", data)
    assert stopped.returncode == 1
    taken = stopped.stdout.count(b"\n")
    assert taken == 19
    repair(data, "--apply")
    engine = fleet.start(data, SEGMENT, cores=harness.ONE_CORE)
    client.submit(engine.address, submission(submissionId="later"))
    rest = harness.cat(data, "--from", taken + 1)
    assert [record["sequence"] for record in rest] == list(range(20, RECORDS + 2))
    assert [record["kind"] for record in rest[:2]] == ["lost", "submission"]
    assert harness.cat_raw(data, "--from", 20, "--limit", 2) == bodies[21] + b"\n"


def test_a_damaged_footer_of_the_last_segment(fleet, tmp_path):
    data = tmp_path / "data"
    settings = {"segment_bytes": 1 << 20}
    engine = fleet.start(data, settings, cores=harness.ONE_CORE)
    bodies = {}
    with client.Connection(engine.address) as connection:
        while not segment_of(data, 1, "sealed").exists():
            body = submission(submissionId=f"n-{len(bodies)}")
            connection.send(client.post(body))
            assert connection.response().status == 201
            bodies[len(bodies) + 1] = body
    engine.kill()
    engine.wait()
    records = harness.cat(data)
    # as if the machine had stopped before the second one was taken into use
    sealed = segment_of(data, 1, "sealed")
    second = segment_of(data, 2)
    first_of_second = segment_reader.SEGMENT_HEADER.unpack_from(second.read_bytes())[8]
    for number in (2, 3):
        segment_of(data, number).unlink(missing_ok=True)
    mark = (data / "watermark").read_bytes()
    (data / "watermark").write_bytes(
        mark[:64] + (first_of_second - 1).to_bytes(8, "little") + mark[72:])
    flip(sealed, sealed.stat().st_size - 10)
    assert harness.serve_to_exit(data, settings).returncode == EX_DATAERR
    repair(data, "--apply")
    harness.verify(data)
    assert not sealed.exists()
    assert harness.cat(data) == records[:first_of_second - 1]
    engine = fleet.start(data, settings, cores=harness.ONE_CORE)
    receipt = client.submit(engine.address, submission(submissionId="later"))
    assert receipt["sequence"] == first_of_second
    harness.verify(data)


def test_damage_in_the_middle_is_refused_and_left_alone(fleet, tmp_path):
    data = tmp_path / "data"
    settings = {"segment_bytes": 1 << 20}
    fill(fleet, data, 300, settings)
    sealed = segment_of(data, 1, "sealed")
    sealed.chmod(0o644)
    flip(sealed, sealed.stat().st_size - 10)
    before = hashes(data)
    refused = harness.serve_to_exit(data, settings)
    assert refused.returncode == EX_DATAERR
    assert "sluice repair" not in refused.stderr
    printed, message = repair(data, "--apply", code=2)
    assert printed == ""
    assert f"damage in {sealed}" in message and "restore the file" in message
    assert hashes(data) == before
    assert b"sluice repair" not in harness.run("verify", data).stderr


def test_it_refuses_beside_a_running_engine(fleet, tmp_path):
    data = tmp_path / "data"
    engine = fleet.start(data, SEGMENT, cores=harness.ONE_CORE)
    client.submit(engine.address, submission())
    for options in ([], ["--apply"]):
        printed, message = repair(data, *options, code=EX_TEMPFAIL)
        assert printed == "" and "in use by another engine" in message


@pytest.mark.parametrize("arguments", [[], ["a", "b"], ["--force", "a"]])
def test_wrong_usage(arguments):
    assert harness.run("repair", *arguments).returncode == EX_USAGE


def test_what_is_no_data_directory_stays_as_it_is(tmp_path):
    printed, message = repair(tmp_path, "--apply", code=2)
    assert printed == "" and "not a Sluice data directory" in message
    assert list(tmp_path.iterdir()) == []
    repair(tmp_path / "missing", "--apply", code=2)
    assert not (tmp_path / "missing").exists()


def end_at_random(data, seeded, longest_s):
    """Starts a repair and kills it at a random moment; says whether it came to its end before."""
    process = subprocess.Popen([harness.engine_binary(), "repair", "--apply", str(data)],
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    try:
        code = process.wait(seeded.uniform(0, longest_s))
    except subprocess.TimeoutExpired:
        process.kill()
        code = process.wait(harness.STOP_S)
    assert code in (0, -signal.SIGKILL)
    return code == 0


def test_killed_at_any_moment_it_is_simply_run_again(fleet, tmp_path, seeded):
    data, copy = tmp_path / "data", tmp_path / "copy"
    bodies = fill(fleet, data, settings={"segment_bytes": 32 << 20})
    damage_record(data, 30)
    damaged = segment_of(data).read_bytes()
    shutil.copytree(data, copy)
    began = time.monotonic()
    repair(copy, "--apply")
    longest_s = time.monotonic() - began
    killed = 0
    for _ in range(3 if harness.SANITIZER else 12):
        shutil.rmtree(copy)
        shutil.copytree(data, copy)
        while not end_at_random(copy, seeded, longest_s):
            killed += 1
            now = segment_of(copy).read_bytes()  # it always has its name
            assert now == damaged or len(list((copy / "damaged").iterdir())) == 1
            if seeded.random() < 0.3:
                repair(copy, "--apply")
        kept = list((copy / "damaged").iterdir())
        assert [path.read_bytes() for path in kept] == [damaged]
        harness.verify(copy)
        check_records(copy, bodies, {30}, RECORDS)
    print(f"killed {killed} times, repairs take {longest_s * 1000:.0f} ms")
    fleet.start(copy, {"segment_bytes": 32 << 20}, cores=harness.ONE_CORE)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_full_disk_leaves_everything_as_it_was(fleet, tmp_path):
    mounted, data = tmp_path / "small", tmp_path / "small" / "data"
    mounted.mkdir()
    size = 4 * SEGMENT_BYTES
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", mounted],
                      capture_output=True).returncode:
        pytest.skip("cannot mount a tmpfs here")
    try:
        bodies = fill(fleet, data)
        damage_record(data, 42)
        filler = mounted / "filler"
        with open(filler, "wb") as file:
            os.posix_fallocate(file.fileno(), 0, size - 2 * SEGMENT_BYTES - (1 << 20))
        before = hashes(data)
        printed, message = repair(data, "--apply", code=2)
        assert printed == "" and "No space left on device" in message
        assert hashes(data) == before
        filler.unlink()
        repair(data, "--apply")
        check_records(data, bodies, {42}, RECORDS)
    finally:
        subprocess.run(["umount", mounted], check=True)
