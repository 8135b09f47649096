"""The format page suffices: a reader made from docs/segment-format.md alone agrees with the engine.

One engine takes a mixed load on a few connections while the reader already reads; then reader and
`sluice cat` are compared with each other and with the receipts: while the engine runs, after
SIGTERM, after SIGKILL in the midst of traffic, and after the recovery from that. Copies of a
directory that was closed properly are then damaged in one place each: the reader must name the
file, and `sluice verify` must exit with 1.
"""

import collections
import dataclasses
import datetime
import hashlib
import http.client
import itertools
import json
import os
import random
import shutil
import struct
import subprocess
import sys
import threading

import pytest

import harness
import segment_reader
from segment_reader import BLOCK, SegmentDamage

SETTINGS = {"segment_bytes": 1048576, "batch_bytes_max": 131072}
SUBMISSIONS = 3000
SUBMISSIONS_UNTIL_KILL = 600
CONNECTIONS = 6
# One journal per core; more than two would leave each with less than a segment.
CORES = ",".join(map(str, sorted(os.sched_getaffinity(0))[:2]))
BODY_BYTES_MAX = 20_000
SEED = 7

TEXTS = ["unauffällig", "疼痛 3/10", "Ångström", "déjà vu", "без жалоб", "🙂 fine", "plain",
         'quote " and \\']


# --- The load ----------------------------------------------------------------------------------

@dataclasses.dataclass
class Submission:
    """A request, and what the format says its record must hold."""

    body: bytes
    headers: dict
    members: dict
    device_time: int
    device_offset_minutes: int | None  # None: the device gave none

    def expected_id(self):
        return self.members.get("submissionId", self.headers.get("Idempotency-Key"))

    def expected_flags(self):
        flags = 0 if self.device_offset_minutes is None else segment_reader.FLAG_OFFSET_GIVEN
        if "submissionId" in self.members:
            return flags
        return flags | (segment_reader.FLAG_FROM_KEY if "Idempotency-Key" in self.headers
                        else segment_reader.FLAG_ASSIGNED)


def random_timestamp(rng):
    """(the member, its nanoseconds since 1970, the offset in minutes or None)"""
    seconds = rng.randrange(0, 4_000_000_000)
    form = rng.randrange(4)
    if form == 0:
        return seconds, seconds * 10**9, None
    if form == 1:
        return seconds + 0.25, seconds * 10**9 + 250_000_000, None
    minutes = rng.choice([0, 60, 120, -300, 330, -570, 840])
    local = datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=seconds, minutes=minutes)
    digits = rng.choice(["", "5", "123", "123456789"])
    offset = f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}"
    text = f"{local.isoformat()}{'.' + digits if digits else ''}{offset}"
    return text, seconds * 10**9 + int(digits.ljust(9, "0")), minutes


def random_submission(rng, number):
    timestamp, device_time, offset = random_timestamp(rng)
    members = {"patientId": f"P{rng.randrange(200)}", "timestamp": timestamp,
               "scores": {"A": rng.randrange(5)}}
    if rng.random() < 0.3:
        members["patientId"] += rng.choice(["é", "患", " Ω"])
    for name, value in [("studyId", "S-1"), ("centerId", "Köln"), ("instrument", "EQ-5D-5L"),
                        ("formVersion", "2.1"), ("visit", f"V{rng.randrange(9)}"),
                        ("timezone", "Europe/Berlin")]:
        if rng.random() < 0.5:
            members[name] = value
    if rng.random() < 0.05:
        members |= {"amends": f"form-{number - 1}", "reason": rng.choice(TEXTS)}
    headers = {"Content-Type": "application/json"}
    if rng.random() < 0.4:
        members["submissionId"] = f"form-{number}"
    if rng.random() < 0.4:
        headers["Idempotency-Key"] = f"key-{number}"
    bytes_wanted = rng.choice([0, 0, 300, 1000, 3000, rng.randrange(BODY_BYTES_MAX - 2000)])
    notes = []
    while bytes_wanted > 0:
        notes.append(rng.choice(TEXTS) * rng.randrange(1, 20))
        bytes_wanted -= len(notes[-1].encode())
    if notes:
        members["notes"] = notes
    text = json.dumps(
        members, ensure_ascii=rng.random() < 0.3, indent=rng.choice([None, None, 1, "\t"]))
    if rng.random() < 0.2:
        text = "\r\n" + text.replace("\n", "\r\n") + "\n"
    body = text.encode()
    assert len(body) <= 2 * BODY_BYTES_MAX
    return Submission(body, headers, members, device_time, offset)


