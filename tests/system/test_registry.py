"""The study registry against the real engine: findings in receipts, in `cat` and in segments; never
a refusal; and registries that keep the engine from starting, with file and line."""

import datetime
import hashlib
import json
import os
import pathlib
import subprocess
import threading

import pytest

import client
import forms
import harness
import segment_reader
from client import Connection, post, submission
from ledger import Ledger, as_in_receipt, check_directory
from load import PIPELINED, PLAIN, Load

EX_USAGE, EX_CONFIG = 64, 78
SHIPPED = harness.REPOSITORY / "docs/registries"
SEGMENT = {"segment_bytes": 4 << 20}

REGISTRY = """\
study: S
version: "v 7"
centers:
  - {id: C, planned_enrolment: 3, utc_offset: "+00:00"}
instruments:
  - instrument: I
  - instrument: DIARY
    windows: [{from: "18:00", to: "22:00"}]
---
instrument: I
versions:
  - version: "1"
    items:
      - {id: A, type: integer, min: 0, max: 3, required: true}
      - {id: B, type: text}
---
instrument: DIARY
versions:
  - version: "1"
    items: [{id: A, type: integer, min: 0, max: 3}]
"""


def write_registry(directory, text=REGISTRY):
    path = directory / "registry.yaml"
    path.write_text(text)
    return path


def version_of(path, label):
    return f"{hashlib.sha256(path.read_bytes()).hexdigest()[:16]} {label}"


def form(**members):
    return submission(**{"studyId": "S", "centerId": "C", "instrument": "I", "scores": {"A": 1},
                         **members})


def codes_of(receipt):
    """Each finding as "code" or "code:item"."""
    return [":".join(finding.values()) for finding in receipt["findings"]]


def from_now(seconds):
    now = datetime.datetime.now(datetime.timezone.utc)
    return (now + datetime.timedelta(seconds=seconds)).isoformat()


# A submission and what is found; every one of them is stored.
CASES = [
    (form(), []),
    (form(formVersion="1"), []),
    (form(studyId="T"), ["unknown-study"]),
    (form(studyId=None), ["unknown-study:not given"]),
    (form(centerId="D"), ["unknown-center"]),
    (form(instrument="J"), ["unknown-instrument"]),
    (form(formVersion="2"), ["unknown-version"]),
    (form(scores={"A": 3}), []),
    (form(scores={"A": 4}), ["out-of-range:A"]),
    (form(scores={"A": -1}), ["out-of-range:A"]),
    (form(scores={"A": 1.5}), ["wrong-type:A"]),
    (form(scores={"A": "1"}), ["wrong-type:A"]),
    (form(scores={"A": None}), ["missing-item:A"]),
    (form(scores={}), ["missing-item:A"]),
    (form(scores={"A": 1, "Z": 1}), ["unknown-item:Z"]),
    (form(instrument="DIARY", timestamp="2026-03-01T22:00:00+01:00"), []),
    (form(instrument="DIARY", timestamp="2026-03-01T22:00:01+01:00"), ["late"]),
    (form(instrument="DIARY", timestamp="2026-03-01T17:59:59-11:00"), ["early"]),
    (form(instrument="DIARY", timestamp=1772391900), []),  # 19:05 UTC
    (form(instrument="DIARY", centerId="D", timestamp=1772391900),
     ["unknown-center", "window-not-checked"]),
    (form(scores={f"Ω{n:03}" + "x" * 90: n for n in range(512)}), None),
    (form(scores={"\x01" * 128: 1}), None),
    (form(scores={f"item{n}": "x" * 100 for n in range(20)}), None),
]


@pytest.fixture(scope="module")
def checked(tmp_path_factory):
    """An engine with a registry, the receipts for CASES, and the data directory."""
    from conftest import running_fleet
    directory = tmp_path_factory.mktemp("registry")
    registry = write_registry(directory)
    with running_fleet(directory) as fleet:
        engine = fleet.start(directory / "data", {**SEGMENT, "registry": registry},
                             cores=harness.ONE_CORE)
        receipts = [client.submit(engine.address, body) for body, _ in CASES]
        yield engine, registry, receipts


