"""Fills a small filesystem under load until the engine refuses, frees space, and goes on, in one
engine process (promise P6).

A ballast file takes most of the room at first and is what gets removed. In a life each cycle puts a
new one in, so that the disk fills up again; when hardly any room is left beside the data, the next
life starts on a new filesystem. Now and then the engine dies while the disk is full. One tail reads
along through a whole life (promise P8).
"""

import itertools
import json
import os
import random
import shutil
import time

import block_stack
import client
import forms
import harness
import health
from ledger import Ledger
from power_rig import SMALL_ENGINE
from reconcile import Tally, check_log, losses, lost_receipts
from refusing_load import RefusingLoad
from tailing import Loader, places_of

IMAGE_MEBIBYTES = 48
SEGMENT_BYTES = 1 << 20
ROOM_MIN_BYTES = 6 << 20  # beside the data, for another cycle
ROOM_MAX_BYTES = 2 << 20  # left by the ballast
WHOLE_DISK_CHANCE = 0.2  # a life begins without ballast, and its first fill takes the whole disk
REFUSALS = 40
AFTERWARDS = 20  # submissions that have to succeed when there is room again
KILL_CHANCE = 0.2
NO_ROOM = "No space left on device"
FORM_COUNT = 6000
FILLER_BYTES = (1000, 20000)  # large bodies fill a disk sooner


def large_forms(count):
    source = random.Random(count)
    for body in forms.synthetic(count, seed=7):
        form = json.loads(body)
        form["filler"] = "x" * source.randint(*FILLER_BYTES)
        yield json.dumps(form).encode()


class Life:
    """One filesystem and the engine on it."""

    def __init__(self, rig, source):
        self.rig, self.random, self.tally = rig, source, rig.tally
        self.image = rig.work / "image"
        block_stack.make_ext4(self.image, IMAGE_MEBIBYTES)
        self.disk = block_stack.PlainDisk(self.image, rig.work / "mount")
        self.data = self.disk.directory / "data"
        self.ballast = self.disk.directory / "ballast"
        self.ledger = Ledger(rig.forms)
        self.loader = Loader()
        self.engine = None

    def start_engine(self):
        settings = {**SMALL_ENGINE, "large_arenas_max": 64, "segment_bytes": SEGMENT_BYTES}
        self.engine = harness.Engine(self.data, self.rig.work / "engine.log", settings, None, {})
        self.loader.start(self.data)

    def free_bytes(self):
        status = os.statvfs(self.disk.directory)
        return status.f_bavail * status.f_frsize

    def put_ballast(self, bytes_left):
        """Takes all room but about `bytes_left`."""
        size = self.free_bytes() - bytes_left
        with open(self.ballast, "wb") as file:
            if size > 0:
                os.posix_fallocate(file.fileno(), 0, size)
            os.fsync(file.fileno())

    def fill(self):
        """Submits until the engine has refused for want of room."""
        load = RefusingLoad(
            self.engine.address, self.ledger, self.random, slugs={"disk-full"}, refusals=REFUSALS,
            connections=self.random.randint(8, 32))
        load.run(self.ledger.unacknowledged())
        assert load.refused > 0, "all forms went in: the disk was not full"
        self.tally.acknowledged += load.acks
        self.tally.faults += load.refused

    def look_while_full(self):
        health.wait_for_readiness(self.engine, False)
        assert health.unready_slug(self.engine) == "disk-full"
        assert health.is_live(self.engine)
        assert "event=no-room" in self.engine.log()
        records = harness.cat(self.data)
        lost = lost_receipts(self.ledger, records)
        if lost:
            self.tally.lose(len(lost), f"while full: {lost[0]}")
        self.loader.check(places_of(records))
        refused = [record for record in records
                   if (record["journal"], record["sequence"]) not in self.ledger.receipts]
        assert not refused or self.tally.notes["kills while full"], (
            f"{len(refused)} refused submissions are stored, the first: {refused[0]}")

    def die_while_full(self):
        """The next engine may say that it cannot start without room; it may not lose anything."""
        self.engine.kill()
        self.engine.wait()
        self.engine.destroy()
        self.engine = None
        self.tally.notes["kills while full"] += 1
        try:
            self.start_engine()
            assert health.is_live(self.engine)
        except harness.EngineFailed as fault:
            if NO_ROOM not in str(fault):
                raise
            self.tally.notes["starts refused while full"] += 1

    def resume(self):
        """Room appears; nobody tells the engine."""
        self.ballast.unlink()
        if self.engine is None:
            self.start_engine()
        seconds = health.wait_for_readiness(self.engine, True)
        self.tally.notes["slowest resumption in ms"] = max(
            self.tally.notes["slowest resumption in ms"], round(seconds * 1000))
        with client.Connection(self.engine.address) as connection:
            for index in self.ledger.unacknowledged()[:AFTERWARDS]:
                answer = connection.exchange(client.post(self.ledger.forms[index]))
                self.ledger.record(index, answer.receipt())
                self.tally.acknowledged += 1

    def cycle(self, first):
        whole = first and self.random.random() < WHOLE_DISK_CHANCE
        self.put_ballast(self.free_bytes() - (8 << 20) if whole
                         else self.random.randint(0, ROOM_MAX_BYTES))
        self.fill()
        self.look_while_full()
        if self.random.random() < KILL_CHANCE:
            self.die_while_full()
        self.resume()

    def compare(self, number):
        lost, why = losses(self.ledger, self.data, self.loader)
        if lost:
            self.tally.lose(lost, f"life {number}: {why}")

    def stop_engine(self):
        self.engine.terminate()
        assert self.engine.wait() == 0, self.engine.log_tail()
        check_log(self.engine)

    def close(self):
        if self.engine is not None:
            self.engine.destroy()
        self.loader.stop()
        self.tally.take(self.loader)
        self.disk.close()
        self.image.unlink(missing_ok=True)


class DiskFullRig:
    def __init__(self, seed):
        self.seed = seed
        self.tally = Tally("disk full", "P6", seed)
        self.forms = list(large_forms(FORM_COUNT))

    def run(self, fills, seconds=float("inf")):
        self.work = block_stack.work_directory()
        self.deadline = time.monotonic() + seconds
        try:
            for number in itertools.count():
                self._run_life(number, fills)
                if self._is_over(fills):
                    return self.tally
        finally:
            shutil.rmtree(self.work, ignore_errors=True)

    def _is_over(self, fills):
        return self.tally.cycles >= fills or time.monotonic() >= self.deadline

    def _run_life(self, number, fills):
        life = Life(self, random.Random(f"{self.seed}:{number}"))
        try:
            life.start_engine()
            first = True
            while not self._is_over(fills) and life.free_bytes() > ROOM_MIN_BYTES:
                life.cycle(first)
                first = False
                self.tally.cycle_done()
            life.stop_engine()
            life.compare(number)
        finally:
            life.close()
