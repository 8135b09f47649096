"""What the soak scripts share: options, where the harness is, and how a run ends."""

import argparse
import pathlib
import random
import sys

HERE = pathlib.Path(__file__).resolve().parent
SKIPPED = 77
PROGRESS_EVERY = 50  # cycles

sys.path.append(str(HERE.parent / "system"))


def arguments(description, flags=None, **counts):
    """Options of a script: its counts with their defaults, its flags, and those that all have."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, standard in counts.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=standard,
                            help=f"default {standard}")
    for name, help_text in (flags or {}).items():
        parser.add_argument(name, action="store_true", help=help_text)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--seconds", type=float, default=7200.0,
                        help="no new cycle starts after that time")
    parser.add_argument("--keep", metavar="DIR", help="keep images and logs of losses there")
    parsed = parser.parse_args()
    import block_stack

    reason = block_stack.missing()
    if reason:
        print(f"skipped: {reason}")
        sys.exit(SKIPPED)
    block_stack.end_tidily()
    print(f"seed {parsed.seed}", flush=True)
    return parsed


def run(rig, cycles, seconds, **options):
    """Runs a rig, with a line now and then; True when nothing was lost."""
    rig.tally.progress_every = PROGRESS_EVERY
    return rig.run(cycles, seconds, **options).show()
