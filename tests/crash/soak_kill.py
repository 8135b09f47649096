"""Promise P1 at full size: SIGKILL under load, recovery killed too, every receipt reconciled.

usage: soak_kill.py [--kills N] [--records N] [--seed N]

Each data directory lives through KILLS_PER_DIRECTORY kills; then every receipt that any of its engines gave is looked
for, and the directory is verified. Ends when both the kills and the acknowledged records are reached.
The last line is RESULT and a JSON object.
"""

import argparse
import json
import pathlib
import random
import shutil
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "system"))

import forms  # noqa: E402  (the path comes first)
import harness  # noqa: E402
from ledger import Ledger, check_sequences  # noqa: E402
from load import CHUNKED, PIPELINED, PLAIN, SPLIT, Load, Trigger  # noqa: E402

KILLS_PER_DIRECTORY = 20
FORMS_PER_KILL = 6000
TRANSPORTS = (PIPELINED,) * 7 + (PLAIN, CHUNKED, SPLIT)


class Reconciliation(AssertionError):
    """A receipt without its record, or a record that is not what was sent."""


class Directory:
    """One data directory and the receipts of all its engines."""

    def __init__(self, path, pool, seeded):
        self.data = path / "data"
        self.path = path
        self.fleet = harness.Fleet(path)
        self.pool = pool
        self.seeded = seeded
        self.receipts = {}  # (journal, sequence) -> SHA-256
        self.settings = {"segment_bytes": seeded.choice((1 << 20, 4 << 20, 8 << 20))}

    def live_and_die(self):
        """Starts an engine, loads it, kills it at a random moment; returns what it acknowledged."""
        if self.data.exists() and self.seeded.random() < 0.3:
            harness.kill_while_starting(self.data, self.settings, self.seeded.uniform(0, 0.1))
        engine = self.fleet.start(self.data, self.settings)
        ledger = Ledger(self.pool)
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
        """Returns the receipts without their record."""
        engine = self.fleet.start(self.data, self.settings)
        engine.terminate()
        if engine.wait() != 0:
            raise Reconciliation("the last engine did not stop cleanly")
        records = harness.cat(self.data)
        check_sequences(records)
        stored = {(record["journal"], record["sequence"]): record["sha256"] for record in records}
        harness.verify(self.data)  # each body has its SHA-256
        return [place for place, sha256 in self.receipts.items() if stored.get(place) != sha256]


def soak(kills, records, seed):
    seeded = random.Random(seed)
    pool = forms.synthetic(FORMS_PER_KILL)
    done = acknowledged = losses = 0
    while done < kills or acknowledged < records:
        path = pathlib.Path(tempfile.mkdtemp(prefix="sluice-soak-"))
        directory = Directory(path, pool, seeded)
        try:
            for _ in range(KILLS_PER_DIRECTORY):
                acknowledged += directory.live_and_die()
                done += 1
            lost = directory.reconcile()
            losses += len(lost)
            directory.fleet.close()
        finally:
            for engine in directory.fleet.engines:
                engine.destroy()
        if lost:
            print(f"{path}: lost {lost[:5]}", file=sys.stderr)
            break
        shutil.rmtree(path)
        if done % 100 == 0:
            print(f"{done} kills, {acknowledged} acknowledged, {losses} lost", flush=True)
    return done, acknowledged, losses


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=2000)
    parser.add_argument("--records", type=int, default=0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    options = parser.parse_args()
    start = time.monotonic()
    harness.open_files_at_least(0)
    done, acknowledged, losses = soak(options.kills, options.records, options.seed)
    print("RESULT " + json.dumps({
        "suite": "process death", "promise": "P1", "cycles": done, "acknowledged": acknowledged,
        "faults": done, "losses": losses, "seed": options.seed,
        "seconds": round(time.monotonic() - start)}))
    return 1 if losses else 0


if __name__ == "__main__":
    sys.exit(main())
