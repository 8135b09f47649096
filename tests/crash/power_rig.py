"""Cuts the power under the engine, again and again, and counts what was lost (promise P2).

One life is one filesystem with one ledger: the stack comes up, ext4 replays its journal, the engine
recovers, the ledger is compared with the directory, more is submitted, and the power goes at a
random moment. Now and then it goes while the engine still recovers. After a few cuts, or a loss,
the next life starts on a new filesystem. A tail reads along until the mount goes away, and resumes
at its cursor, before the engine, when it is back (promise P8).
"""

import dataclasses
import itertools
import os
import pathlib
import random
import shutil
import subprocess
import time

import block_stack
import forms
import harness
from ledger import Ledger
from load import PIPELINED, PLAIN, Load, Trigger
from reconcile import Tally, check_log, engine_from, losses
from tailing import Loader

FAULTY = pathlib.Path(os.environ.get("SLUICE_FAULTY")
                      or harness.BINARY.parents[1] / "tests/crash/sluice-faulty")

IMAGE_MEBIBYTES = 112
CUTS_PER_LIFE = 12
ACKS_MAX = 500  # before a cut
AFTER_ACKS_S_MAX = 0.006
DEAD_DISK_S_MAX = 0.003  # how long the engine goes on with a disk that is gone
RECOVERY_CUT_CHANCE = 0.15
RECOVERY_CUT_S_MAX = 0.04
ARMED_CHANCE = 0.5  # the disk goes at a request of a certain kind, not at a moment
ARMED_MAGICS = ("SLUICSEG", "SLUICSEG", "SLUICFTR", "SLUICBAT", "")  # engine/segment/format.h
ACKS_ARMED_MAX = 1200  # where no such request comes
SLOW_CHANCE = 0.3  # an engine with delays between write and flush: a reader has time to look
SLOW_ENGINE = {"SLUICE_FAULT_DELAY": "500", "SLUICE_FAULT_DELAY_US": "30000"}
READER_FIRST_CHANCE = 0.5  # the power goes when the tail has just shown what is acknowledged
KEPT_PERCENTS = (0, 5, 25, 50, 75, 95)

# Small tables, so that the engine starts quickly.
SMALL_ENGINE = {"connections_max": 256, "requests_max": 1024, "receive_buffers_max": 256,
                "send_buffers_max": 256, "queue_slots": 4096, "large_arenas_max": 8}


@dataclasses.dataclass(frozen=True)
class Disk:
    """How a life's disk behaves. `granularity` 0: the cache filter, which drops everything."""
    name: str
    granularity: int
    honest: bool = True

    def nbdkit(self, image, seed):
        if self.granularity == 0:
            return block_stack.cache_disk(image, unsafe=not self.honest)
        return block_stack.sector_disk(image, seed, self.granularity, ignore_flush=not self.honest)


CACHE = Disk("write cache", 0)
SECTORS_512 = Disk("sectors of 512", 512)
SECTORS_4096 = Disk("sectors of 4096", 4096)
HONEST_DISKS = (CACHE, SECTORS_512, SECTORS_4096)
LYING_DISKS = (Disk("lying write cache", 0, False), Disk("lying sectors", 512, False))
# what PowerRig needs for an engine that acknowledges, and publishes its watermark, before the flush
EARLY_ACKNOWLEDGEMENT = {"binary": FAULTY, "environment": {"SLUICE_FAULT_LIE": "1"}}


class CutLoad(Load):
    """When the disk goes by itself, the first refusal says so and pulls the trigger."""

    went_by_itself = False

    def _answered(self, connection, response):
        if response.status == 503 and not self.trigger.fired:
            assert response.problem()["slug"] in ("journal-failed", "disk-full"), response
            self.went_by_itself = True
            self.trigger.fire()
        super()._answered(connection, response)


