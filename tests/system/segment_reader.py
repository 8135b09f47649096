#!/usr/bin/env python3
"""Reads a Sluice data directory, and checks all that docs/segment-format.md says of its bytes.

Made from that page alone, to prove that it suffices; the numbers of sections in this file are its.
No part of the engine is used. Standard library only, one thread; never writes; works beside a
running engine.

    segment_reader.py DIR         one JSON object per record, the body in base64
    segment_reader.py DIR --raw   the original bytes of each body, each followed by a newline

Journals ascend. Exit code 1 means damage: what precedes it has been printed, file and offset are on
stderr. 64 means wrong usage.
"""

import argparse
import base64
import collections
import dataclasses
import datetime
import errno
import hashlib
import json
import mmap
import os
import pathlib
import re
import struct
import sys

BLOCK = 4096
ZERO_BLOCK = bytes(BLOCK)
BATCH_BYTES_MAX = 16 * 1024 * 1024

# Layouts of sections 3, 4 and 8, without the zeros that fill them up.
SEGMENT_HEADER = struct.Struct("<8sHHI16sI4sQQQQ32s")
BATCH_HEADER = struct.Struct("<8sII16sIIQQQQQIII4s32s")
RECORD_HEADER = struct.Struct("<4sIIIIBBhQQq16s32sI4s")
FIELD_HEADER = struct.Struct("<HH")
FOOTER_HEADER = struct.Struct("<8sII16sIIQQQQQQQQ32s8s")
INDEX_ENTRY = struct.Struct("<QQII")
TRAILER = struct.Struct("<8sQII8s")
WATERMARK_HEADER = struct.Struct("<8sHHI16s28sI")

WATERMARK_SLOTS = 1024
WATERMARK_BYTES = 64 + 64 * WATERMARK_SLOTS

KINDS = {1: "submission", 2: "conflict", 3: "correction", 4: "lost"}
FLAG_OFFSET_GIVEN, FLAG_FROM_KEY, FLAG_ASSIGNED = 1, 2, 4

TAG_SUBMISSION_ID, TAG_FINDING = 1, 12
FINDINGS_MAX = 16
TEXTS = {  # tag: (attribute of Record, bytes at most)
    1: ("submission_id", 128),
    2: ("study_id", 128),
    3: ("center_id", 128),
    4: ("patient_id", 128),
    5: ("instrument", 256),
    6: ("form_version", 128),
    7: ("visit", 128),
    8: ("time_zone", 128),
    9: ("amends", 128),
    10: ("reason", 2048),
    11: ("credential", 128),
    13: ("registry_version", 64),
}
FINDING_BYTES_MAX = 192
LOST_FINDING = "lost-to-damage"


class SegmentDamage(Exception):
    """Something is not as the format says. `path` is the file, `offset` the byte in it."""

    def __init__(self, path, offset, message):
        super().__init__(f"{path}: offset {offset}: {message}")
        self.path = pathlib.Path(path)
        self.offset = offset


class UnknownVersion(SegmentDamage):
    """A major version that this reader does not know: nothing more can be said of the file."""


# --- CRC32C ------------------------------------------------------------------------------------
#
# A byte at a time is enough for headers, and far too slow in Python for whole segments. A batch is
# therefore cut into lanes of 64 bytes, and all lanes advance together, one byte per step:
# bytes.translate looks a whole column up, and one long integer takes the xor. A CRC is linear, so
# the checksum of any range follows from the states at the cuts (Crc32cRanges). That way the
# payload's and the records' checksums share one pass over the bytes, at some 50 MB/s.

LANE = 64


def _byte_table():
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)  # 0x1EDC6F41, reflected
        table.append(value)
    return table


TABLE = _byte_table()
COLUMNS = [bytes((value >> shift) & 0xFF for value in TABLE) for shift in (0, 8, 16, 24)]


def _advance(state, data):
    """The CRC register after `data`; initial value and final xor are the caller's."""
    table = TABLE
    for byte in data:
        state = table[(state ^ byte) & 0xFF] ^ (state >> 8)
    return state


def crc32c(data):
    return _advance(0xFFFFFFFF, data) ^ 0xFFFFFFFF


class _ZeroSkip:
    """What 2**k zero bytes do to the register: four tables of 256, one per byte of it."""

    def __init__(self, bit_images):
        self.tables = []
        for byte in range(4):
            images = bit_images[8 * byte:8 * byte + 8]
            table = [0] * 256
            for value in range(1, 256):
                low = value & -value
                table[value] = table[value ^ low] ^ images[low.bit_length() - 1]
            self.tables.append(table)

    def __call__(self, state):
        first, second, third, fourth = self.tables
        return (first[state & 0xFF] ^ second[(state >> 8) & 0xFF]
                ^ third[(state >> 16) & 0xFF] ^ fourth[state >> 24])

    def doubled(self):
        return _ZeroSkip([self(self(1 << bit)) for bit in range(32)])


