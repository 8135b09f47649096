"""Cores, memory, descriptors, filesystems and configuration: what the engine finds at its start, what
it does with it, and what it says when something is missing."""

import os
import pathlib
import re
import resource
import shutil
import subprocess
import tempfile

import pytest

import client
import forms
import harness
from client import submission
from ledger import Ledger, check_directory
from load import PIPELINED, PLAIN, SPLIT, Load
from segment_reader import crc32c

SEGMENT = {"segment_bytes": 4 << 20}
ALL_CORES = sorted(os.sched_getaffinity(0))
EX_DATAERR, EX_OSERR, EX_TEMPFAIL, EX_CONFIG = 65, 71, 75, 78

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
needs_two_cores = pytest.mark.skipif(len(ALL_CORES) < 2, reason="needs two cores")


def threads_and_cores(engine):
    """Thread name -> the CPUs it may run on."""
    found = {}
    for task in pathlib.Path(f"/proc/{engine.pid}/task").iterdir():
        status = (task / "status").read_text()
        name = re.search(r"^Name:\s+(\S+)$", status, re.MULTILINE)[1]
        found[name] = re.search(r"^Cpus_allowed_list:\s+(\S+)$", status, re.MULTILINE)[1]
    return found


def send(engine, count, seeded, transport=PLAIN, connections=16):
    ledger = Ledger(forms.synthetic(count))
    Load(engine.address, ledger, seeded, transport, connections=connections).run(range(count))
    return ledger


def refused_with(process_arguments, **options):
    done = subprocess.run(process_arguments, stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=harness.START_S, **options)
    assert done.stdout == ""
    return done


def test_each_core_has_a_pair_of_threads_pinned_to_it(fleet, tmp_path):
    engine = fleet.start(tmp_path / "data", SEGMENT)
    found = threads_and_cores(engine)
    for index, core in enumerate(ALL_CORES):
        assert found[f"sluice-in-{index}"] == str(core)
        assert found[f"sluice-wk-{index}"] == str(core)


def test_cores_selects(fleet, tmp_path):
    engine = fleet.start(tmp_path / "data", SEGMENT, cores=str(ALL_CORES[-1]))
    found = threads_and_cores(engine)
    assert found["sluice-in-0"] == found["sluice-wk-0"] == str(ALL_CORES[-1])
    assert "sluice-in-1" not in found


@pytest.mark.parametrize("cores", ["4095", "x", "0-", "", "0,0", "1-0"])
def test_cores_that_are_not_there_or_not_a_list_are_refused(tmp_path, cores):
    refused = refused_with(harness.serve_command(tmp_path / "data", {}, cores))
    assert refused.returncode == EX_CONFIG
    assert "core" in refused.stderr
    assert not (tmp_path / "data" / "node").exists()


def test_the_printed_memory_budget_is_the_sum_of_its_lines(fleet, tmp_path):
    engine = fleet.start(tmp_path / "data", SEGMENT)
    lines = re.findall(r"event=memory pool=.* count=(\d+) bytes_each=(\d+) bytes=(\d+) reason=\"(.+)\"",
                       engine.log())
    total = int(re.search(r"event=memory-budget bytes=(\d+)", engine.log())[1])
    assert len(lines) >= 10
    assert all(int(count) * int(each) == int(both) for count, each, both, _ in lines)
    assert sum(int(both) for _, _, both, _ in lines) == total


@pytest.mark.skipif(bool(harness.SANITIZER), reason="a sanitizer has memory of its own")
def test_load_stays_within_the_memory_budget(fleet, tmp_path, seeded):
    engine = fleet.start(tmp_path / "data", SEGMENT)
    total = int(re.search(r"event=memory-budget bytes=(\d+)", engine.log())[1])
    before = engine.resident_bytes()
    send(engine, 5000, seeded, PIPELINED, connections=48)
    # all of it is resident from the start: load adds what the program itself touches first
    assert engine.resident_bytes() - before < 8 << 20
    assert engine.resident_bytes() < total + (32 << 20)


def test_too_few_descriptors_are_refused_with_the_number(tmp_path):
    command = harness.serve_command(tmp_path / "data", {"connections_max": 4000}, harness.ONE_CORE)
    refused = refused_with(command, preexec_fn=lambda: resource.setrlimit(
        resource.RLIMIT_NOFILE, (512, 512)))
    assert refused.returncode == EX_OSERR
    assert "open-file limit is 512" in refused.stderr
    assert "connections_max" in refused.stderr


