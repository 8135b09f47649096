"""`sluice bench`: what it counts is what happened, and a lost record does not pass."""

import json
import shutil
import subprocess
import time
import xml.etree.ElementTree

import pytest

import forms
import harness

SEGMENT = {"segment_bytes": 4 << 20}
EX_USAGE, EX_NOINPUT = 64, 66


def bench(engine, *options, expected=0):
    """Runs the command against the engine; returns its JSON document."""
    url = "http://{}:{}".format(*engine.address)
    done = subprocess.run([harness.engine_binary(), "bench", url, "--json", "-", *map(str, options)],
                          capture_output=True, timeout=harness.COMMAND_S, check=False)
    assert done.returncode == expected, done.stderr.decode()
    return json.loads(done.stdout)


def test_a_closed_loop_counts_what_is_on_disk(fleet, tmp_path):
    data = tmp_path / "data"
    engine = fleet.start(data, SEGMENT)
    result = bench(engine, "--seconds", 1, "--connections", 8, "--pipeline", 4, "--threads", 2,
                   "--data", data, "--server-pid", engine.pid)
    engine.terminate()
    assert engine.wait() == 0
    stored = len(harness.cat(data))
    assert result["acknowledged"] == result["sent"] == result["statuses"]["201"] == stored > 0
    assert result["receiptsChecked"] == stored and result["receiptsMissing"] == 0
    assert result["unanswered"] == result["wrongDigests"] == 0
    latency = result["latencyNs"]
    assert 0 < latency["p50"] <= latency["p99"] <= latency["max"]
    assert result["serverCpuSeconds"] >= 0


@pytest.mark.parametrize("arrivals", ["constant", "poisson"])
def test_an_open_loop_sends_what_its_schedule_says(fleet, tmp_path, arrivals):
    data = tmp_path / "data"
    engine = fleet.start(data, SEGMENT)
    result = bench(engine, "--arrivals", arrivals, "--rate", 500, "--seconds", 2, "--seed", 7,
                   "--connections", 16, "--data", data)
    assert result["acknowledged"] == result["sent"] == result["receiptsChecked"]
    assert 999 <= result["sent"] <= 1000 if arrivals == "constant" else 850 < result["sent"] < 1150
    again = bench(engine, "--arrivals", arrivals, "--rate", 500, "--seconds", 2, "--seed", 7)
    assert again["sent"] == result["sent"]


def test_a_burst_has_one_submission_of_each_patient(fleet, tmp_path):
    data = tmp_path / "data"
    bodies = tmp_path / "bodies.ndjson"
    bodies.write_bytes(b"\n".join(forms.synthetic(50)) + b"\n")
    engine = fleet.start(data, SEGMENT)
    result = bench(engine, "--arrivals", "burst", "--patients", 3000, "--compress", 7200,
                   "--connections", 32, "--bodies", bodies, "--data", data)
    assert result["acknowledged"] == result["sent"] == 3000
    identities = [record["submissionId"] for record in harness.cat(data)]
    assert len(set(identities)) == 3000, "each request has an id of its own"


def test_a_record_that_is_not_there_fails_the_run(fleet, tmp_path):
    """The directory that is looked into is an older copy of the engine's."""
    engine = fleet.start(tmp_path / "data", SEGMENT)
    bench(engine, "--seconds", 1, "--connections", 1)
    shutil.copytree(tmp_path / "data", tmp_path / "copy")
    result = bench(engine, "--seconds", 1, "--connections", 1, "--data", tmp_path / "copy",
                   expected=1)
    assert result["receiptsMissing"] == result["receiptsChecked"] > 0


def test_receipts_beyond_the_limit_fail_the_run(fleet, tmp_path):
    data = tmp_path / "data"
    engine = fleet.start(data, SEGMENT)
    options = ["--arrivals", "constant", "--rate", 101, "--seconds", 1, "--connections", 4,
               "--data", data, "--receipts"]
    count = bench(engine, *options, 1000)["receiptsChecked"]  # the schedule's, so the same again
    assert bench(engine, *options, count)["receiptsChecked"] == count > 64
    assert bench(engine, *options, count - 1, expected=2)["receiptsChecked"] == count - 1