def _zero_skips():
    skips = [_ZeroSkip([_advance(1 << bit, b"\0") for bit in range(32)])]
    while 1 << len(skips) <= BATCH_BYTES_MAX:
        skips.append(skips[-1].doubled())
    return skips


ZERO_SKIPS = _zero_skips()
LANE_SKIP = ZERO_SKIPS[LANE.bit_length() - 1]


def _after_zeros(state, count):
    for power, skip in enumerate(ZERO_SKIPS):
        if count >> power & 1:
            state = skip(state)
    return state


def _lane_states(data):
    """The register after each lane of `data` alone, from register 0; a list."""
    lanes = len(data) // LANE
    low = mid = high = top = 0  # a byte of the register each, of all lanes, as one integer
    for step in range(LANE):
        index = (low ^ int.from_bytes(data[step::LANE], "little")).to_bytes(lanes, "little")
        images = [int.from_bytes(index.translate(column), "little") for column in COLUMNS]
        low, mid, high, top = mid ^ images[0], high ^ images[1], top ^ images[2], images[3]
    joined = bytearray(4 * lanes)
    for byte, part in enumerate((low, mid, high, top)):
        joined[byte::4] = part.to_bytes(lanes, "little")
    return struct.unpack(f"<{lanes}I", joined)


class Crc32cRanges:
    """CRC32C of any range of a buffer whose size is a multiple of LANE."""

    def __init__(self, data):
        self.data = data
        self.states = [0]  # the register, from 0, at each cut between lanes
        state = 0
        first, second, third, fourth = LANE_SKIP.tables
        for own in _lane_states(data):
            state = (first[state & 0xFF] ^ second[(state >> 8) & 0xFF]
                     ^ third[(state >> 16) & 0xFF] ^ fourth[state >> 24] ^ own)
            self.states.append(state)

    def _state_at(self, end):
        cut = end // LANE
        return _advance(self.states[cut], self.data[cut * LANE:end])

    def of(self, begin, end):
        state = 0xFFFFFFFF ^ self._state_at(begin)
        return _after_zeros(state, end - begin) ^ self._state_at(end) ^ 0xFFFFFFFF


# --- Records -----------------------------------------------------------------------------------

def rfc3339(nanoseconds):
    seconds, fraction = divmod(nanoseconds, 1_000_000_000)
    whole = datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=seconds)
    return f"{whole.isoformat()}.{fraction:09d}Z"


@dataclasses.dataclass(slots=True)
class Record:
    """One record; times in nanoseconds since 1970, texts None where the member was absent."""

    journal: int
    sequence: int
    kind: str
    flags: int
    received_at: int
    device_time: int
    device_offset_minutes: int
    trace_id: bytes
    body_sha256: bytes
    body: bytes
    findings: list
    submission_id: str | None = None
    study_id: str | None = None
    center_id: str | None = None
    patient_id: str | None = None
    instrument: str | None = None
    form_version: str | None = None
    visit: str | None = None
    time_zone: str | None = None
    amends: str | None = None
    reason: str | None = None
    credential: str | None = None
    registry_version: str | None = None

    def findings_as_json(self):
        """Code, and details where there are some, as `sluice cat` has them."""
        parts = [finding.split("\0", 1) for finding in self.findings]
        return [dict(zip(("code", "detail"), part)) for part in parts]

    def as_json(self):
        return {
            "journal": self.journal,
            "sequence": self.sequence,
            "receivedAt": rfc3339(self.received_at),
            "submissionId": self.submission_id,
            "studyId": self.study_id,
            "centerId": self.center_id,
            "patientId": self.patient_id,
            "instrument": self.instrument,
            "visit": self.visit,
            "traceId": self.trace_id.hex(),
            "sha256": self.body_sha256.hex(),
            "kind": self.kind,
            "credential": self.credential,
            "findings": self.findings_as_json(),
            "registryVersion": self.registry_version,
            "bodySha": hashlib.sha256(self.body).hexdigest(),
            "body": base64.b64encode(self.body).decode(),
        }