class Load:
    """Posts submissions on a few keep-alive connections; receipts as they come."""

    def __init__(self, address, submissions):
        self.address = address
        self.receipts = []  # (submission, receipt); all threads append
        self.faults = []
        self.queue = iter(submissions)
        self.queue_lock = threading.Lock()
        self.progress = threading.Condition()
        self.threads = [threading.Thread(target=self._post_all) for _ in range(CONNECTIONS)]
        for thread in self.threads:
            thread.start()

    def _post_all(self):
        connection = http.client.HTTPConnection(*self.address, timeout=harness.COMMAND_S)
        try:
            while (submission := self._next()) is not None:
                connection.request("POST", "/v1/submissions", submission.body, submission.headers)
                response = connection.getresponse()
                answer = response.read()
                assert response.status == 201, answer
                with self.progress:
                    self.receipts.append((submission, json.loads(answer)))
                    self.progress.notify()
        except Exception as fault:  # the test decides whether it expected that
            with self.progress:
                self.faults.append(fault)
                self.progress.notify()
        finally:
            connection.close()

    def _next(self):
        with self.queue_lock:
            return next(self.queue, None)

    def wait_for(self, count):
        """Until there are `count` receipts; the load goes on."""
        with self.progress:
            self.progress.wait_for(
                lambda: len(self.receipts) >= count or self.faults, harness.COMMAND_S)

    def is_running(self):
        return any(thread.is_alive() for thread in self.threads)

    def join(self):
        for thread in self.threads:
            thread.join()


# --- What is compared --------------------------------------------------------------------------

@dataclasses.dataclass
class Look:
    """What reader and `sluice cat` say of the directory at one time; the receipts until then."""

    receipts: list
    records: list
    printed: bytes  # segment_reader.py
    printed_raw: bytes  # segment_reader.py --raw
    cat: list
    cat_raw: bytes


def reader_output(data, *options):
    done = subprocess.run(
        [sys.executable, segment_reader.__file__, str(data), *options],
        stdin=subprocess.DEVNULL, capture_output=True, timeout=harness.COMMAND_S)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def look_at(data, receipts):
    return Look(list(receipts), list(segment_reader.records(data)), reader_output(data),
                reader_output(data, "--raw"), harness.cat(data), harness.cat_raw(data))


def read_beside(load, data):
    """Reads again and again while the engine writes; the number of looks."""
    switch_interval_s = sys.getswitchinterval()
    sys.setswitchinterval(switch_interval_s / 10)  # or the busy reader would starve the load
    try:
        for looks in itertools.count(1):
            acknowledged = list(load.receipts)
            place = check_sequences(segment_reader.records(data))
            for _, receipt in acknowledged:
                assert (receipt["journal"], receipt["sequence"]) in place
            if not load.is_running():
                return looks
    finally:
        sys.setswitchinterval(switch_interval_s)


def check_sequences(records):
    """The records by (journal, sequence); they must be 1, 2, 3, … in each journal."""
    place, counts = {}, collections.Counter()
    for record in records:
        counts[record.journal] += 1
        assert record.sequence == counts[record.journal]
        place[record.journal, record.sequence] = record
    return place


@dataclasses.dataclass
class History:
    looks: dict
    looks_beside: int
    exit_codes: dict
    faults: list
    stopped_data: object  # a copy of the directory, in which no engine died


