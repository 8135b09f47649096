"""What was answered with 201 survives a power cut, with unflushed sectors dropped (promise P2), and
what a tail has shown is there afterwards (promise P8).

The rig must be able to fail: an engine that acknowledges before the flush, and a disk that ignores
flushes, both lose records in it. Environment: SLUICE_POWER_CUTS is the number of cuts for each kind
of disk.
"""

import os

import pytest

from power_rig import (CACHE, EARLY_ACKNOWLEDGEMENT, FAULTY, HONEST_DISKS, LYING_DISKS, SECTORS_512,
                       PowerRig)
from reconcile import VANISHED

CUTS = int(os.environ.get("SLUICE_POWER_CUTS", "8"))
CUTS_TO_A_LOSS = 10
CUTS_TO_A_VANISHED_RECORD = 40  # about four are enough


def run(cuts, seed, until="", **options):
    rig = PowerRig(seed, **options)
    tally = rig.run(cuts, until=until)
    tally.show()
    return tally


@pytest.mark.parametrize("disk", HONEST_DISKS, ids=lambda disk: disk.name.replace(" ", "-"))
def test_no_power_cut_loses_an_acknowledged_record(seed, disk):
    tally = run(CUTS, seed, disks=(disk,))
    assert tally.losses == 0, tally.reasons
    assert tally.cycles == CUTS and tally.acknowledged > 0


@pytest.mark.parametrize("disk", [CACHE, SECTORS_512], ids=lambda disk: disk.name.replace(" ", "-"))
def test_the_rig_catches_an_engine_that_acknowledges_before_the_flush(seed, disk):
    tally = run(CUTS_TO_A_LOSS, seed, disks=(disk,), **EARLY_ACKNOWLEDGEMENT)
    assert tally.losses > 0


def test_the_rig_catches_a_watermark_that_is_published_before_the_flush(seed):
    """By what a tail has shown (promise P8)."""
    tally = run(CUTS_TO_A_VANISHED_RECORD, seed, VANISHED, disks=(CACHE,), **EARLY_ACKNOWLEDGEMENT)
    assert any(VANISHED in reason for reason in tally.reasons), tally.reasons


@pytest.mark.parametrize("disk", LYING_DISKS, ids=lambda disk: disk.name.replace(" ", "-"))
def test_the_rig_catches_a_disk_that_ignores_flushes(seed, disk):
    assert run(CUTS_TO_A_LOSS, seed, disks=(disk,)).losses > 0


def test_the_engine_with_the_fault_shim_loses_nothing_while_no_fault_is_asked_for(seed):
    assert run(4, seed, binary=FAULTY).losses == 0