class _RecordParser:
    """The records of one batch, whose checksums are right: whatever is wrong here is damage."""

    def __init__(self, segment, offset, data, ranges):
        self.segment = segment
        self.offset = offset  # of the batch in the file
        self.data = data
        self.ranges = ranges

    def damage(self, position, message):
        return SegmentDamage(self.segment.path, self.offset + position, message)

    def parse(self, position, end, sequence):
        """(the record at `position`, where its envelope ends, where the record ends)"""
        if end - position < RECORD_HEADER.size:
            raise self.damage(position, "a record does not fit in its batch")
        (magic, crc, record_bytes, envelope_bytes, body_bytes, kind, flags, device_offset,
         stored_sequence, received_at, device_time, trace_id, body_sha256, field_count, reserved,
         ) = RECORD_HEADER.unpack_from(self.data, position)
        if magic != b"SREC":
            raise self.damage(position, "record magic")
        if record_bytes % 8 or not RECORD_HEADER.size <= record_bytes <= end - position:
            raise self.damage(position + 8, f"record_bytes {record_bytes}")
        if self.ranges.of(position + 8, position + record_bytes) != crc:
            raise self.damage(position + 4, "record checksum")
        if envelope_bytes < RECORD_HEADER.size or envelope_bytes > record_bytes:
            raise self.damage(position + 12, f"envelope_bytes {envelope_bytes}")
        if not 0 <= record_bytes - envelope_bytes - body_bytes <= 7:
            raise self.damage(position + 16, f"body_bytes {body_bytes}")
        if kind not in KINDS:
            raise self.damage(position + 20, f"kind {kind}")
        self._check_flags(position, flags, device_offset)
        if stored_sequence != sequence:
            raise self.damage(position + 24, f"sequence {stored_sequence} instead of {sequence}")
        if self.segment.is_strict and any(reserved):
            raise self.damage(position + 100, "reserved bytes")
        envelope_end, record_end = position + envelope_bytes, position + record_bytes
        body = self.data[envelope_end:envelope_end + body_bytes]
        if hashlib.sha256(body).digest() != body_sha256:
            raise self.damage(position + 64, "the body has another SHA-256")
        if any(self.data[envelope_end + body_bytes:record_end]):
            raise self.damage(envelope_end + body_bytes, "padding behind the body")
        record = Record(
            self.segment.journal, sequence, KINDS[kind], flags, received_at, device_time,
            device_offset, trace_id, body_sha256, body, [])
        self._parse_fields(record, position + RECORD_HEADER.size, envelope_end, field_count)
        return record, envelope_end, record_end

    def _check_flags(self, position, flags, device_offset):
        known = FLAG_OFFSET_GIVEN | FLAG_FROM_KEY | FLAG_ASSIGNED
        if self.segment.is_strict and flags & ~known:
            raise self.damage(position + 21, f"flags {flags}")
        if not flags & FLAG_OFFSET_GIVEN and device_offset:
            raise self.damage(position + 22, "an offset, though the device gave none")

    def _parse_fields(self, record, position, end, field_count):
        last_tag = 0
        for _ in range(field_count):
            if end - position < FIELD_HEADER.size:
                raise self.damage(position, "a field does not fit in its envelope")
            tag, size = FIELD_HEADER.unpack_from(self.data, position)
            if tag < last_tag or (tag == last_tag and tag != TAG_FINDING):
                raise self.damage(position, f"field {tag} behind field {last_tag}")
            value_begin = position + FIELD_HEADER.size
            if size > end - value_begin:
                raise self.damage(position + 2, "a field does not fit in its envelope")
            self._take_field(record, tag, position, self.data[value_begin:value_begin + size])
            last_tag = tag
            position = value_begin + size
        if position != end:
            raise self.damage(position, "bytes between the last field and the body")
        if record.kind == "lost":
            self._check_lost(record, position, field_count)
        elif record.submission_id is None:
            raise self.damage(position, "no submission id")
        if len(record.findings) > FINDINGS_MAX:
            raise self.damage(position, f"{len(record.findings)} findings")

    def _check_lost(self, record, position, field_count):
        is_bare = (not record.body and record.device_time == 0 and record.flags == 0
                   and not any(record.trace_id))
        code = record.findings[0].split("\0")[0] if record.findings else None
        if not is_bare or field_count != 1 or code != LOST_FINDING:
            raise self.damage(position, "more than a lost record has")

    def _take_field(self, record, tag, position, value):
        if tag != TAG_FINDING and tag not in TEXTS:
            return
        name, bytes_max = TEXTS.get(tag, ("finding", FINDING_BYTES_MAX))
        if len(value) > bytes_max:
            raise self.damage(position + 2, f"{name} of {len(value)} bytes")
        try:
            text = value.decode("utf-8")
        except UnicodeDecodeError:
            raise self.damage(position + 4, f"{name} is not UTF-8") from None
        if tag == TAG_FINDING:
            record.findings.append(text)
        else:
            setattr(record, name, text)