def wait_for_a_record(data):
    """Until the mark of journal 0 or 1 says that something is durable (docs/segment-format.md, 8)."""
    deadline = time.monotonic() + harness.START_S
    while time.monotonic() < deadline:
        marks = (data / "watermark").read_bytes()[64:192]
        if any(marks):
            return
    raise AssertionError("nothing became durable")


def test_an_engine_that_dies_costs_answers_and_not_the_run(fleet, tmp_path):
    engine = fleet.start(tmp_path / "data", SEGMENT)
    url = "http://{}:{}".format(*engine.address)
    process = subprocess.Popen(
        [harness.engine_binary(), "bench", url, "--json", "-", "--arrivals", "constant", "--rate",
         "2000", "--seconds", "2", "--connections", "8", "--drain-seconds", "1"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        wait_for_a_record(tmp_path / "data")
        engine.kill()
        out, err = process.communicate(timeout=harness.COMMAND_S)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, err.decode()
    result = json.loads(out)
    assert result["acknowledged"] + result["unanswered"] <= result["sent"]
    assert result["connectFailures"] > 0 and result["backlogAtEnd"] > 0


def test_the_plot_is_an_image_with_a_line_for_each_panel(fleet, tmp_path):
    engine = fleet.start(tmp_path / "data", SEGMENT)
    plot = tmp_path / "plot.svg"
    bench(engine, "--arrivals", "poisson", "--rate", 200, "--seconds", 1, "--svg", plot)
    lines = xml.etree.ElementTree.parse(plot).getroot().findall(
        "{http://www.w3.org/2000/svg}polyline")
    assert len(lines) == 3
    assert all(len(line.get("points").split()) >= 100 for line in lines)


@pytest.mark.parametrize("options, code, says", [
    (["--arrivals", "burst"], EX_USAGE, "--patients"),
    (["--arrivals", "poisson"], EX_USAGE, "--rate"),
    (["--arrivals", "sometimes"], EX_USAGE, "--arrivals sometimes"),
    (["--body-bytes", "74"], EX_USAGE, "--body-bytes 74"),
    (["--body-bytes", "65537"], EX_USAGE, "--body-bytes 65537"),
    (["--connections", "60001"], EX_USAGE, "--connections 60001"),
    (["--threads", "3", "--connections", "2"], EX_USAGE, "--connections"),
    (["--bodies", "/nonexistent"], EX_NOINPUT, "/nonexistent"),
])
def test_wrong_options_are_named(options, code, says):
    done = subprocess.run([harness.engine_binary(), "bench", "127.0.0.1:1", *options],
                          capture_output=True, text=True, timeout=harness.COMMAND_S, check=False)
    assert done.returncode == code
    assert says in done.stderr and done.stdout == ""


def test_an_address_where_nobody_listens_is_named():
    done = subprocess.run([harness.engine_binary(), "bench", "127.0.0.1:1"], capture_output=True,
                          text=True, timeout=harness.COMMAND_S, check=False)
    assert done.returncode == 2
    assert "127.0.0.1:1" in done.stderr


@pytest.mark.parametrize("size", [75, 76, 90, 570, 65536])
def test_synthetic_bodies_have_the_size_asked_for(fleet, tmp_path, size):
    engine = fleet.start(tmp_path / "data", {**SEGMENT, "body_bytes_max": 65536})
    bench(engine, "--arrivals", "constant", "--rate", 20, "--seconds", 1, "--connections", 1,
          "--body-bytes", size)
    engine.terminate()
    assert engine.wait() == 0
    raw = subprocess.run([harness.engine_binary(), "cat", "--raw", "--limit", "1",
                          str(tmp_path / "data")], capture_output=True, check=True).stdout
    assert len(raw) == size + 1