@pytest.fixture(scope="module")
def history(tmp_path_factory):
    rng = random.Random(SEED)
    directory = tmp_path_factory.mktemp("format")
    data, stopped_data = directory / "data", directory / "stopped"
    fleet = harness.Fleet(directory)
    looks, exit_codes = {}, {}
    try:
        engine = fleet.start(data, SETTINGS, CORES)
        load = Load(engine.address, [random_submission(rng, n) for n in range(SUBMISSIONS)])
        try:
            looks_beside = read_beside(load, data)
        finally:
            load.join()
        faults = load.faults
        receipts = load.receipts
        looks["running"] = look_at(data, receipts)
        engine.terminate()
        exit_codes["SIGTERM"] = engine.wait()
        looks["stopped"] = look_at(data, receipts)
        # The start after that seals what is complete: in the copy, only last segments are open.
        engine = fleet.start(data, SETTINGS, CORES)
        engine.terminate()
        engine.wait()
        shutil.copytree(data, stopped_data)

        engine = fleet.start(data, SETTINGS, CORES)
        endless = (random_submission(rng, n) for n in itertools.count(SUBMISSIONS))
        load = Load(engine.address, endless)
        try:
            load.wait_for(SUBMISSIONS_UNTIL_KILL)
        finally:
            engine.kill()
            exit_codes["SIGKILL"] = engine.wait()
            load.join()
        receipts = receipts + load.receipts
        looks["killed"] = look_at(data, receipts)

        engine = fleet.start(data, SETTINGS, CORES)
        looks["recovered"] = look_at(data, receipts)
        yield History(looks, looks_beside, exit_codes, faults, stopped_data)
    finally:
        fleet.close()


PHASES = ["running", "stopped", "killed", "recovered"]


@pytest.fixture(params=PHASES)
def look(request, history):
    return history.looks[request.param]


# --- Agreement ---------------------------------------------------------------------------------

def test_the_engine_took_everything(history):
    assert history.faults == []
    assert history.exit_codes == {"SIGTERM": 0, "SIGKILL": -9}
    assert len(history.looks["stopped"].receipts) == SUBMISSIONS
    assert history.looks_beside >= 1


def test_there_are_sealed_segments_and_an_open_one(history):
    assert len(list(history.stopped_data.glob("journal-*/*.sealed"))) >= 3
    assert len(list(history.stopped_data.glob("journal-*/*.open"))) >= 1


def test_raw_output_is_that_of_cat(look):
    assert look.printed_raw == look.cat_raw
    assert look.printed_raw == b"".join(record.body + b"\n" for record in look.records)


def test_fields_are_those_of_cat(look):
    printed = [json.loads(line) for line in look.printed.splitlines()]
    assert len(printed) == len(look.cat) == len(look.records)
    for mine, engines, record in zip(printed, look.cat, look.records):
        for name in ["journal", "sequence", "receivedAt", "submissionId", "studyId", "centerId",
                     "patientId", "instrument", "traceId", "sha256", "kind", "findings"]:
            assert mine[name] == engines[name], name
        assert mine["registryVersion"] == engines.get("registryVersion")
        assert engines["timestamp"] == device_timestamp(record)
        assert engines["body"] == json.loads(record.body)


def device_timestamp(record):
    """The device's time as `sluice cat` prints it: by its own clock where it gave an offset."""
    minutes = record.device_offset_minutes
    text = segment_reader.rfc3339(record.device_time + minutes * 60 * 10**9)
    if minutes == 0:
        return text
    hours, minutes_left = divmod(abs(minutes), 60)
    return f"{text[:-1]}{'-' if minutes < 0 else '+'}{hours:02d}:{minutes_left:02d}"


def test_each_receipt_has_its_record(look):
    place = check_sequences(look.records)
    for submission, receipt in look.receipts:
        record = place[receipt["journal"], receipt["sequence"]]
        assert record.body == submission.body
        assert record.submission_id == receipt["submissionId"]
        assert record.body_sha256.hex() == receipt["sha256"]
        assert record.body_sha256 == hashlib.sha256(submission.body).digest()
        assert segment_reader.rfc3339(record.received_at) == receipt["receivedAt"]


