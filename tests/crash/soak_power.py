#!/usr/bin/env python3
"""Power cuts at full size; the last line is the result. Exit 1 on any loss, 77 where it cannot run.

    python3 tests/crash/soak_power.py --cuts 1000 --seed 1

Two controls lose records and end with the first loss: an engine that acknowledges, and publishes its
watermark, before the flush; and disks that ignore flushes.
"""

import sys

import soak

CONTROLS = {"--early-acknowledgement": "of an engine that lies", "--lying-disk": "under the engine"}

if __name__ == "__main__":
    arguments = soak.arguments(__doc__, CONTROLS, cuts=1000)
    import power_rig

    rig = power_rig.PowerRig(
        arguments.seed, keep_evidence=arguments.keep,
        disks=power_rig.LYING_DISKS if arguments.lying_disk else power_rig.HONEST_DISKS,
        **(power_rig.EARLY_ACKNOWLEDGEMENT if arguments.early_acknowledgement else {}))
    until = "" if arguments.early_acknowledgement or arguments.lying_disk else None
    sys.exit(0 if soak.run(rig, arguments.cuts, arguments.seconds, until=until) else 1)
