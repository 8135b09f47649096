"""Disks that fail under the engine (promise P5): after an error on a write or a flush nothing is
acknowledged from that journal, and nothing that was acknowledged before is lost.

Two ways to fail. The shim (ring_io_faulty.c) turns operations of the data path alone into errors;
under the real engine, nbdkit makes the disk below a real ext4 fail once a trigger is pulled. In
each cycle the engine serves, the disk begins to fail, submissions go on until enough were refused,
the disk heals, still nothing is acknowledged by a failed journal, SIGTERM ends the engine with 74,
the power may go as well, and the normal engine finds every receipt. A tail reads along whenever the
disk is there (promise P8).
"""

import dataclasses
import itertools
import pathlib
import random
import re
import shutil
import time

import block_stack
import forms
import harness
import health
from ledger import Ledger
from load import PIPELINED, PLAIN, Load
from power_rig import FAULTY, SMALL_ENGINE
from reconcile import Tally, check_log, engine_from, losses
from refusing_load import RefusingLoad
from tailing import Loader

IMAGE_MEBIBYTES = 64
CYCLES_PER_LIFE = 8
ACKS_MAX = 300  # before the disk fails
REFUSALS = 60
FORMS_MIN = 2000  # left for a cycle, so that something fails before they are used up
AFTER_HEALING = 40  # submissions to an engine whose disk is well again
EXIT_JOURNAL_FAILED = 74
POWER_CUT_CHANCE = 0.5  # instead of an orderly unmount
FAILED_LINE = re.compile(r"event=journal-failed journal=(\d+) segment=(\d+) "
                         r'operation=(write|flush) error="([^"]+)" durable=(\d+)')
EIO, EAGAIN, ENOSPC = 5, 11, 28

# not so deep that everything is acknowledged before the disk fails
SHALLOW = dataclasses.replace(PIPELINED, burst=lambda random: random.choice((2, 16)))


@dataclasses.dataclass(frozen=True)
class Fault:
    """`shim`: environment of the faulty engine. `nbdkit`: the disk, from image and trigger; with
    `command` the trigger is a command to the sector plugin, else a file that appears."""
    name: str
    shim: dict = None
    nbdkit: object = None
    command: str = None


def _shim(name, **settings):
    return Fault(name, shim={f"SLUICE_FAULT_{key}": str(value)
                             for key, value in settings.items()})


def _error_filter(image, trigger):
    return ["--filter=error", "file", image, "error=EIO", "error-pwrite-rate=100%",
            f"error-pwrite-file={trigger}", "error-zero-rate=100%",
            f"error-zero-file={trigger}"]


def _some_errors(image, trigger):
    return ["--filter=error", "file", image, "error=EIO", "error-pwrite-rate=30%",
            f"error-pwrite-file={trigger}"]


def _sectors(image, _trigger):
    return block_stack.sector_disk(image, seed=1)


SHIM_FAULTS = (
    _shim("write EIO", WRITE_ERROR=120, ERRNO=EIO),
    _shim("write ENOSPC", WRITE_ERROR=120, ERRNO=ENOSPC),
    _shim("write EAGAIN", WRITE_ERROR=120, ERRNO=EAGAIN),
    _shim("flush EIO", FLUSH_ERROR=120, ERRNO=EIO),
    _shim("flush EIO once, pages dropped", FLUSH_ERROR=120, ONCE=1, DROPS=1),
    _shim("write EIO once", WRITE_ERROR=120, ONCE=1),
    _shim("errors, short writes and delays", WRITE_ERROR=60, FLUSH_ERROR=60, SHORT=200, DELAY=200,
          DELAY_US=2000, DROPS=1),
)
REAL_FAULTS = (
    Fault("disk: every write fails", nbdkit=_error_filter),
    Fault("disk: some writes fail", nbdkit=_some_errors),
    Fault("disk: writes fail, cache", nbdkit=_sectors, command="fail-writes"),
    Fault("disk: flushes fail and drop", nbdkit=_sectors, command="fail-flushes"),
)
HARMLESS_FAULTS = (
    _shim("short writes", SHORT=400),
    _shim("delays", DELAY=300, DELAY_US=5000),
    _shim("short writes and delays", SHORT=250, DELAY=250, DELAY_US=3000),
)