def test_records_hold_what_was_submitted(look):
    place = check_sequences(look.records)
    for submission, receipt in look.receipts:
        record = place[receipt["journal"], receipt["sequence"]]
        members = submission.members
        assert submission.expected_id() in (None, record.submission_id)
        assert record.patient_id == members["patientId"]
        assert record.study_id == members.get("studyId")
        assert record.center_id == members.get("centerId")
        assert record.instrument == members.get("instrument")
        assert record.form_version == members.get("formVersion")
        assert record.visit == members.get("visit")
        assert record.time_zone == members.get("timezone")
        assert record.amends == members.get("amends")
        assert record.reason == members.get("reason")
        assert record.device_time == submission.device_time
        assert record.device_offset_minutes == (submission.device_offset_minutes or 0)
        assert record.flags == submission.expected_flags()
        assert record.kind == "submission" or "amends" in members


# --- Places to damage --------------------------------------------------------------------------

BatchPlace = collections.namedtuple("BatchPlace", "offset bytes record_count payload_bytes")


class Layout:
    """Where things lie in a data directory: in a sealed segment by its footer, found from the end,
    in an open one by the batches."""

    def __init__(self, data):
        self.data = data
        # Neither the first of its journal nor the last that is in use.
        self.sealed = min(data.glob("journal-*/*02.sealed"))
        self.sealed_batches = self._sealed_batches(self.sealed)
        self.sealed_size = self.sealed.stat().st_size
        self.footer = self._footer_offset(self.sealed)
        self.open = max(data.glob("journal-*/*.open"), key=lambda path: self._open_records(path))
        self.open_batches = self._open_batches(self.open)
        self.last_sealed = max(self.open.parent.glob("*.sealed"))

    @staticmethod
    def _footer_offset(path):
        return struct.unpack_from("<Q", path.read_bytes()[-32:], 8)[0]

    def _sealed_batches(self, path):
        content, batches = path.read_bytes(), []
        footer = self._footer_offset(path)
        batch_count, = struct.unpack_from("<I", content, footer + 36)
        for number in range(batch_count):
            entry = footer + 144 + 24 * number
            offset, _, record_count, size = struct.unpack_from("<QQII", content, entry)
            payload_bytes, = struct.unpack_from("<I", content, offset + 80)
            batches.append(BatchPlace(offset, size, record_count, payload_bytes))
        return batches

    def _open_batches(self, path):
        content, batches, offset = path.read_bytes(), [], BLOCK
        while content[offset:offset + 8] == b"SLUICBAT":
            record_count, = struct.unpack_from("<I", content, offset + 36)
            payload_bytes, size = struct.unpack_from("<II", content, offset + 80)
            batches.append(BatchPlace(offset, size, record_count, payload_bytes))
            offset += size
        return batches

    def _open_records(self, path):
        return sum(batch.record_count for batch in self._open_batches(path))

    def with_padding(self):
        """A sealed batch, not the last, with zeros behind its records."""
        return next(batch for batch in self.sealed_batches[:-1]
                    if batch.record_count and 128 + batch.payload_bytes < batch.bytes)

    def record(self, batch):
        """Offset of the first record of a batch, of its body, and of its end."""
        content = self.sealed.read_bytes()
        start = batch.offset + 128
        record_bytes, envelope_bytes = struct.unpack_from("<II", content, start + 8)
        return start, start + envelope_bytes, start + record_bytes

    def last_open_with_records(self):
        return [batch for batch in self.open_batches if batch.record_count][-1]

    def tail_of_open(self):
        return self.open_batches[-1].offset + self.open_batches[-1].bytes


def in_node(offset):
    return lambda layout: (layout.data / "node", offset)


def in_sealed(offset):
    return lambda layout: (layout.sealed, offset)


def in_sealed_batch(index, offset):
    return lambda layout: (layout.sealed, layout.sealed_batches[index].offset + offset)


def in_sealed_padding(layout):
    batch = layout.with_padding()
    return layout.sealed, batch.offset + batch.bytes - 1


def in_sealed_record(offset):
    return lambda layout: (layout.sealed, layout.record(layout.with_padding())[0] + offset)