# --- Segments ----------------------------------------------------------------------------------

@dataclasses.dataclass(slots=True)
class Header:
    """A segment header that is valid by itself."""

    version_minor: int
    first_sequence: int
    file_bytes: int
    chain_start: bytes


@dataclasses.dataclass(slots=True)
class Batch:
    """A batch that is valid by itself; `next_sequence` is that of the batch behind it."""

    offset: int
    data: bytes
    ranges: Crc32cRanges
    record_count: int
    batch_number: int
    first_sequence: int
    watermark: int
    payload_bytes: int
    previous_hash: bytes


@dataclasses.dataclass(slots=True)
class Footer:
    """The blocks of a footer with valid checksums."""

    offset: int
    data: bytes


@dataclasses.dataclass(slots=True)
class Nothing:
    """No valid thing at this place. Zeros mean that nothing was written."""

    offset: int
    is_zero: bool
    reason: str


class Segment:
    """An open file of a segment. What it returns is valid by itself, not yet in the sequence."""

    def __init__(self, path, number, journal, node_id):
        self.path = path
        self.number = number
        self.journal = journal
        self.node_id = node_id
        self.is_sealed = path.suffix == ".sealed"
        self.is_strict = True  # of minor version 0: what is reserved must be zero
        self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self.descriptor)

    def size(self):
        return os.fstat(self.descriptor).st_size

    def read(self, offset, count):
        """As many of the bytes as the file has."""
        parts = []
        while count > 0:
            part = os.pread(self.descriptor, count, offset)
            if not part:
                break
            parts.append(part)
            offset += len(part)
            count -= len(part)
        return b"".join(parts)

    def header(self):
        """A Header, or Nothing."""
        data = self.read(0, BLOCK)
        if len(data) < BLOCK:
            return Nothing(len(data), False, "the file ends in its header")
        if data == ZERO_BLOCK:
            return Nothing(0, True, "a segment that is not in use")
        (magic, major, minor, header_bytes, node_id, journal, reserved, number, first_sequence,
         _created_at, file_bytes, chain_start) = SEGMENT_HEADER.unpack_from(data)
        if magic != b"SLUICSEG":
            return Nothing(0, False, "segment header magic")
        if crc32c(data[:BLOCK - 4]) != int.from_bytes(data[BLOCK - 4:], "little"):
            return Nothing(BLOCK - 4, False, "segment header checksum")
        if major != 1:
            raise UnknownVersion(self.path, 8, f"segment of major version {major}")
        if header_bytes != BLOCK:
            return Nothing(12, False, f"header_bytes {header_bytes}")
        if node_id != self.node_id:
            return Nothing(16, False, "segment header of another node")
        if journal != self.journal:
            return Nothing(32, False, f"segment header of journal {journal}")
        if number != self.number:
            return Nothing(40, False, f"segment header of segment {number}")
        if self.number == 1 and any(chain_start):
            return Nothing(72, False, "chain_start of the first segment")
        self.is_strict = minor == 0
        if self.is_strict and any(reserved):
            return Nothing(36, False, "reserved bytes in the segment header")
        if self.is_strict and any(data[SEGMENT_HEADER.size:BLOCK - 4]):
            return Nothing(SEGMENT_HEADER.size, False, "zeros of the segment header")
        return Header(minor, first_sequence, file_bytes, chain_start)

    def at(self, offset):
        """What lies at `offset`, a multiple of 4,096: Batch, Footer, or Nothing."""
        block = self.read(offset, BLOCK)
        if not block:
            return Nothing(offset, True, "the file ends")
        if block == ZERO_BLOCK:
            return Nothing(offset, True, "zeros")
        if len(block) < BLOCK:
            return Nothing(offset, False, "the file ends within a block")
        if block[:8] == b"SLUICBAT":
            return self._batch(offset, block)
        if block[:8] == b"SLUICFTR":
            return self._footer(offset, block)
        return Nothing(offset, False, "neither a batch nor a footer")

    def _batch(self, offset, block):
        (_magic, crc, header_bytes, node_id, journal, record_count, number, batch_number,
         first_sequence, watermark, _written_at, payload_bytes, batch_bytes, payload_crc, reserved,
         previous_hash,
         ) = BATCH_HEADER.unpack_from(block)
        if crc32c(block[12:BATCH_HEADER.size]) != crc:
            return Nothing(offset + 8, False, "batch header checksum")
        if header_bytes != BATCH_HEADER.size:
            return Nothing(offset + 12, False, f"header_bytes {header_bytes}")
        if node_id != self.node_id:
            return Nothing(offset + 16, False, "batch of another node")
        if journal != self.journal:
            return Nothing(offset + 32, False, f"batch of journal {journal}")
        if number != self.number:
            return Nothing(offset + 40, False, f"batch of segment {number}")
        if (batch_bytes > BATCH_BYTES_MAX
                or batch_bytes != _rounded_up(BATCH_HEADER.size + payload_bytes)):
            return Nothing(offset + 84, False, f"batch_bytes {batch_bytes}")
        if self.is_strict and any(reserved):
            return Nothing(offset + 92, False, "reserved bytes in the batch header")
        data = block + self.read(offset + BLOCK, batch_bytes - BLOCK)
        if len(data) != batch_bytes:
            return Nothing(offset + len(data), False, "the file ends within a batch")
        ranges = Crc32cRanges(data)
        if ranges.of(BATCH_HEADER.size, batch_bytes) != payload_crc:
            return Nothing(offset + 88, False, "payload checksum")
        return Batch(offset, data, ranges, record_count, batch_number, first_sequence, watermark,
                     payload_bytes, previous_hash)

    def _footer(self, offset, block):
        crc, footer_bytes = struct.unpack_from("<II", block, 8)
        # The length stands under the checksum that it delimits, so it is only believed in bounds.
        if footer_bytes % BLOCK or not BLOCK <= footer_bytes <= self.size() - offset:
            return Nothing(offset + 12, False, f"footer_bytes {footer_bytes}")
        data = block + self.read(offset + BLOCK, footer_bytes - BLOCK)
        if len(data) != footer_bytes:
            return Nothing(offset + len(data), False, "the file ends within the footer")
        if crc32c(data[12:]) != crc:
            return Nothing(offset + 8, False, "footer checksum")
        return Footer(offset, data)

    def _written_blocks(self, offset):
        """Offsets of the blocks from `offset` on, but for those that the file system knows to be
        unwritten: the tail of an open segment is long."""
        size = self.size()
        while offset < size:
            try:
                offset = os.lseek(self.descriptor, offset, os.SEEK_DATA) // BLOCK * BLOCK
                end = os.lseek(self.descriptor, offset, os.SEEK_HOLE)
            except OSError as error:
                if error.errno == errno.ENXIO:  # nothing but unwritten blocks
                    return
                raise
            yield from range(offset, end, BLOCK)
            offset = _rounded_up(end)

    def promise_behind(self, offset):
        """The highest watermark of batches behind `offset` whose headers are valid; 0 without."""
        promised = 0
        for place in self._written_blocks(offset + BLOCK):
            if self.read(place, 8) != b"SLUICBAT":
                continue
            head = self.read(place, BATCH_HEADER.size)
            if len(head) < BATCH_HEADER.size:
                continue
            (_, crc, _, node_id, journal, _, number, _, _, watermark, *_,
             ) = BATCH_HEADER.unpack(head)
            if (crc32c(head[12:]) == crc and node_id == self.node_id
                    and journal == self.journal and number == self.number):
                promised = max(promised, watermark)
        return promised