class Life:
    """One filesystem, its ledger, and the engines that run on it one after the other."""

    def __init__(self, rig, source):
        self.rig, self.random = rig, source
        self.kind = source.choice(rig.disks)
        self.settings = {**SMALL_ENGINE, "segment_bytes": source.choice((1, 2, 4)) << 20,
                         "mark_idle_ms": source.choice((1, 5, 100))}
        self.ledger = Ledger(source.sample(rig.forms, len(rig.forms)))
        self.image = rig.work / "image"
        self.disk = self.engine = None
        self.loader = Loader()
        self.cuts = 0
        self.slow = False
        block_stack.make_ext4(self.image, IMAGE_MEBIBYTES)

    def power_on(self):
        self.disk = block_stack.CutDisk(
            self.rig.work, self.kind.nbdkit(self.image, self.random.getrandbits(32)))

    @property
    def data(self):
        return self.disk.directory / "data"

    def start_engine(self):
        self.loader.start(self.data)
        self.slow = self.rig.binary is None and self.random.random() < SLOW_CHANCE
        with engine_from(FAULTY if self.slow else self.rig.binary):
            self.engine = harness.Engine(
                self.data, self.rig.work / "engine.log", self.settings, None,
                {**self.rig.environment, **(SLOW_ENGINE if self.slow else {})})
        self.loader.start(self.data)  # where only now there is something to follow

    def cut(self):
        """The disk decides what it keeps; then it is gone."""
        self.cuts += 1
        if self.kind.granularity:
            answer = self.disk.command(f"cut {self.random.choice(KEPT_PERCENTS)}")
            assert answer[0] == "kept", answer
            self.rig.tally.notes["sectors kept"] += int(answer[1])
            self.rig.tally.notes["sectors dropped"] += int(answer[3])
        self.disk.cut_off()

    def arm(self):
        """The power will go a few requests behind the next one of a kind: between the writes and
        flushes of a segment that is taken into use or sealed, or within a batch."""
        count = self.random.randint(*self.random.choice(((0, 6), (0, 6), (0, 200))))
        magic = self.random.choice(ARMED_MAGICS)
        self.disk.command(f"arm {count} {self.random.choice(KEPT_PERCENTS)} {magic}")
        self.rig.tally.notes[f"armed for {magic or 'any request'}"] += 1

    def cut_under_load(self):
        def act():
            if reader_first:
                self.loader.see(len(self.ledger.receipts))
            self.cut()
            time.sleep(self.random.uniform(0.0, DEAD_DISK_S_MAX))
            self.engine.kill()

        armed = self.kind.granularity > 0 and self.random.random() < ARMED_CHANCE
        reader_first = not armed and self.random.random() < READER_FIRST_CHANCE
        if armed:
            self.arm()
        transport = self.random.choice((PLAIN, PIPELINED) if armed else (PLAIN, PLAIN, PIPELINED))
        load = (CutLoad if armed else Load)(
            self.engine.address, self.ledger, self.random, transport,
            connections=self.random.randint(8, 48))
        load.run(self.ledger.unacknowledged(), Trigger(
            act, acks=ACKS_ARMED_MAX if armed else self.random.randint(1, ACKS_MAX),
            delay_s=self.random.choice((0.0, self.random.uniform(0.0, AFTER_ACKS_S_MAX)))))
        self.rig.tally.acknowledged += load.acks
        self.rig.tally.notes["cuts with slow flushes"] += self.slow
        self.rig.tally.notes["refused after the cut"] += load.refused
        self.rig.tally.notes["cuts at the armed request"] += armed and load.went_by_itself
        self.engine.wait()
        check_log(self.engine)

    def cut_during_recovery(self):
        """Whatever the engine says of a disk that vanishes while it recovers, it may not say that
        it is ready and lose something; that shows at the next start."""
        process = subprocess.Popen(
            harness.serve_command(self.data, self.settings, None), stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env={**os.environ, **self.rig.environment})
        try:
            time.sleep(self.random.uniform(0.0, RECOVERY_CUT_S_MAX))
            self.cut()
        finally:
            process.kill()
            process.wait(harness.STOP_S)
        self.rig.tally.notes["cuts during recovery"] += 1

    def come_back(self):
        """(losses, why) after the power is back; 0 with the engine running."""
        try:
            self.power_on()
            self.start_engine()
        except (OSError, harness.EngineFailed) as fault:  # no filesystem, or no engine on it
            return max(1, len(self.ledger.receipts)), str(fault)
        self.rig.tally.notes["torn tails"] += self.engine.log().count("event=torn-tail")
        return losses(self.ledger, self.data, self.loader)

    def is_over(self):
        spent = len(self.ledger.acknowledged) + 2 * ACKS_MAX > len(self.ledger.forms)
        return spent or self.cuts >= CUTS_PER_LIFE

    def power_off(self):
        if self.engine is not None:
            self.engine.destroy()
            self.engine = None
        self.loader.stop(disk_may_fail=True)
        if self.disk is not None:
            self.disk.close()
            self.disk = None

    def close(self):
        self.power_off()
        self.rig.tally.take(self.loader)
        self.image.unlink(missing_ok=True)