def in_sealed_body(offset):
    return lambda layout: (layout.sealed, layout.record(layout.with_padding())[1] + offset)


def in_footer(offset):
    return lambda layout: (layout.sealed, layout.footer + offset)


def in_trailer(offset):
    return lambda layout: (layout.sealed, layout.sealed_size - 32 + offset)


def in_open(offset):
    return lambda layout: (layout.open, offset)


def in_open_batch(offset):
    return lambda layout: (layout.open, layout.open_batches[0].offset + offset)


def in_last_open_batch(offset):
    return lambda layout: (layout.open, layout.last_open_with_records().offset + offset)


FLIPS = {
    "node: version": in_node(31),
    "node: id": in_node(40),
    "node: checksum": in_node(80),
    "sealed header: magic": in_sealed(0),
    "sealed header: first_sequence": in_sealed(48),
    "sealed header: chain_start": in_sealed(80),
    "sealed header: zeros": in_sealed(2000),
    "sealed header: checksum": in_sealed(4093),
    "sealed batch: magic": in_sealed_batch(1, 0),
    "sealed batch: watermark": in_sealed_batch(1, 64),
    "sealed batch: batch_bytes": in_sealed_batch(1, 85),
    "sealed batch: previous_hash": in_sealed_batch(1, 100),
    "sealed batch: padding": in_sealed_padding,
    "sealed record: magic": in_sealed_record(0),
    "sealed record: length": in_sealed_record(10),
    "sealed record: received_at": in_sealed_record(33),
    "sealed record: field": in_sealed_record(109),
    "sealed record: body": in_sealed_body(5),
    "sealed, last batch": in_sealed_batch(-1, 90),
    "footer: magic": in_footer(1),
    "footer: footer_bytes": in_footer(13),
    "footer: next_sequence": in_footer(64),
    "footer: sealed_at": in_footer(97),
    "footer: index": in_footer(144 + 24 + 9),
    "footer: last byte before the trailer": in_trailer(-1),
    "trailer: magic": in_trailer(0),
    "trailer: footer_offset": in_trailer(9),
    "trailer: checksum": in_trailer(20),
    "trailer: reserved": in_trailer(31),
    "open header": in_open(72),
    "open, first batch: record_count": in_open_batch(36),
    "open, first batch: payload": in_open_batch(300),
    "open, last batch with records": in_last_open_batch(300),
}




@pytest.fixture(scope="module")
def layout(history):
    return Layout(history.stopped_data)


@pytest.fixture
def copy_of(history, tmp_path):
    """Copies the stopped directory; call it once. Returns the place of a path in the copy."""
    target = tmp_path / "damaged"
    shutil.copytree(history.stopped_data, target)
    for path in target.rglob("*.*"):
        path.chmod(0o600)  # sealed segments are read-only
    yield lambda path: target / path.relative_to(history.stopped_data)
    shutil.rmtree(target)


def overwrite(path, offset, content):
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(content)


def flip(path, offset):
    overwrite(path, offset, bytes([path.read_bytes()[offset] ^ 0x21]))


def require_damage(data, path):
    """Reader and `sluice verify` find damage, and say in which file."""
    with pytest.raises(SegmentDamage) as caught:
        for _ in segment_reader.records(data):
            pass
    assert caught.value.path == path, caught.value
    done = harness.run("verify", data)
    assert done.returncode == 1, (done.stdout, done.stderr)
    assert path.name.encode() in done.stdout + done.stderr
    return caught.value


@pytest.mark.parametrize("place", FLIPS)
def test_a_flipped_byte_is_damage(layout, copy_of, place):
    path, offset = FLIPS[place](layout)
    flip(copy_of(path), offset)
    require_damage(copy_of(layout.data), copy_of(path))


def test_damage_is_found_near_the_byte(layout, copy_of):
    batch = layout.with_padding()
    flip(copy_of(layout.sealed), batch.offset + 200)
    damage = require_damage(copy_of(layout.data), copy_of(layout.sealed))
    assert batch.offset <= damage.offset < batch.offset + batch.bytes