def _rounded_up(count):
    return -(-count // BLOCK) * BLOCK


# --- A journal ---------------------------------------------------------------------------------

class Journal:
    """Goes through a journal, in order (section 6)."""

    def __init__(self, directory, number, node_id, mark):
        self.path = pathlib.Path(directory) / f"journal-{number:04d}"
        self.number = number
        self.node_id = node_id
        self.mark = mark  # loaded before any segment is opened
        self.returned = 0  # the last sequence
        self._start()

    def _start(self):
        self.durable = self.mark  # grows with each valid batch
        self.watermark = 0  # of the batch before
        self.next_sequence = 1
        self.last_hash = bytes(32)
        self.withheld = collections.deque()  # records that nothing vouches for as yet

    def records(self):
        """Yields the durable records; raises SegmentDamage where the first damage is.

        What contradicts what was read before may have come, or gone, in between, because an engine
        died and started anew: it is damage when a second look finds it in the same place.
        """
        found_before = None
        while True:
            try:
                for record in self._look():
                    if record.sequence > self.returned:
                        self.returned = record.sequence
                        yield record
                return
            except SegmentDamage as damage:
                found = (damage.path, damage.offset, self.next_sequence)
                if found == found_before:
                    raise
                found_before = found
            self._start()

    def _look(self):
        """Goes once through the journal."""
        number, goes_on = 1, True
        while goes_on:
            segment = self._open(number)
            if segment is None:
                break
            with segment:
                goes_on = yield from self._segment(segment)
            number += 1
        if self.next_sequence <= self.mark:
            raise SegmentDamage(
                self.path, 0, f"no segment {number}, though {self.mark} records are durable")

    def _open(self, number):
        """None when the journal has no segment of that number and nor any later one."""
        stem = self.path / f"{number:010d}"
        # .open may become .sealed between two tries, and segments appear one after the other; the
        # listing is no snapshot, so one that contradicts the tries is looked at again.
        for _ in range(3):
            for suffix in (".sealed", ".open", ".sealed"):
                try:
                    segment = Segment(stem.with_suffix(suffix), number, self.number, self.node_id)
                except FileNotFoundError:
                    continue
                if suffix == ".sealed" and stem.with_suffix(".open").exists():
                    segment.__exit__()
                    raise SegmentDamage(stem.with_suffix(".open"), 0, "both open and sealed")
                return segment
            later = [n for n in segment_numbers(self.path) if n >= number]
            if not later:
                return None
        raise SegmentDamage(
            stem.with_suffix(".sealed"), 0, f"missing, though segment {later[0]} is there")

    def _segment(self, segment):
        """Yields durable records of a segment; returns whether to go on with the next one."""
        header = segment.header()
        if isinstance(header, Nothing):
            self._at_end(segment, segment.header, header, lambda: False)
            return False
        if header.first_sequence != self.next_sequence:
            raise SegmentDamage(
                segment.path, 48,
                f"first_sequence {header.first_sequence} instead of {self.next_sequence}")
        if header.chain_start != self.last_hash:
            raise SegmentDamage(segment.path, 72, "chain_start is not the hash of the batch before")
        contents = _Contents(header)
        offset = BLOCK
        found = segment.at(offset)
        while True:
            if isinstance(found, Batch):
                found = self._in_order(segment, contents, found)
            if isinstance(found, Batch):
                self._take(segment, contents, found)
                yield from self._released()
                offset += len(found.data)
                found = segment.at(offset)
            elif isinstance(found, Footer):
                _check_footer(segment, contents, found, self)
                if segment.is_sealed:
                    self.durable = max(self.durable, self.next_sequence - 1)
                    yield from self._released()
                return True
            else:
                size = segment.size()
                found, goes_on = self._at_end(
                    segment, lambda: segment.at(offset), found,
                    lambda: self._goes_on_behind(segment))
                if found is None:
                    if size != header.file_bytes:
                        raise SegmentDamage(
                            segment.path, 64, f"{size} bytes instead of {header.file_bytes}")
                    return goes_on

    def _in_order(self, segment, contents, batch):
        """The batch where it continues number, sequence and chain; otherwise Nothing."""
        index = len(contents.index)
        for place, name, stored, expected in [
                (48, "batch_number", batch.batch_number, index),
                (56, "first_sequence", batch.first_sequence, self.next_sequence),
                (96, "previous_hash", batch.previous_hash.hex(), self.last_hash.hex())]:
            if stored != expected:
                return Nothing(
                    batch.offset + place, False, f"{name} {stored} instead of {expected}")
        if not self.watermark <= batch.watermark < batch.first_sequence:
            return Nothing(batch.offset + 64, False,
                           f"watermark {batch.watermark} behind {self.watermark}")
        return batch

    def _take(self, segment, contents, batch):
        parser = _RecordParser(segment, batch.offset, batch.data, batch.ranges)
        chain = hashlib.sha256(batch.data[:BATCH_HEADER.size])
        position, end = BATCH_HEADER.size, BATCH_HEADER.size + batch.payload_bytes
        sequence = batch.first_sequence
        for _ in range(batch.record_count):
            record, envelope_end, record_end = parser.parse(position, end, sequence)
            chain.update(batch.data[position:envelope_end])
            self.withheld.append(record)
            contents.received(record.received_at)
            position = record_end
            sequence += 1
        if position != end:
            raise parser.damage(position, "payload_bytes is more than the records take")
        if any(batch.data[end:]):
            raise parser.damage(end, "padding behind the records")
        contents.index.append(
            (batch.offset, batch.first_sequence, batch.record_count, len(batch.data)))
        self.next_sequence = sequence
        self.last_hash = chain.digest()
        self.watermark = batch.watermark
        self.durable = max(self.durable, batch.watermark)

    def _released(self):
        while self.withheld and self.withheld[0].sequence <= self.durable:
            yield self.withheld.popleft()

    def _at_end(self, segment, look, nothing, look_behind):
        """What to do where no valid thing was found: (found by now, False) or (None, whether to go
        on with the next segment). Raises when something proves that a valid thing was there.

        What is behind is looked at first and the place itself once more afterwards: the engine may
        have written both since the first look, but it writes no place before the one ahead of it.
        """
        if segment.is_sealed:
            raise SegmentDamage(
                segment.path, nothing.offset, f"{nothing.reason} in a sealed segment")
        goes_on = look_behind()
        evidence = None if goes_on else self._evidence_behind(segment, nothing)
        again = look()
        if not isinstance(again, Nothing):
            return again, False
        if evidence:
            raise SegmentDamage(segment.path, again.offset, f"{again.reason}, {evidence}")
        return None, goes_on

    def _goes_on_behind(self, segment):
        """Whether the next segment is in use and says that it begins exactly here.

        Its chain_start is a hash over all that came before, so then nothing is missing here,
        whether the footer is not there yet, half written, or torn.
        """
        later = self._open(segment.number + 1)
        if later is None:
            return False
        with later:
            header = later.header()
            return (isinstance(header, Header) and header.first_sequence == self.next_sequence
                    and header.chain_start == self.last_hash)

    def _evidence_behind(self, segment, nothing):
        """A text that says what proves that something valid was there, or None."""
        if self.next_sequence <= self.mark:
            return f"though {self.mark} records are durable"
        promised = segment.promise_behind(nothing.offset // BLOCK * BLOCK)
        if promised >= self.next_sequence:
            return f"though a later batch says that {promised} records are durable"
        number = segment.number + 1
        while (later := self._open(number)) is not None:
            with later:
                if later.is_sealed or isinstance(later.header(), Header):
                    return f"though segment {number} is in use"
            number += 1
        return None


class _Contents:
    """What a footer must agree with."""

    def __init__(self, header):
        self.header = header
        self.index = []
        self.oldest = self.newest = 0

    def received(self, time):
        self.oldest = min(self.oldest or time, time)
        self.newest = max(self.newest, time)


def _check_footer(segment, contents, footer, journal):
    data, offset = footer.data, footer.offset

    def require(is_right, place, name):
        if not is_right:
            raise SegmentDamage(segment.path, offset + place, f"footer: {name}")

    (_magic, _crc, footer_bytes, node_id, journal_number, batch_count, number, record_count,
     first_sequence, next_sequence, oldest, newest, data_end, _sealed_at, last_hash, reserved,
     ) = FOOTER_HEADER.unpack_from(data)
    index_end = FOOTER_HEADER.size + INDEX_ENTRY.size * len(contents.index)
    require(node_id == segment.node_id, 16, "node_id")
    require(journal_number == segment.journal, 32, "journal")
    require(batch_count == len(contents.index), 36, "batch_count")
    require(number == segment.number, 40, "segment_number")
    require(first_sequence == contents.header.first_sequence, 56, "first_sequence")
    require(next_sequence == journal.next_sequence, 64, "next_sequence")
    require(record_count == next_sequence - first_sequence, 48, "record_count")
    require(oldest == contents.oldest, 72, "oldest_received_at")
    require(newest == contents.newest, 80, "newest_received_at")
    require(data_end == offset, 88, "data_end")
    require(last_hash == journal.last_hash, 104, "last_hash")
    require(footer_bytes >= _rounded_up(index_end + TRAILER.size), 12, "footer_bytes")
    for number, entry in enumerate(contents.index):
        place = FOOTER_HEADER.size + INDEX_ENTRY.size * number
        require(INDEX_ENTRY.unpack_from(data, place) == entry, place, f"index entry {number}")
    trailer_at = footer_bytes - TRAILER.size
    (magic, footer_offset, trailer_footer_bytes, crc, trailer_reserved,
     ) = TRAILER.unpack_from(data, trailer_at)
    require(magic == b"SLUICEND", trailer_at, "trailer magic")
    require(crc32c(data[trailer_at:trailer_at + 20]) == crc, trailer_at + 20, "trailer checksum")
    require(footer_offset == data_end, trailer_at + 8, "footer_offset")
    require(trailer_footer_bytes == footer_bytes, trailer_at + 16, "footer_bytes of the trailer")
    if segment.is_strict:
        require(footer_bytes == _rounded_up(index_end + TRAILER.size), 12, "footer_bytes")
        require(not any(reserved), 136, "reserved bytes")
        require(not any(data[index_end:trailer_at]), index_end, "zeros behind the index")
        require(not any(trailer_reserved), trailer_at + 24, "reserved bytes of the trailer")
    size = segment.size()
    if segment.is_sealed and size != offset + footer_bytes:
        raise SegmentDamage(segment.path, offset + footer_bytes, "bytes behind the footer")
    if size > contents.header.file_bytes:
        raise SegmentDamage(
            segment.path, 64, f"{size} bytes, more than {contents.header.file_bytes}")


# --- The directory -----------------------------------------------------------------------------

NODE_LINES = re.compile(
    rb"(sluice data directory format (\d+)\.\d+\nnode ([0-9a-f]{32})\n)crc32c ([0-9a-f]{8})\n")


def node_id_of(directory):
    """The 16 bytes of the node id, from the file `node` (section 2)."""
    path = pathlib.Path(directory) / "node"
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        raise SegmentDamage(path, 0, "missing") from None
    match = NODE_LINES.fullmatch(text)
    if match is None:
        raise SegmentDamage(path, 0, "not the three lines of a node file")
    if crc32c(match[1]) != int(match[4], 16):
        raise SegmentDamage(path, match.start(4), "checksum")
    if int(match[2]) != 1:
        raise UnknownVersion(
            path, match.start(2), f"data directory of major version {int(match[2])}")
    return bytes.fromhex(match[3].decode())


def load_marks(directory, node_id):
    """The mark of each journal (section 8); all 0 where the file cannot be used."""
    none = [0] * WATERMARK_SLOTS
    try:
        with open(pathlib.Path(directory) / "watermark", "rb") as file:
            if os.fstat(file.fileno()).st_size != WATERMARK_BYTES:
                return none
            memory = mmap.mmap(file.fileno(), WATERMARK_BYTES, access=mmap.ACCESS_READ)
    except FileNotFoundError:
        return none
    with memory:
        head = memory[:WATERMARK_HEADER.size]
        magic, major, minor, slots, owner, reserved, crc = WATERMARK_HEADER.unpack(head)
        if crc32c(head[:60]) != crc:
            return none
        if (magic, major, slots, owner) != (b"SLUICWMK", 1, WATERMARK_SLOTS, node_id):
            return none
        if minor == 0 and any(reserved):
            return none
        # One load of eight aligned bytes each, which the engine writes whole. The file says
        # little-endian; a cast means the order of the machine.
        with memoryview(memory) as view, view.cast("Q") as words:
            marks = [words[8 + 8 * journal] for journal in range(WATERMARK_SLOTS)]
    if sys.byteorder == "big":
        marks = [int.from_bytes(mark.to_bytes(8, "big"), "little") for mark in marks]
    return marks


def segment_numbers(journal_path):
    """Numbers of the segments, sealed or open, ascending."""
    name_of_one = re.compile(r"(\d{10})\.(?:open|sealed)")
    matches = (name_of_one.fullmatch(name) for name in os.listdir(journal_path))
    return sorted({int(match[1]) for match in matches if match})


def journal_numbers(directory):
    matches = (re.fullmatch(r"journal-(\d{4})", name) for name in os.listdir(directory))
    return sorted(int(match[1]) for match in matches if match)


def records(directory):
    """Yields every durable record, journals ascending; raises SegmentDamage at the first damage."""
    directory = pathlib.Path(directory)
    node_id = node_id_of(directory)
    marks = load_marks(directory, node_id)
    numbers = journal_numbers(directory)
    for number, mark in enumerate(marks):
        if mark and number not in numbers:
            raise SegmentDamage(directory / f"journal-{number:04d}", 0,
                                f"missing, though {mark} records are durable")
    for number in numbers:
        if number >= WATERMARK_SLOTS:
            raise SegmentDamage(directory / f"journal-{number:04d}", 0,
                                "a journal without a slot for its mark")
        yield from Journal(directory, number, node_id, marks[number]).records()


def main():
    parser = argparse.ArgumentParser(description="Prints the records of a Sluice data directory.")
    parser.add_argument(
        "--raw", action="store_true", help="the bodies' original bytes, each with a newline")
    parser.add_argument("directory", metavar="DIR")
    try:
        arguments = parser.parse_args()
    except SystemExit as exit_:
        sys.exit(64 if exit_.code else 0)
    output = sys.stdout.buffer
    try:
        for record in records(arguments.directory):
            if arguments.raw and record.kind == "lost":
                continue
            output.write(record.body if arguments.raw else json.dumps(record.as_json()).encode())
            output.write(b"\n")
    except SegmentDamage as damage:
        output.flush()
        print(f"segment_reader: {damage}", file=sys.stderr)
        sys.exit(1)
    output.flush()


if __name__ == "__main__":
    main()