class PowerRig:
    """Runs cuts and keeps their tally. `binary`: another engine than the harness's."""

    def __init__(self, seed, disks=HONEST_DISKS, binary=None, environment=None, keep_evidence=None):
        self.seed, self.disks = seed, disks
        self.binary, self.environment = binary, environment or {}
        self.keep_evidence = keep_evidence  # a directory for what is left of a life with losses
        self.forms = forms.pilot()
        self.tally = Tally("power cut", "P2", seed)

    def run(self, cuts, seconds=float("inf"), until=None):
        """At most `cuts` cuts and about `seconds`, or until a loss's reason has the text `until` in
        it; every cut is followed by a comparison."""
        self.work = block_stack.work_directory()
        deadline = time.monotonic() + seconds
        try:
            with engine_from(self.binary):
                for number in itertools.count():
                    self._run_life(number, cuts, deadline)
                    over = self.tally.cycles >= cuts or time.monotonic() >= deadline
                    if over or (until is not None and self._has_lost(until)):
                        return self.tally
        finally:
            shutil.rmtree(self.work, ignore_errors=True)

    def _has_lost(self, text):
        return any(text in reason for reason in self.tally.reasons)

    def _run_life(self, number, cuts, deadline):
        life = Life(self, random.Random(f"{self.seed}:{number}"))
        try:
            while self._compare(life, number) and self._goes_on(life, cuts, deadline):
                if life.random.random() < RECOVERY_CUT_CHANCE:
                    self._stop_engine(life)
                    life.cut_during_recovery()
                else:
                    life.cut_under_load()
                life.power_off()
                self.tally.cycle_done()
                self.tally.faults += 1
        finally:
            life.close()

    def _goes_on(self, life, cuts, deadline):
        return not life.is_over() and self.tally.cycles < cuts and time.monotonic() < deadline

    def _compare(self, life, number):
        """False when something was lost, which is noted."""
        lost, why = life.come_back()
        if lost == 0:
            return True
        self.tally.lose(lost, f"life {number} cut {life.cuts} on {life.kind.name}: {why}")
        self._keep(life, number)
        return False

    def _stop_engine(self, life):
        """The power goes while the next engine recovers, so this one has to be gone."""
        life.engine.kill()
        life.engine.wait()
        life.engine.destroy()
        life.engine = None

    def _keep(self, life, number):
        if self.keep_evidence is None:
            return
        place = pathlib.Path(self.keep_evidence) / f"seed-{self.seed}-life-{number}"
        place.mkdir(parents=True, exist_ok=True)
        life.power_off()
        shutil.copy(life.image, place / "image")
        log = self.work / "engine.log"
        if log.exists():
            shutil.copy(log, place / "engine.log")