def test_the_receipt_lists_the_findings(checked):
    _, _, receipts = checked
    for (body, expected), receipt in zip(CASES, receipts):
        if expected is not None:
            assert codes_of(receipt) == expected, body
    many = receipts[-3]["findings"]
    assert len(many) <= 16 and many[-1]["code"] == "more-findings"
    assert int(many[-1]["detail"]) == 513 - (len(many) - 1)  # 512 unknown and one missing
    assert receipts[-1]["findings"][15] == {"code": "more-findings", "detail": "6"}


def test_cat_says_what_the_receipt_said_and_which_registry_it_was(checked):
    engine, registry, receipts = checked
    records = harness.cat(engine.data)
    assert [as_in_receipt(record) for record in records] == receipts
    for (body, expected), record in zip(CASES, records):
        assert record["body"] == json.loads(body)
        unknown = expected is not None and expected[:1] in (["unknown-study"],
                                                            ["unknown-study:not given"])
        version = version_of(registry, "v 7")
        assert record["registryVersion"] == (version[:16] if unknown else version)
    harness.verify(engine.data)


def test_findings_and_version_are_in_the_segments(checked):
    engine, _, _ = checked
    printed = harness.cat(engine.data)
    done = subprocess.run(
        ["/usr/bin/python3", pathlib.Path(segment_reader.__file__), engine.data],
        capture_output=True, check=True, timeout=harness.COMMAND_S)
    read = [json.loads(line) for line in done.stdout.splitlines()]
    assert [r["findings"] for r in read] == [p["findings"] for p in printed]
    assert [r["registryVersion"] for r in read] == [p["registryVersion"] for p in printed]


def test_clocks_that_are_ahead(fleet, tmp_path):
    engine = fleet.start(tmp_path / "data", {**SEGMENT, "registry": write_registry(
        tmp_path, REGISTRY.replace('version: "v 7"',
                                   'version: x\nclock: {skew_s_max: 3600, future_s_max: 7200}'))})
    for ahead_s, expected in [(-86400 * 400, []), (0, []), (1800, []), (5400, ["clock-skew"]),
                              (9000, ["future-timestamp"]), (10**8, ["future-timestamp"])]:
        receipt = client.submit(engine.address, form(timestamp=from_now(ahead_s)))
        assert codes_of(receipt) == expected, ahead_s


def test_without_a_registry_nothing_is_checked(fleet, tmp_path):
    engine = fleet.start(tmp_path / "data", SEGMENT)
    for body, _ in CASES:
        assert "findings" not in client.submit(engine.address, body)
    for record in harness.cat(engine.data):
        assert record["findings"] == [] and "registryVersion" not in record


def test_no_submission_is_refused_because_of_the_registry(checked):
    """What is refused without a registry is, with the same words; nothing else is."""
    engine, _, _ = checked
    taken = [b'"A":1e999999999999', b'"A":-0.' + b"0" * 5000 + b"1", b'"A":' + b"9" * 30000,
             b'"A":"' + b"y" * 4096 + b'"', b'"A":-0', b'"A":"\\ud83d\\ude42"']
    refused = {b'"":1': 422, b'"A":[1]': 422, b'"A":1,"A":2': 400, b'"A":01': 400}
    members = b'"patientId":"P","timestamp":0,"studyId":"S","centerId":"C","instrument":"I"'
    expected = {**dict.fromkeys(taken, 201), **refused}
    with Connection(engine.address) as connection:
        for scores, status in expected.items():
            body = b'{%b,"scores":{%b}}' % (members, scores)
            assert connection.exchange(post(body)).status == status, scores[:40]
        for body in forms.awkward():
            assert connection.exchange(post(body)).status == 201


