"""The suites of `./dev soak`: which program shows which promise, and how much of it.

A program that ends in .py lies in tests/; any other is looked for by its name below the build
directory's tests/. Each ends with a line `RESULT {json}` with at least cycles, acknowledged, faults and
losses, and exits 0 when nothing was lost, 1 when something was, 77 where it cannot run.
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Suite:
    name: str
    promise: str
    program: str
    full: str  # options
    small: str
    seed_option: str = "--seed"
    must_lose: bool = False  # a control: shows that the suite would see a loss


SUITES = (
    Suite("process death", "P1", "crash/soak_kill.py",
          full="--kills 2000 --records 10000000", small="--kills 40"),
    Suite("power cut", "P2", "crash/soak_power.py",
          full="--cuts 1000", small="--cuts 60"),
    Suite("control: engine that acknowledges early", "P2", "crash/soak_power.py",
          full="--early-acknowledgement --cuts 20", small="--early-acknowledgement --cuts 20",
          must_lose=True),
    Suite("control: disk that ignores flushes", "P2", "crash/soak_power.py",
          full="--lying-disk --cuts 20", small="--lying-disk --cuts 20", must_lose=True),
    Suite("simulation", "P3", "simulate",
          full="--seeds 100000", small="--seeds 3000",
          seed_option="--first"),
    Suite("damage", "P4", "damage", full="--strict-readers --edits 1000000",
          small="--strict-readers --edits 20000 --flip-step 67"),
    Suite("injected I/O errors", "P5", "crash/soak_io_errors.py",
          full="--shim 300 --real 0", small="--shim 56 --real 0"),
    Suite("real I/O errors", "P5", "crash/soak_io_errors.py",
          full="--real 300 --shim 0", small="--real 32 --shim 0"),
    Suite("disk full", "P6", "crash/soak_disk_full.py", full="--fills 200", small="--fills 12"),
    Suite("drain", "P13", "crash/soak_drain.py", full="--cycles 500", small="--cycles 30"),
)