@pytest.fixture
def open_directory():
    """A directory that another user may write to."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="sluice-test-"))
    path.chmod(0o777)
    yield path
    shutil.rmtree(path)


def become_nobody(locked_memory_bytes):
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (locked_memory_bytes, locked_memory_bytes))
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)


@needs_root
@pytest.mark.skipif(bool(harness.SANITIZER), reason="the sanitized binary needs more than that")
@pytest.mark.parametrize("locked_memory_bytes", [64 << 10, 1500 << 10],
                         ids=["too-little-for-rings", "too-little-for-batches"])
def test_too_little_lockable_memory_is_refused_with_what_to_change(
        open_directory, locked_memory_bytes):
    binary = shutil.copy(harness.engine_binary(), open_directory / "sluice")
    data = open_directory / "data"
    command = [str(binary), *harness.serve_command(data, SEGMENT, harness.ONE_CORE)[1:]]
    refused = refused_with(command, preexec_fn=lambda: become_nobody(locked_memory_bytes))
    assert refused.returncode == EX_OSERR
    assert f"lock {locked_memory_bytes} bytes (RLIMIT_MEMLOCK)" in refused.stderr
    assert "registered_buffers=0" in refused.stderr


@needs_root
def test_a_filesystem_without_direct_io_gets_buffered_writes_and_a_warning(
        fleet, tmp_path, seeded):
    mounted = tmp_path / "ramfs"
    mounted.mkdir()
    if subprocess.run(["mount", "-t", "ramfs", "none", mounted], capture_output=True).returncode:
        pytest.skip("cannot mount a ramfs here")
    try:
        data = mounted / "data"
        engine = fleet.start(data, SEGMENT)
        assert "event=no-direct-io" in engine.log()
        ledger = send(engine, 3000, seeded)
        engine.kill()
        engine.wait()
        engine = fleet.start(data, SEGMENT)
        check_directory(ledger, data)
        engine.terminate()
        assert engine.wait() == 0
    finally:
        subprocess.run(["umount", mounted], check=True)


@pytest.mark.parametrize("setting", ["direct_descriptors", "registered_buffers"])
def test_the_engine_works_without_a_kernel_feature(fleet, tmp_path, seeded, setting):
    data = tmp_path / "data"
    engine = fleet.start(data, {**SEGMENT, setting: 0})
    ledger = send(engine, 3000, seeded, PIPELINED)
    check_directory(ledger, data)


@pytest.mark.parametrize("limits", [
    {"receive_buffers_max": 8, "receive_buffer_bytes": 1024},
    {"send_buffers_max": 8, "send_buffer_bytes": 8192},
    {"pipeline_depth_max": 1},
    {"run_requests_max": 1},
    {"large_arenas_max": 1, "body_bytes_max": 1024},
], ids=lambda limits: next(iter(limits)))
@pytest.mark.parametrize("transport", [PIPELINED, SPLIT], ids=lambda transport: transport.name)
def test_the_smallest_pools_only_slow_things_down(fleet, tmp_path, seeded, limits, transport):
    data = tmp_path / "data"
    engine = fleet.start(data, {**SEGMENT, **limits})
    ledger = send(engine, 2000, seeded, transport, connections=48)
    check_directory(ledger, data)


def files_in(data):
    return {path: path.read_bytes() for path in data.rglob("*") if path.is_file()}


def test_a_newer_format_is_refused_and_left_alone(fleet, tmp_path):
    data = tmp_path / "data"
    engine = fleet.start(data, SEGMENT)
    client.submit(engine.address, submission())
    engine.terminate()
    assert engine.wait() == 0
    node = data / "node"
    node.write_text(node.read_text().replace("format 1.0", "format 2.0"))
    before = files_in(data)
    refused = harness.serve_to_exit(data, SEGMENT)
    assert refused.returncode == EX_DATAERR
    assert "format 2" in refused.stderr
    assert files_in(data) == before
    for command in ("cat", "verify"):
        assert b"format 2" in harness.run(command, data).stderr


@pytest.mark.parametrize("sealed", [False, True], ids=["open", "sealed"])
def test_a_segment_of_a_newer_format_is_refused_by_name_and_left_alone(
        fleet, tmp_path, seeded, sealed):
    data = tmp_path / "data"
    settings = {"segment_bytes": 1 << 20}
    engine = fleet.start(data, settings, cores=harness.ONE_CORE)
    send(engine, 3000 if sealed else 50, seeded)
    engine.terminate()
    assert engine.wait() == 0
    segment = data / "journal-0000" / f"0000000001.{'sealed' if sealed else 'open'}"
    segment.chmod(0o644)
    header = bytearray(segment.read_bytes()[:4096])
    header[8:10] = (2).to_bytes(2, "little")  # version_major
    header[4092:] = crc32c(header[:4092]).to_bytes(4, "little")
    with open(segment, "r+b") as file:
        file.write(header)
    before = files_in(data)
    refused = harness.serve_to_exit(data, settings)
    assert refused.returncode == EX_DATAERR
    assert refused.stdout == ""
    assert f"{segment} at offset 8: segment format has another major version" in refused.stderr
    assert files_in(data) == before
    verified = harness.run("verify", data)
    assert verified.returncode == 1
    assert f"{segment}: offset 8: segment format has another major".encode() in verified.stdout
    assert harness.run("cat", data).returncode != 0


def test_damage_is_refused_named_and_left_alone(fleet, tmp_path, seeded):
    data = tmp_path / "data"
    engine = fleet.start(data, SEGMENT, cores=harness.ONE_CORE)
    send(engine, 500, seeded)
    engine.terminate()
    assert engine.wait() == 0
    segment = data / "journal-0000" / "0000000001.open"
    with open(segment, "r+b") as file:
        file.seek(4096 + 200)
        byte = file.read(1)
        file.seek(4096 + 200)
        file.write(bytes([byte[0] ^ 1]))
    before = segment.read_bytes()
    refused = harness.serve_to_exit(data, SEGMENT)
    assert refused.returncode == EX_DATAERR
    assert f"{segment} at offset 4096" in refused.stderr
    assert segment.read_bytes() == before
    verified = harness.run("verify", data)
    assert verified.returncode == 1
    assert f"{segment}: offset 4096".encode() in verified.stdout


def test_a_port_in_use_is_refused(fleet, tmp_path):
    engine = fleet.start(tmp_path / "data", SEGMENT)
    address = "%s:%d" % engine.address
    command = harness.serve_command(tmp_path / "other", {**SEGMENT, "bind_wait_ms": 50}, None)
    command[command.index("--listen") + 1] = address
    refused = refused_with(command)
    assert refused.returncode == EX_TEMPFAIL
    assert address in refused.stderr
    client.submit(engine.address, submission())


def test_an_engine_that_was_killed_can_be_started_on_its_port_at_once(fleet, tmp_path):
    data = tmp_path / "data"
    engine = fleet.start(data, SEGMENT)
    port = engine.address[1]
    for _ in range(5):
        client.submit(engine.address, submission())
        engine.kill()
        engine.wait()
        engine = harness.Engine(data, tmp_path / "again.log",
                                {**SEGMENT}, None, {}, listen=f"127.0.0.1:{port}")
        fleet.engines.append(engine)
        assert engine.address[1] == port


@needs_two_cores
def test_fewer_cores_than_before_keep_every_journal_readable(fleet, tmp_path, seeded):
    data = tmp_path / "data"
    engine = fleet.start(data, SEGMENT)
    first = send(engine, 1000, seeded)
    engine.terminate()
    assert engine.wait() == 0
    engine = fleet.start(data, SEGMENT, cores=harness.ONE_CORE)
    receipt = client.submit(engine.address, submission(submissionId="later"))
    records = harness.cat(data)
    assert len(records) == 1001
    assert [r["sequence"] for r in records if r["submissionId"] == "later"] == [receipt["sequence"]]
    assert first.unacknowledged() == []
    harness.verify(data)


@needs_two_cores
def test_an_idle_worker_takes_from_its_siblings_queue(fleet, tmp_path, seeded):
    data = tmp_path / "data"
    engine = fleet.start(data, {**SEGMENT, "steal_depth_min": 1})
    ledger = Ledger(forms.synthetic(4000))
    # one connection belongs to one ingress: what lands in the other journal was taken over
    Load(engine.address, ledger, seeded, PIPELINED, connections=1).run(range(4000))
    check_directory(ledger, data)
    assert {record["journal"] for record in harness.cat(data)} == {0, 1}


@pytest.mark.parametrize("limits", [{"queue_slots": 2}, {"requests_max": 4}],
                         ids=["queues", "requests"])
def test_what_exceeds_a_bound_is_answered_503_and_not_stored(fleet, tmp_path, limits):
    data = tmp_path / "data"
    engine = fleet.start(data, {**SEGMENT, **limits}, cores=harness.ONE_CORE)
    stored = refused = 0
    for attempt in range(40):
        with client.Connection(engine.address) as connection:
            bodies = [submission(submissionId=f"{attempt}-{i}") for i in range(32)]
            connection.send(b"".join(client.post(body) for body in bodies))
            for _ in bodies:
                response = connection.response()
                if response.status == 201:
                    stored += 1
                    continue
                assert response.status == 503
                assert int(response.headers["retry-after"]) > 0
                refused += 1
                if response.closes:
                    break
    assert stored > 0 and refused > 0
    assert len(harness.cat(data)) >= stored
    accepted = {record["submissionId"] for record in harness.cat(data)}
    assert len(accepted) == stored


def test_a_configuration_file_sets_limits_and_names_its_faults(fleet, tmp_path):
    file = tmp_path / "sluice.yaml"
    file.write_text("body_bytes_max: 2048\nsegment_bytes: 4194304\n")
    shown = harness.run("config", "--config", file)
    assert shown.returncode == 0
    assert b"body_bytes_max: 2048\n" in shown.stdout
    file.write_bytes(shown.stdout)  # what it prints, it reads
    assert harness.run("config", "--config", file).stdout == shown.stdout
    file.write_text("body_bytes_max: 2048\nno_such_key: 1\n")
    refused = harness.run("config", "--config", file)
    assert refused.returncode == EX_CONFIG
    assert b"no_such_key" in refused.stderr and str(file).encode() in refused.stderr