class Life:
    """One filesystem; a cycle leaves it unmounted."""

    def __init__(self, rig, fault, source):
        self.rig, self.fault, self.random, self.tally = rig, fault, source, rig.tally
        self.image = rig.work / "image"
        self.trigger = rig.work / "fail-now"
        block_stack.make_ext4(self.image, IMAGE_MEBIBYTES)
        self.ledger = Ledger(source.sample(rig.forms, len(rig.forms)))
        self.settings = {**SMALL_ENGINE, "segment_bytes": 1 << 20, "mark_idle_ms": 20}
        self.loader = Loader()
        self.disk = self.engine = None

    @property
    def data(self):
        return self.disk.directory / "data"

    def mount(self, failing):
        if failing and self.fault.nbdkit is not None:
            self.disk = block_stack.CutDisk(
                self.rig.work, self.fault.nbdkit(self.image, self.trigger))
        else:
            self.disk = block_stack.PlainDisk(self.image, self.rig.work / "mount")

    def start_engine(self, faulty):
        environment = {}
        if faulty:
            after = self.random.randint(5, 40)  # operations; the first of each journal succeed
            environment = {**self.fault.shim, "SLUICE_FAULT_AFTER": str(after),
                           "SLUICE_FAULT_SEED": str(self.random.getrandbits(31))}
        self.loader.start(self.data)
        with engine_from(FAULTY if faulty else None):
            self.engine = harness.Engine(self.data, self.rig.work / "engine.log", self.settings,
                                         None, environment)
        self.loader.start(self.data)  # where only now there is something to follow

    def break_disk(self):
        if self.fault.command:
            self.disk.command(self.fault.command)
        elif self.fault.nbdkit is not None:
            self.trigger.touch()

    def heal_disk(self):
        if self.fault.command:
            self.disk.command("heal")
        self.trigger.unlink(missing_ok=True)

    def load(self, count, refusals, on_ack=None):
        """503 may say that a journal failed; where the whole disk fails, also that no segment can
        be prepared on it."""
        slugs = {"journal-failed"} | ({"disk-full"} if self.fault.nbdkit else set())
        transports = (PLAIN,) if self.fault.shim else (PLAIN, PLAIN, SHALLOW)
        load = RefusingLoad(
            self.engine.address, self.ledger, self.random, self.random.choice(transports),
            slugs=slugs, refusals=refusals, on_ack=on_ack, connections=self.random.randint(8, 32))
        load.run(self.ledger.unacknowledged()[:count])
        self.tally.acknowledged += load.acks
        for slug, seen in load.seen.items():
            self.tally.notes[f"refused as {slug}"] += seen
        return load

    def serve_until_failure(self):
        moment = self.random.randint(1, ACKS_MAX)
        load = self.load(len(self.ledger.forms), REFUSALS,
                         on_ack=lambda acks: acks == moment and self.break_disk())
        assert load.refused > 0, f"{self.fault.name}: nothing failed\n{self.engine.log_tail()}"

    def check_failed_engine(self):
        """Not ready, alive, a log line that says what failed, nothing acknowledged beyond what was
        durable then, also when the disk is well again."""
        health.wait_for_readiness(self.engine, False)
        assert health.is_live(self.engine)
        self.heal_disk()
        self.load(AFTER_HEALING, refusals=AFTER_HEALING)
        health.wait_for_readiness(self.engine, False)
        failed = FAILED_LINE.findall(self.engine.log())
        assert failed or "event=seal-failed" in self.engine.log(), self.engine.log_tail()
        for journal, _segment, operation, error, durable in failed:
            self.tally.faults += 1
            self.tally.notes[f"{operation}: {error}"] += 1
            beyond = [receipt for place, receipt in self.ledger.receipts.items()
                      if place[0] == int(journal) and place[1] > int(durable)]
            if beyond:
                self.tally.lose(len(beyond), f"acknowledged by a failed journal: {beyond[0]}")

    def fail_and_stop(self):
        self.mount(failing=True)
        self.start_engine(faulty=self.fault.shim is not None)
        self.serve_until_failure()
        self.check_failed_engine()
        self.engine.terminate()
        code = self.engine.wait()
        assert code == EXIT_JOURNAL_FAILED, f"exit code {code}\n{self.engine.log_tail()}"
        check_log(self.engine)
        if self.fault.nbdkit and self.random.random() < POWER_CUT_CHANCE:
            self.disk.cut_off()
            self.tally.notes["power cuts after the failure"] += 1
        self.unmount()

    def serve_faulty_without_failure(self):
        """Faults that the engine has to bear."""
        self.mount(failing=False)
        self.start_engine(faulty=True)
        load = Load(self.engine.address, self.ledger, self.random, PLAIN, connections=16)
        load.run(self.ledger.unacknowledged()[:ACKS_MAX])
        self.tally.acknowledged += load.acks
        assert health.answer(self.engine, "/readyz").status == 200
        self.engine.terminate()
        assert self.engine.wait() == 0, self.engine.log_tail()
        check_log(self.engine)
        self.tally.faults += self.engine.log().count("fault kind=")
        self.unmount()

    def compare(self, number):
        """The normal engine on a disk that works."""
        self.mount(failing=False)
        try:
            self.start_engine(faulty=False)
        except harness.EngineFailed as fault:
            self.tally.lose(max(1, len(self.ledger.receipts)), f"life {number}: {fault}")
            self._keep(number)
            self.unmount()
            return False
        lost, why = losses(self.ledger, self.data, self.loader)
        if lost:
            self.tally.lose(lost, f"life {number}, {self.fault.name}: {why}")
        self.engine.terminate()
        assert self.engine.wait() == 0
        self.unmount()
        if lost:
            self._keep(number)
        return lost == 0

    def _keep(self, number):
        if self.rig.keep_evidence is None:
            return
        place = pathlib.Path(self.rig.keep_evidence) / f"io-seed-{self.rig.seed}-life-{number}"
        place.mkdir(parents=True, exist_ok=True)
        for file in (self.image, self.rig.work / "engine.log"):
            shutil.copy(file, place)

    def unmount(self):
        if self.engine is not None:
            self.engine.destroy()
            self.engine = None
        self.loader.stop(disk_may_fail=True)
        if self.disk is not None:
            self.disk.close()
            self.disk = None

    def close(self):
        self.trigger.unlink(missing_ok=True)
        self.unmount()
        self.tally.take(self.loader)
        self.image.unlink(missing_ok=True)