def test_what_precedes_damage_is_returned(layout, copy_of):
    batch = layout.sealed_batches[2]
    flip(copy_of(layout.sealed), batch.offset + 128)
    journal = int(layout.sealed.parent.name.removeprefix("journal-"))
    first_sequence, = struct.unpack_from("<Q", layout.sealed.read_bytes(), batch.offset + 56)
    read = []
    with pytest.raises(SegmentDamage):
        for record in segment_reader.records(copy_of(layout.data)):
            read.append(record)
    assert (read[-1].journal, read[-1].sequence) == (journal, first_sequence - 1)


def test_a_sealed_segment_that_lost_its_end_is_damage(layout, copy_of):
    path = copy_of(layout.sealed)
    with open(path, "r+b") as file:
        file.truncate(layout.sealed_size - BLOCK)
    require_damage(copy_of(layout.data), path)


def test_bytes_behind_a_footer_are_damage(layout, copy_of):
    path = copy_of(layout.sealed)
    overwrite(path, layout.sealed_size, bytes(BLOCK))
    with pytest.raises(SegmentDamage) as caught:  # `sluice verify` does not look behind a footer
        list(segment_reader.records(copy_of(layout.data)))
    assert (caught.value.path, caught.value.offset) == (path, layout.sealed_size)


def test_a_zeroed_batch_is_damage(layout, copy_of):
    path, batch = copy_of(layout.sealed), layout.sealed_batches[1]
    overwrite(path, batch.offset, bytes(batch.bytes))
    require_damage(copy_of(layout.data), path)


def test_a_zeroed_batch_of_an_open_segment_is_damage(layout, copy_of):
    path, batch = copy_of(layout.open), layout.last_open_with_records()
    overwrite(path, batch.offset, bytes(batch.bytes))
    require_damage(copy_of(layout.data), path)


def test_a_removed_segment_is_damage(layout, copy_of):
    path = copy_of(layout.sealed)
    path.unlink()
    with pytest.raises(SegmentDamage) as caught:
        list(segment_reader.records(copy_of(layout.data)))
    assert caught.value.path == path
    assert harness.run("verify", copy_of(layout.data)).returncode == 1


def test_a_segment_in_the_place_of_another_is_damage(layout, copy_of):
    others = sorted(path for path in layout.sealed.parent.glob("*.sealed") if path != layout.sealed)
    shutil.copyfile(others[0], copy_of(layout.sealed))
    require_damage(copy_of(layout.data), copy_of(layout.sealed))


def test_a_mark_above_the_last_record_is_damage(layout, copy_of):
    journal = int(layout.open.parent.name.removeprefix("journal-"))
    slot = 64 + 64 * journal
    mark, = struct.unpack_from("<Q", (layout.data / "watermark").read_bytes(), slot)
    overwrite(copy_of(layout.data / "watermark"), slot, struct.pack("<Q", mark + 1))
    with pytest.raises(SegmentDamage) as caught:
        list(segment_reader.records(copy_of(layout.data)))
    assert caught.value.path == copy_of(layout.open)
    assert harness.run("verify", copy_of(layout.data)).returncode == 1


def test_a_removed_journal_is_damage(layout, copy_of):
    path = copy_of(layout.sealed.parent)
    shutil.rmtree(path)
    require_damage(copy_of(layout.data), path)


def test_changing_a_record_with_all_its_checksums_breaks_the_chain(layout, copy_of):
    path, batch = copy_of(layout.sealed), layout.with_padding()
    content = bytearray(path.read_bytes())
    start, body, end = layout.record(batch)
    body_bytes, = struct.unpack_from("<I", content, start + 16)
    content[body + 2] ^= 0x01
    content[start + 64:start + 96] = hashlib.sha256(content[body:body + body_bytes]).digest()
    struct.pack_into("<I", content, start + 4, segment_reader.crc32c(content[start + 8:end]))
    batch_end = batch.offset + batch.bytes
    struct.pack_into("<I", content, batch.offset + 88,
                     segment_reader.crc32c(content[batch.offset + 128:batch_end]))
    struct.pack_into("<I", content, batch.offset + 8,
                     segment_reader.crc32c(content[batch.offset + 12:batch.offset + 128]))
    path.write_bytes(content)
    damage = require_damage(copy_of(layout.data), path)
    assert damage.offset == batch_end + 96  # previous_hash of the batch behind


