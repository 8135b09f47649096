#!/usr/bin/env python3
"""Failing disks at full size; the last line is the result. Exit 1 on any loss, 77 where it cannot
run. `--real` cycles fail below a real ext4, `--shim` ones in the engine's own file operations.

    python3 tests/crash/soak_io_errors.py --real 300 --shim 0 --seed 1
"""

import sys

import soak

if __name__ == "__main__":
    arguments = soak.arguments(__doc__, real=300, shim=0)
    import io_error_rig

    well = True
    for cycles, faults, suite in ((arguments.shim, io_error_rig.SHIM_FAULTS, "injected I/O errors"),
                                  (arguments.real, io_error_rig.REAL_FAULTS, "real I/O errors")):
        if cycles:
            rig = io_error_rig.IoErrorRig(arguments.seed, faults, keep_evidence=arguments.keep)
            rig.tally.suite = suite
            well = soak.run(rig, cycles, arguments.seconds) and well
    sys.exit(0 if well else 1)