class IoErrorRig:
    """Cycles through `faults`, one life for each, again and again. `harmless`: the engine has to
    bear them."""

    def __init__(self, seed, faults, harmless=False, keep_evidence=None):
        self.seed, self.faults, self.harmless = seed, faults, harmless
        self.keep_evidence = keep_evidence
        self.forms = forms.pilot()
        self.tally = Tally("harmless faults" if harmless else "I/O errors",
                           "P3" if harmless else "P5", seed)

    def run(self, cycles, seconds=float("inf"), per_life=CYCLES_PER_LIFE):
        self.work = block_stack.work_directory()
        self.deadline = time.monotonic() + seconds
        self.cycles = cycles
        try:
            for number, fault in enumerate(itertools.cycle(self.faults)):
                self._run_life(number, fault, per_life)
                if self._is_over():
                    return self.tally
        finally:
            shutil.rmtree(self.work, ignore_errors=True)

    def _is_over(self):
        return self.tally.cycles >= self.cycles or time.monotonic() >= self.deadline

    def _run_life(self, number, fault, per_life):
        life = Life(self, fault, random.Random(f"{self.seed}:{number}"))
        try:
            for _ in range(per_life):
                if self._is_over() or len(life.ledger.unacknowledged()) < FORMS_MIN:
                    return
                if self.harmless:
                    life.serve_faulty_without_failure()
                else:
                    life.fail_and_stop()
                self.tally.cycle_done()
                self.tally.notes[fault.name] += 1
                if not life.compare(number):
                    return
        finally:
            life.close()
