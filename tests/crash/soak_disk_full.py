#!/usr/bin/env python3
"""Full disks at full size; the last line is the result. Exit 1 on any loss, 77 where it cannot run.

    python3 tests/crash/soak_disk_full.py --fills 200 --seed 1
"""

import sys

import soak

if __name__ == "__main__":
    arguments = soak.arguments(__doc__, fills=200)
    import disk_full_rig

    rig = disk_full_rig.DiskFullRig(arguments.seed)
    sys.exit(0 if soak.run(rig, arguments.fills, arguments.seconds) else 1)
