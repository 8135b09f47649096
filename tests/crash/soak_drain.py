"""Promise P13 at full size: SIGTERM under load, again and again; nothing answered is lost.

usage: soak_drain.py [--cycles N] [--seed N]

Each data directory lives through CYCLES_PER_DIRECTORY engines. Each engine is loaded in a random way over 8 to 48 connections and
gets SIGTERM at a random moment. It must exit 0 within 5 s; every receipt's record is there, nothing answered 503 is, what was not
answered is there once at most, and the next engine goes on with the next sequence number.
The last line is RESULT and a JSON object.
"""

import argparse
import json
import os
import pathlib
import random
import select
import shutil
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "system"))

import block_stack  # noqa: E402  (the path comes first)
import forms  # noqa: E402
import harness  # noqa: E402
import reconcile  # noqa: E402
from ledger import Ledger  # noqa: E402
from load import CHUNKED, PIPELINED, PLAIN, SPLIT, Load, Trigger  # noqa: E402
from tailing import Loader, places_of  # noqa: E402

CYCLES_PER_DIRECTORY = 25
FORMS_PER_CYCLE = 2500
TRANSPORTS = (PLAIN, PIPELINED, CHUNKED, SPLIT)
CONNECTIONS = 8, 48
SEGMENT_BYTES = 1 << 20, 4 << 20, 8 << 20


class Violation(AssertionError):
    """What a drain must not do."""


class DrainTally(reconcile.Tally):
    """With the longest time from SIGTERM to exit."""

    slowest_s = 0.0

    def line(self):
        name, result = super().line().split(" ", 1)
        return f"{name} " + json.dumps({**json.loads(result), "slowest_s": round(self.slowest_s, 3)})


class DrainLoad(Load):
    """Also knows which forms were answered 503, and which went out at all."""

    def run(self, indexes, trigger=None):
        self.refused_forms = set()
        super().run(indexes, trigger)
        self.sent_forms = set(indexes) - set(self.queue)

    def _open(self):
        if not self._may_end():  # a draining engine takes no new connections
            super()._open()

    def _answered(self, connection, response):
        index = connection.awaiting[0] if connection.awaiting else None
        super()._answered(connection, response)
        if response.status == 503:
            self.refused_forms.add(index)


class Drain:
    """SIGTERM to an engine, and how long it takes to exit."""

    def __init__(self, engine):
        self.engine = engine
        self.began = self.ended = None
        self.exited = os.pidfd_open(engine.pid)
        self.watcher = threading.Thread(target=self._watch, daemon=True)

    def begin(self):
        self.began = time.monotonic()
        self.watcher.start()
        self.engine.terminate()

    def _watch(self):
        poll = select.poll()
        poll.register(self.exited, select.POLLIN)
        poll.poll(2000 * harness.STOP_S)
        self.ended = time.monotonic()

    def finish(self):
        """Waits for the exit; returns the seconds since SIGTERM."""
        code = self.engine.wait()
        self.watcher.join()
        os.close(self.exited)
        if code != 0:
            raise Violation(f"exit code {code}\n{self.engine.log_tail()}")
        seconds = self.ended - self.began
        if seconds >= harness.STOP_S:
            raise Violation(f"the drain took {seconds:.1f} s")
        return seconds


