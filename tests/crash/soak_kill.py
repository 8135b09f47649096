"""Promise P1 at full size: SIGKILL under load, recovery killed too, every receipt reconciled.

usage: soak_kill.py [--kills N] [--records N] [--seed N]

Each data directory lives through KILLS_PER_DIRECTORY kills; then every receipt that any of its engines gave is looked
for, and the directory is verified. One tail reads along through all of it (promise P8). Ends when both the kills and the
acknowledged records are reached. The last line is RESULT and a JSON object.
"""

import argparse
import pathlib
import random
import shutil
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "system"))

import block_stack  # noqa: E402  (the path comes first)
import forms  # noqa: E402
import harness  # noqa: E402
from ledger import Ledger  # noqa: E402
from load import CHUNKED, PIPELINED, PLAIN, SPLIT, Load, Trigger  # noqa: E402
from reconcile import Tally  # noqa: E402
from tailing import Loader, places  # noqa: E402

KILLS_PER_DIRECTORY = 20
PROGRESS_EVERY = 100  # kills
FORMS_PER_KILL = 6000
NUMBER_DIGITS = 8  # the first group of a UUID
TRANSPORTS = (PIPELINED,) * 7 + (PLAIN, CHUNKED, SPLIT)


class Reconciliation(AssertionError):
    """A receipt without its record, or a record that is not what was sent."""


class Pool:
    """Forms for one life after the other: the same but for the first characters of submissionId, so
    that each is a submission of its own."""

    def __init__(self, count):
        self.parts = []
        for form in forms.synthetic(count):
            head, mark, rest = form.partition(b'"submissionId"')
            quote = rest.index(b'"') + 1
            self.parts.append((head + mark + rest[:quote], rest[quote + NUMBER_DIGITS:]))
        self.lives = 0

    def __len__(self):
        return len(self.parts)

    def next_life(self):
        self.lives += 1
        number = b"%0*x" % (NUMBER_DIGITS, self.lives)
        return [head + number + rest for head, rest in self.parts]


class Directory:
    """One data directory and the receipts of all its engines."""

    def __init__(self, path, pool, seeded):
        self.data = path / "data"
        self.path = path
        self.fleet = harness.Fleet(path)
        self.loader = Loader()
        self.pool = pool
        self.seeded = seeded
        self.receipts = {}  # (journal, sequence) -> SHA-256
        self.settings = {"segment_bytes": seeded.choice((1 << 20, 4 << 20, 8 << 20))}

    def live_and_die(self):
        """Starts an engine, loads it, kills it at a random moment; returns what it acknowledged."""
        if self.data.exists() and self.seeded.random() < 0.3:
            harness.kill_while_starting(self.data, self.settings, self.seeded.uniform(0, 0.1))
        engine = self.fleet.start(self.data, self.settings)
        self.loader.start(self.data)  # once, when there is something to follow
        ledger = Ledger(self.pool.next_life())
        moment = self.seeded.randint(FORMS_PER_KILL // 4 * 3, FORMS_PER_KILL * 99 // 100)
        Load(engine.address, ledger, self.seeded, self.seeded.choice(TRANSPORTS),
             connections=self.seeded.randint(16, 48)).run(
                 range(len(self.pool)), Trigger(engine.kill, acks=moment))
        engine.wait()
        for place, receipt in ledger.receipts.items():
            if place in self.receipts:
                raise Reconciliation(f"{place} was acknowledged by two engines")
            self.receipts[place] = receipt["sha256"]
        return len(ledger.receipts)

    def reconcile(self):
        """Returns (how many receipts have no record, or were shown and are not there, why)."""
        engine = self.fleet.start(self.data, self.settings)
        engine.terminate()
        if engine.wait() != 0:
            raise Reconciliation("the last engine did not stop cleanly")
        stored = places(harness.cat_output(self.data))
        check_sequences(stored)
        harness.verify(self.data)  # each body has its SHA-256
        digests = {(journal, sequence): sha256.decode() for journal, sequence, sha256 in stored}
        lost = [place for place, sha256 in self.receipts.items() if digests.get(place) != sha256]
        if lost:
            return len(lost), f"acknowledged and not there: {lost[:5]}"
        return self.loader.compare(stored)

    def close(self):
        self.loader.stop()
        for engine in self.fleet.engines:
            engine.destroy()


def check_sequences(stored):
    """As ledger.check_sequences, for places."""
    due = {}
    for journal, sequence, _sha256 in stored:
        if sequence != due.setdefault(journal, 1):
            raise Reconciliation(f"journal {journal}: {sequence} follows {due[journal] - 1}")
        due[journal] += 1


def run_directory(tally, pool, seeded):
    """False when it is no use to go on: the directory is kept then."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="sluice-soak-"))
    directory = Directory(path, pool, seeded)
    try:
        for _ in range(KILLS_PER_DIRECTORY):
            tally.acknowledged += directory.live_and_die()
            tally.faults += 1
            tally.cycle_done()
        lost, why = directory.reconcile()
        if lost:
            tally.lose(lost, f"{path}: {why}")
        directory.fleet.close()
    except SystemExit:  # told to stop
        shutil.rmtree(path, ignore_errors=True)
        raise
    finally:
        directory.close()
        tally.take(directory.loader)
    if not tally.losses:
        shutil.rmtree(path)
    return not tally.losses


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=2000)
    parser.add_argument("--records", type=int, default=0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    options = parser.parse_args()
    block_stack.end_tidily()
    harness.open_files_at_least(0)
    print(f"seed {options.seed}", flush=True)
    tally = Tally("process death", "P1", options.seed)
    tally.progress_every = PROGRESS_EVERY
    seeded = random.Random(options.seed)
    pool = Pool(FORMS_PER_KILL)
    while tally.cycles < options.kills or tally.acknowledged < options.records:
        if not run_directory(tally, pool, seeded):
            break
    return 0 if tally.show() else 1


if __name__ == "__main__":
    sys.exit(main())
