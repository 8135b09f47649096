#!/usr/bin/env python3
"""Power cuts at full size; the last line is the result. Exit 1 on any loss, 77 where it cannot run.

    python3 tests/crash/soak_power.py --cuts 1000 --seed 1
"""

import sys

import soak

if __name__ == "__main__":
    arguments = soak.arguments(__doc__, cuts=1000)
    import power_rig

    rig = power_rig.PowerRig(arguments.seed, keep_evidence=arguments.keep)
    sys.exit(0 if soak.run(rig, arguments.cuts, arguments.seconds) else 1)
