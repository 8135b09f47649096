"""What was sent, what was acknowledged, and whether a data directory keeps those promises."""

import hashlib
import json

import harness

# Receipt and record say the same of these.
SHARED_KEYS = ("submissionId", "journal", "sequence", "receivedAt", "sha256")
# A form and its record say the same of these, where the form has them.
FORM_KEYS = ("submissionId", "studyId", "centerId", "patientId", "instrument")


class Ledger:
    """The forms of one data directory, by index, and every receipt that came for them."""

    def __init__(self, forms):
        self.forms = list(forms)
        self.digests = [hashlib.sha256(form).hexdigest() for form in self.forms]
        self.index_of = {digest: index for index, digest in enumerate(self.digests)}
        assert len(self.index_of) == len(self.forms), "the forms must differ from each other"
        self.receipts = {}  # (journal, sequence) -> receipt
        self.acknowledged = set()  # indexes of forms

    def record(self, index, receipt):
        """Notes that form `index` was acknowledged; fails on a receipt for something else."""
        place = receipt["journal"], receipt["sequence"]
        if receipt["sha256"] != self.digests[index]:
            sent = self.index_of.get(receipt["sha256"])
            raise AssertionError(f"the receipt for form {index} is that of form {sent}: {receipt}")
        if place in self.receipts:
            raise AssertionError(f"acknowledged twice: {self.receipts[place]} and {receipt}")
        self.receipts[place] = receipt
        self.acknowledged.add(index)

    def unacknowledged(self):
        return [index for index in range(len(self.forms)) if index not in self.acknowledged]


def by_journal(records):
    """The records of each journal, in the order given."""
    journals = {}
    for record in records:
        journals.setdefault(record["journal"], []).append(record)
    return journals


def check_sequences(records):
    """Sequences run from 1 without gap, repeat or disorder in every journal."""
    for journal, own in by_journal(records).items():
        sequences = [record["sequence"] for record in own]
        assert sequences == list(range(1, len(own) + 1)), f"sequences of journal {journal}"


def as_in_receipt(record):
    """What a receipt says of the record: with findings where there was a registry."""
    said = {key: record[key] for key in SHARED_KEYS}
    if "registryVersion" in record:
        said["findings"] = [finding_as_in_receipt(**finding) for finding in record["findings"]]
    return said


def finding_as_in_receipt(code, detail=None):
    if detail is None:
        return {"code": code}
    of_item = code in ("unknown-item", "wrong-type", "out-of-range", "missing-item")
    return {"code": code, "item" if of_item else "detail": detail}


def check_receipts(ledger, records):
    """The record of every receipt is there and says what the receipt says."""
    record_at = {(record["journal"], record["sequence"]): record for record in records}
    lost = [receipt for place, receipt in ledger.receipts.items() if place not in record_at]
    assert not lost, f"{len(lost)} acknowledged and not there, the first: {lost[0]}"
    for place, receipt in ledger.receipts.items():
        record = record_at[place]
        assert as_in_receipt(record) == receipt


def check_contents(ledger, records):
    """Every record is a form that was sent, member by member."""
    for record in records:
        assert record["sha256"] in ledger.index_of, f"nobody sent this: {record}"
        form = json.loads(ledger.forms[ledger.index_of[record["sha256"]]])
        assert record["body"] == form
        assert record["kind"] == "submission"
        for key in FORM_KEYS:
            assert form.get(key) in (None, record[key]), f"{key} of {record}"


def check_raw_bytes(ledger, data, records):
    """`cat --raw` gives each record's body byte for byte as it was sent."""
    for journal, own in by_journal(records).items():
        sent = [ledger.forms[ledger.index_of[record["sha256"]]] for record in own]
        raw = harness.cat_raw(data, "--journal", journal)
        if raw == b"".join(form + b"\n" for form in sent):
            continue
        offset = 0
        for record, form in zip(own, sent):
            stored = raw[offset:offset + len(form) + 1]
            assert stored == form + b"\n", f"bytes of record {record}"
            offset += len(form) + 1
        raise AssertionError(f"{len(raw) - offset} bytes too many in journal {journal}")


def check_directory(ledger, data, complete=True):
    """Everything that a data directory promises to those who hold its receipts.
    `complete`: each form is stored at least once. Returns the records."""
    records = harness.cat(data)
    check_sequences(records)
    check_receipts(ledger, records)
    check_contents(ledger, records)
    check_raw_bytes(ledger, data, records)
    if complete:
        stored = {record["sha256"] for record in records}
        missing = [index for index, digest in enumerate(ledger.digests) if digest not in stored]
        assert not missing, f"{len(missing)} forms are not stored, the first is {missing[0]}"
    harness.verify(data)
    return records