# --- What is no damage -------------------------------------------------------------------------

def require_all_records(history, data):
    stopped = history.looks["stopped"]
    bodies = [record.body for record in segment_reader.records(data)]
    assert bodies == [record.body for record in stopped.records]
    assert harness.cat_raw(data) == stopped.printed_raw
    harness.verify(data)


@pytest.mark.parametrize("how_far_blocks", [0, 1])
def test_an_unfinished_write_is_passed_over(history, layout, copy_of, how_far_blocks):
    place = layout.tail_of_open() + how_far_blocks * BLOCK
    overwrite(copy_of(layout.open), place, b"SLUICBAT" + bytes(range(200)))
    require_all_records(history, copy_of(layout.data))


def unseal(path, footer):
    """What a sealed segment was before: its footer whole, half written, or not there yet."""
    size, place = path.stat().st_size, Layout._footer_offset(path)
    path = path.rename(path.with_suffix(".open"))
    if footer == "torn":
        overwrite(path, place + BLOCK - 1000, b"torn")
    elif footer == "absent":
        overwrite(path, place, bytes(size - place))
    os.truncate(path, SETTINGS["segment_bytes"])


@pytest.mark.parametrize("footer", ["whole", "absent", "torn"])
def test_a_complete_segment_need_not_be_sealed_yet(history, layout, copy_of, footer):
    unseal(copy_of(layout.last_sealed), footer)
    require_all_records(history, copy_of(layout.data))


def test_a_later_segment_vouches_for_one_that_is_not_sealed_yet(history, layout, copy_of):
    copy_of(layout.data / "watermark").unlink()
    unseal(copy_of(layout.last_sealed), "absent")
    require_all_records(history, copy_of(layout.data))


def test_marks_in_the_segments_replace_the_watermark_file(history, layout, copy_of):
    copy_of(layout.data / "watermark").unlink()
    require_all_records(history, copy_of(layout.data))


def test_an_invalid_watermark_file_counts_as_none(history, layout, copy_of):
    flip(copy_of(layout.data / "watermark"), 20)
    require_all_records(history, copy_of(layout.data))


def test_temporary_files_and_torn_writes_are_ignored(history, layout, copy_of):
    copy_of(layout.open).with_name("9999999999.tmp").write_bytes(b"being prepared")
    torn = copy_of(layout.data / "torn")
    torn.mkdir(exist_ok=True)
    (torn / "anything").write_bytes(b"moved aside")
    require_all_records(history, copy_of(layout.data))


def test_without_watermark_file_damage_before_a_later_watermark_is_damage(layout, copy_of):
    copy_of(layout.data / "watermark").unlink()
    flip(copy_of(layout.open), layout.open_batches[0].offset + 300)
    require_damage(copy_of(layout.data), copy_of(layout.open))


# --- The reader's own parts --------------------------------------------------------------------

def test_crc32c_of_the_check_string():
    assert segment_reader.crc32c(b"123456789") == 0xE3069283


def test_crc32c_of_ranges_is_that_of_their_bytes():
    rng = random.Random(SEED)
    data = rng.randbytes(3 * BLOCK)
    ranges = segment_reader.Crc32cRanges(data)
    ends = [sorted(rng.choices(range(len(data)), k=2)) for _ in range(40)]
    for begin, end in [(0, 0), (0, len(data)), (63, 65), *ends]:
        assert ranges.of(begin, end) == segment_reader.crc32c(data[begin:end])


def test_an_unknown_major_version_is_refused(tmp_path):
    lines = b"sluice data directory format 2.0\nnode 00112233445566778899aabbccddeeff\n"
    (tmp_path / "node").write_bytes(lines + b"crc32c %08x\n" % segment_reader.crc32c(lines))
    with pytest.raises(segment_reader.UnknownVersion):
        list(segment_reader.records(tmp_path))