class Directory:
    """One data directory through all its engines: what was sent, answered and stored."""

    def __init__(self, path, seeded, cycles):
        self.path, self.seeded = path, seeded
        self.data = path / "data"
        self.fleet = harness.Fleet(path)
        self.loader = Loader()  # one tail through all its engines (promise P8)
        self.settings = {"segment_bytes": seeded.choice(SEGMENT_BYTES)}
        pool = forms.synthetic(cycles * FORMS_PER_CYCLE, seed=seeded.getrandbits(32))
        self.ledger = Ledger(pool)
        self.to_send = list(range(len(pool)))
        self.stored = {}  # digest -> place
        self.next_sequence = {}  # of each journal

    def cycle(self):
        """One engine's life under load. Returns the seconds that it drained."""
        seeded = self.seeded
        engine = self.fleet.start(self.data, self.settings)
        self.loader.start(self.data)
        drain = Drain(engine)
        transport, connections = seeded.choice(TRANSPORTS), seeded.randint(*CONNECTIONS)
        load = DrainLoad(engine.address, self.ledger, seeded, transport, connections)
        moment = {seeded.choice(("acks", "sends")): seeded.randint(1, FORMS_PER_CYCLE // 2)}
        trigger = Trigger(drain.begin, delay_s=seeded.choice((0.0, seeded.uniform(0, 0.02))),
                          **moment)
        indexes = self.to_send[:FORMS_PER_CYCLE]
        before = set(self.ledger.receipts)
        load.run(indexes, trigger)
        seconds = drain.finish()
        self._reconcile(load, set(self.ledger.receipts) - before)
        # 503 says that it is not stored, so it is sent again; what got no answer is not
        self.to_send = [index for index in self.to_send
                        if index not in load.sent_forms or index in load.refused_forms]
        self.refused, self.acknowledged = len(load.refused_forms), load.acks
        self.was_under_load = len(load.sent_forms) < len(indexes)
        return seconds

    def _new_records(self):
        for directory in sorted(self.data.glob("journal-*")):
            journal = int(directory.name[-4:])
            first = self.next_sequence.setdefault(journal, 1)
            for record in harness.cat(self.data, "--journal", journal, "--from", first):
                if record["sequence"] != self.next_sequence[journal]:
                    raise Violation(f"sequence {self.next_sequence[journal]} expected: {record}")
                self.next_sequence[journal] += 1
                yield (journal, record["sequence"]), record

    def _reconcile(self, load, receipts):
        """What this engine stored against what it answered."""
        for place, record in self._new_records():
            digest = record["sha256"]
            index = self.ledger.index_of.get(digest)
            if index not in load.sent_forms:
                raise Violation(f"this engine was not sent {record}")
            if digest in self.stored:
                raise Violation(f"stored twice, at {self.stored[digest]} and {place}")
            if index in load.refused_forms:
                raise Violation(f"answered 503 and stored: {record}")
            if index in self.ledger.acknowledged and place not in receipts:
                raise Violation(f"the receipt names another place: {record}")
            self.stored[digest] = place
        for place in receipts:
            if self.stored.get(self.ledger.receipts[place]["sha256"]) != place:
                raise Violation(f"acknowledged and not there: {self.ledger.receipts[place]}")

    def close(self):
        """The directory as a whole: contents, bytes, checksums, hash chain; logs of the engines."""
        records = harness.cat(self.data)
        if len(records) != len(self.stored):
            raise Violation(f"{len(records)} records, {len(self.stored)} were there before")
        reconcile.check_rest(self.ledger, self.data, records)
        self.loader.check(places_of(records))
        self.fleet.close()


def live(directory, cycles, tally):
    for _ in range(cycles):
        tally.slowest_s = max(tally.slowest_s, directory.cycle())
        tally.faults += 1
        tally.acknowledged += directory.acknowledged
        tally.notes["answered 503"] += directory.refused
        tally.notes["SIGTERM with forms left to send"] += directory.was_under_load
        tally.cycle_done()
    directory.close()


def soak(cycles, seed, tally):
    seeded = random.Random(seed)
    while tally.cycles < cycles and not tally.losses:
        count = min(CYCLES_PER_DIRECTORY, cycles - tally.cycles)
        path = pathlib.Path(tempfile.mkdtemp(prefix="sluice-drain-"))
        directory = Directory(path, seeded, count)
        try:
            live(directory, count, tally)
        except AssertionError as fault:
            tally.lose(1, f"{path}: {fault}")
        finally:
            directory.loader.stop()
            tally.take(directory.loader)
            for engine in directory.fleet.engines:
                engine.destroy()
        if not tally.losses:
            shutil.rmtree(path)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cycles", type=int, default=500)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    block_stack.end_tidily()
    harness.open_files_at_least(0)
    tally = DrainTally("drain", "P13", options.seed)
    tally.progress_every = 50
    soak(options.cycles, options.seed, tally)
    return 0 if tally.show() else 1


if __name__ == "__main__":
    sys.exit(main())