@pytest.mark.parametrize("transport", [PLAIN, PIPELINED], ids=lambda t: t.name)
def test_findings_are_those_of_the_own_submission_under_load(fleet, tmp_path, seeded, transport):
    registry = write_registry(tmp_path, forms.synthetic_registry())
    ledger = Ledger(forms.synthetic(3000))
    engine = fleet.start(tmp_path / "data", {**SEGMENT, "registry": registry})
    Load(engine.address, ledger, seeded, transport).run(ledger.unacknowledged())
    records = check_directory(ledger, engine.data)  # compares each receipt with its record
    for record in records:
        centre_is_known = 702 <= int(record["body"]["centerId"]) <= 717
        found = [finding["code"] for finding in record["findings"]]
        assert ("unknown-center" in found) != centre_is_known


def test_a_restart_takes_the_registry_as_it_is_then(fleet, tmp_path):
    data, versions = tmp_path / "data", []
    for label in ("one", "two"):
        registry = write_registry(tmp_path, REGISTRY.replace("v 7", label))
        engine = fleet.start(data, {**SEGMENT, "registry": registry}, cores=harness.ONE_CORE)
        client.submit(engine.address, form())
        engine.terminate()
        assert engine.wait() == 0
        versions.append(version_of(registry, label))
    assert [record["registryVersion"] for record in harness.cat(data)] == versions


def test_the_pilot_studys_forms_are_inside_the_shipped_registry(fleet, tmp_path, seeded):
    default = harness.REPOSITORY / "../shared/data"
    folder = pathlib.Path(os.environ.get("SLUICE_DATA", default))
    if not (folder / "cdisc-pilot-forms.ndjson").exists():
        pytest.skip(f"no cdisc-pilot-forms.ndjson in {folder}; set SLUICE_DATA")
    ledger = Ledger(forms.pilot())
    engine = fleet.start(tmp_path / "data", {"registry": SHIPPED})
    Load(engine.address, ledger, seeded, PIPELINED).run(ledger.unacknowledged())
    records = check_directory(ledger, engine.data)
    assert len(records) == forms.PILOT_COUNT
    assert [record for record in records if record["findings"]] == []


# --- Registries that are wrong, and the command -------------------------------------------------

BROKEN = [
    ("study: S\n  version: 1\n", "registry.yaml:2:10: this is not YAML"),
    (REGISTRY.replace("max: 3, required", "max: -3, required"), "registry.yaml:14:37: min is above"),
    (REGISTRY.replace("- instrument: I", "- instrument: K"),
     'registry.yaml:6:17: no file defines the instrument "K"'),
    (REGISTRY + "name: x\n", 'registry.yaml:21:1: an instrument has no key "name"'),
]


@pytest.mark.parametrize("text, message", BROKEN, ids=["yaml", "range", "reference", "key"])
def test_a_broken_registry_keeps_the_engine_from_starting(tmp_path, text, message):
    registry = write_registry(tmp_path, text)
    refused = harness.serve_to_exit(tmp_path / "data", {"registry": registry})
    assert refused.returncode == EX_CONFIG
    assert f"{tmp_path}/{message}" in refused.stderr
    assert refused.stdout == ""
    assert not (tmp_path / "data").exists(), "nothing is touched before the registry is right"
    checked = harness.run("registry", "check", registry)
    assert checked.returncode == 1
    assert f"{tmp_path}/{message}" in checked.stderr.decode() and checked.stdout == b""


def test_a_registry_that_is_not_there_is_a_wrong_configuration(tmp_path):
    refused = harness.serve_to_exit(tmp_path / "data", {"registry": tmp_path / "nothing.yaml"})
    assert refused.returncode == EX_CONFIG
    assert "nothing.yaml: cannot open the registry" in refused.stderr


def test_the_option_and_the_configuration_file_name_it_too(tmp_path):
    broken = write_registry(tmp_path, "nonsense: 1\n")
    (tmp_path / "sluice.yaml").write_text(f"registry: {broken}\n")
    for option in (["--registry", broken], ["--config", tmp_path / "sluice.yaml"]):
        refused = harness.run("serve", "--data", tmp_path / "data", "--listen", "127.0.0.1:0",
                              *option)
        assert refused.returncode == EX_CONFIG
        assert b"registry.yaml:1:1: a document is a mapping" in refused.stderr
    printed = harness.run("config", "--config", tmp_path / "sluice.yaml").stdout.decode()
    assert f"registry: '{broken}'" in printed


