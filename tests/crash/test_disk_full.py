"""A full disk means 503 and never a false acknowledgement; it resumes by itself (promise P6).

Each fill of a 48 MiB filesystem under load: 503 `disk-full` with Retry-After, nothing stored that
was refused, not ready but alive, `sluice cat` works; then a file is removed and the same process
goes on. Environment: SLUICE_DISK_FILLS is the number of fills.
"""

import os

import pytest

import block_stack
import harness
import health
from disk_full_rig import IMAGE_MEBIBYTES, SEGMENT_BYTES, DiskFullRig

FILLS = int(os.environ.get("SLUICE_DISK_FILLS", "6"))


def test_a_full_disk_refuses_without_false_acknowledgement_and_service_resumes(seed):
    tally = DiskFullRig(seed).run(FILLS)
    tally.show()
    assert tally.losses == 0, tally.reasons
    assert tally.cycles == FILLS and tally.faults > 0


def test_an_engine_that_died_on_a_full_disk_comes_back_before_space_is_freed(fleet, tmp_path):
    """Not a block is free: reading and health have to work again all the same."""
    block_stack.make_ext4(tmp_path / "image", IMAGE_MEBIBYTES)
    disk = block_stack.PlainDisk(tmp_path / "image", tmp_path / "mount")
    try:
        data = disk.directory / "data"
        settings = {"segment_bytes": SEGMENT_BYTES}
        engine = fleet.start(data, settings)
        engine.kill()
        engine.wait()
        with open(disk.directory / "ballast", "wb", buffering=0) as ballast:
            for piece in (1 << 20, 4096, 1):
                try:
                    while True:
                        ballast.write(bytes(piece))
                        os.fsync(ballast.fileno())
                except OSError:
                    pass  # full, but for less than such a piece
        engine = fleet.start(data, settings)
        assert health.is_live(engine)
        engine.kill()
        engine.wait()
        harness.verify(data)
    finally:
        for engine in fleet.engines:
            engine.destroy()
        disk.close()
