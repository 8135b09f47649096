"""After an I/O error nothing is acknowledged from that journal (promise P5), and what was
acknowledged before is all there for the next engine.

Errors come from the shim in the engine's file operations, and from a block device that really fails
below ext4. Environment: SLUICE_IO_ERRORS is the number of cycles for each fault.
"""

import os
import random
import shutil

import pytest

import block_stack
import forms
import harness
from io_error_rig import (EXIT_JOURNAL_FAILED, HARMLESS_FAULTS, REAL_FAULTS, REFUSALS, SHIM_FAULTS,
                          IoErrorRig)
from ledger import Ledger
from power_rig import SMALL_ENGINE
from reconcile import losses
from refusing_load import RefusingLoad
from tailing import Loader

FOOTER_MAGIC = "SLUICFTR"  # engine/segment/format.h
ON_THEIR_WAY = 32  # receipts that may come between the failure and our look at the log
CYCLES = int(os.environ.get("SLUICE_IO_ERRORS", "1"))


def name_of(fault):
    return fault.name.replace(": ", "-").replace(", ", "-").replace(" ", "-")


def run(seed, fault, **options):
    tally = IoErrorRig(seed, (fault,), **options).run(CYCLES)
    tally.show()
    assert tally.losses == 0, tally.reasons
    assert tally.cycles == CYCLES and tally.acknowledged > 0
    return tally


@pytest.mark.parametrize("fault", SHIM_FAULTS, ids=name_of)
def test_an_injected_error_ends_acknowledgements_and_loses_nothing(seed, fault):
    assert run(seed, fault).faults > 0


@pytest.mark.parametrize("fault", REAL_FAULTS, ids=name_of)
def test_a_failing_block_device_ends_acknowledgements_and_loses_nothing(seed, fault):
    run(seed, fault)


@pytest.mark.parametrize("fault", HARMLESS_FAULTS, ids=name_of)
def test_short_writes_and_delays_change_nothing(seed, fault):
    assert run(seed, fault, harmless=True).faults > 0


class StillAcknowledging(AssertionError):
    """A journal goes on after one of its writes failed."""


def test_a_failed_write_of_a_footer_ends_acknowledgements(seed):
    """Also an error of the control thread's own writes is an error of that journal."""
    work = block_stack.work_directory()
    disk = engine = None
    loader = Loader()
    try:
        block_stack.make_ext4(work / "image", 64)
        disk = block_stack.CutDisk(work, block_stack.sector_disk(work / "image", seed))
        settings = {**SMALL_ENGINE, "segment_bytes": 1 << 20}
        data = disk.directory / "data"
        engine = harness.Engine(data, work / "log", settings, harness.ONE_CORE, {})
        loader.start(data)
        disk.command(f"fail-writes {FOOTER_MAGIC}")
        ledger = Ledger(forms.pilot())
        acks_at_failure = []

        def look(acks):
            if not acks_at_failure and "event=seal-failed" in engine.log():
                acks_at_failure.append(acks)

        load = RefusingLoad(
            engine.address, ledger, random.Random(seed), connections=8, refusals=REFUSALS,
            slugs={"journal-failed", "disk-full"}, on_ack=look)
        load.run(ledger.unacknowledged())
        assert acks_at_failure, "no segment was sealed"
        engine.terminate()
        assert engine.wait() == EXIT_JOURNAL_FAILED
        assert losses(ledger, data, loader) == (0, "")
        afterwards = load.acks - acks_at_failure[0]
        if afterwards > ON_THEIR_WAY or set(load.seen) != {"journal-failed"}:
            raise StillAcknowledging(f"{afterwards} receipts afterwards, refusals {load.seen}")
    finally:
        if engine is not None:
            engine.destroy()
        loader.stop(disk_may_fail=True)
        if disk is not None:
            disk.close()
        shutil.rmtree(work, ignore_errors=True)
