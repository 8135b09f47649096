"""What a fault has cost: the receipts of a ledger against a data directory, counted."""

import collections
import contextlib
import json
import time

import harness
import ledger as ledgers
from tailing import places_of


VANISHED = "were shown by a tail and are not there"


def lost_receipts(ledger, records):
    """Receipts whose record is missing, or is another submission's."""
    digest_at = {(record["journal"], record["sequence"]): record["sha256"] for record in records}
    return [receipt for place, receipt in ledger.receipts.items()
            if digest_at.get(place) != receipt["sha256"]]


def check_rest(ledger, data, records):
    """Beyond the receipts: sequences without gap, contents, bytes, checksums and hash chain."""
    ledgers.check_sequences(records)
    ledgers.check_receipts(ledger, records)
    ledgers.check_contents(ledger, records)
    ledgers.check_raw_bytes(ledger, data, records)
    harness.verify(data)


def losses(ledger, data, loader):
    """(how many receipts are lost, why). A directory that cannot be read has lost them all; one
    that is wrong in another way has lost at least one. What the loader was shown is as good as a
    receipt."""
    try:
        records = harness.cat(data)
    except harness.EngineFailed as fault:
        return max(1, len(ledger.receipts)), str(fault)
    lost = lost_receipts(ledger, records)
    gone = loader.vanished(places_of(records))
    if lost or gone:
        both = {(receipt["journal"], receipt["sequence"]) for receipt in lost} | set(gone)
        why = [f"{len(lost)} receipts lost, such as {lost[:1]}"] if lost else []
        why += [f"{len(gone)} records {VANISHED}, such as {gone[:1]}"] if gone else []
        return len(both), "; ".join(why)
    try:
        check_rest(ledger, data, records)
    except AssertionError as fault:
        return 1, str(fault)
    return loader.compare(places_of(records))


def check_log(engine):
    """No sanitizer had anything to report."""
    assert not harness.REPORTS.search(engine.log()), engine.log_tail(300)


@contextlib.contextmanager
def engine_from(binary):
    """Within: the harness starts this binary; None leaves it as it is."""
    before = harness.BINARY
    harness.BINARY = binary or before
    try:
        yield
    finally:
        harness.BINARY = before


class Tally:
    """The line that a suite ends with, and the counts behind it."""

    def __init__(self, suite, promise, seed):
        self.suite, self.promise, self.seed = suite, promise, seed
        self.cycles = self.acknowledged = self.faults = self.losses = 0
        self.tailed = 0  # records that tails have shown
        self.reasons = []  # of losses
        self.notes = collections.Counter()  # whatever else is worth counting
        self.started = time.monotonic()
        self.progress_every = 0  # cycles; 0: silent

    def cycle_done(self):
        self.cycles += 1
        if self.progress_every and self.cycles % self.progress_every == 0:
            print(f"{self.cycles} cycles, {self.acknowledged} acknowledged, {self.losses} lost, "
                  f"{self.seconds()} s", flush=True)

    def lose(self, count, reason):
        self.losses += count
        self.reasons.append(reason)

    def take(self, loader):
        """What a loader has seen in all, at its end."""
        self.tailed += loader.count
        for fault in loader.faults:
            self.lose(1, fault)

    def seconds(self):
        return round(time.monotonic() - self.started, 1)

    def line(self):
        return "RESULT " + json.dumps({
            "suite": self.suite, "promise": self.promise, "cycles": self.cycles,
            "acknowledged": self.acknowledged, "faults": self.faults, "losses": self.losses,
            "tailed": self.tailed, "seed": self.seed, "seconds": self.seconds()})

    def show(self):
        """Prints the reasons, the notes, and the result as the last line; says whether all is
        well."""
        for reason in self.reasons[:20]:
            print(f"LOST {reason}")
        print("also counted: " + ", ".join(f"{what} {n}" for what, n in sorted(self.notes.items())))
        print(self.line(), flush=True)
        return self.losses == 0