def test_check_says_what_is_in_the_shipped_registry():
    done = harness.run("registry", "check", SHIPPED)
    assert done.returncode == 0 and done.stderr == b""
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(SHIPPED.glob("*.yaml"))))
    lines = done.stdout.decode().splitlines()
    assert lines[0].startswith(f"registry {digest.hexdigest()[:16]}: ")
    assert ('study "EXAMPLE-01" version "1": 3 centres, 77 patients planned, 5 instruments') in lines
    assert 'instrument "PRO-CTCAE" version "1.0": 124 items, 0 required' in lines


@pytest.mark.parametrize("arguments", [[], ["check"], ["list", "x"], ["check", "a", "b"]])
def test_wrong_usage_of_the_command(arguments):
    assert harness.run("registry", *arguments).returncode == EX_USAGE


# --- reload ---------------------------------------------------------------------------------------

RELOADED = r"event=reloaded object=registry"
WIDER = REGISTRY.replace("max: 3, required", "max: 9, required").replace('"v 7"', '"v 8"')


def test_sighup_puts_another_registry_in_force(fleet, tmp_path):
    path = write_registry(tmp_path)
    engine = fleet.start(tmp_path / "data", {**SEGMENT, "registry": path}, harness.ONE_CORE)
    five = form(scores={"A": 5})
    assert codes_of(client.submit(engine.address, five)) == ["out-of-range:A"]
    before = version_of(path, "v 7")
    write_registry(tmp_path, WIDER)
    assert codes_of(client.submit(engine.address, five)) == ["out-of-range:A"], "not before SIGHUP"
    engine.reload()
    engine.wait_for_log(RELOADED)
    assert codes_of(client.submit(engine.address, five)) == []
    versions = [record["registryVersion"] for record in harness.cat(tmp_path / "data")]
    assert versions == [before, before, version_of(path, "v 8")]


def test_a_registry_that_cannot_be_loaded_leaves_the_old_one_in_force(fleet, tmp_path):
    path = write_registry(tmp_path)
    engine = fleet.start(tmp_path / "data", {**SEGMENT, "registry": path})
    write_registry(tmp_path, WIDER.replace("max: 9", "max: -1"))
    engine.reload()
    engine.wait_for_log(r"event=reload-failed object=registry error=\"[^\n]*registry.yaml:14:37: min is above max")
    assert codes_of(client.submit(engine.address, form(scores={"A": 5}))) == ["out-of-range:A"]


def test_a_reload_under_load_drops_and_refuses_nobody(fleet, tmp_path, seeded):
    """Two registries in turn, beneath a load; each receipt is by one of them, as its record is."""
    path = write_registry(tmp_path)
    data = tmp_path / "data"
    engine = fleet.start(data, {**SEGMENT, "registry": path})
    ledger = Ledger([form(submissionId=f"r-{n}", scores={"A": 5}) for n in range(4000)])
    versions = {version_of(path, "v 7"): ["out-of-range"]}
    stop = threading.Event()

    def reload_often():
        for number in range(20):
            write_registry(tmp_path, WIDER if number % 2 == 0 else REGISTRY)
            engine.reload()
            engine.wait_for_log(RELOADED, count=number + 1)
        stop.set()

    thread = threading.Thread(target=reload_often)
    thread.start()
    Load(engine.address, ledger, seeded, PIPELINED, connections=16).run(range(4000))
    thread.join()
    assert stop.is_set() and len(ledger.receipts) == 4000
    write_registry(tmp_path, WIDER)
    versions[version_of(path, "v 8")] = []
    for record in check_directory(ledger, data):
        codes = [finding["code"] for finding in record["findings"]]
        assert codes == versions[record["registryVersion"]]
