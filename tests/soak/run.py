"""Everything at full size, in one table: what `./dev soak` runs.

usage: run.py [--small] [--only NAME]... [--seed N] [--jobs N] [--build DIRECTORY]

Each suite of suites.py runs with the same seed; what it prints goes to DIRECTORY/soak-NAME.log, its
progress to stderr, a line about its end to stdout. The table at the end is Markdown, DIRECTORY/soak.json
has the same and the machine. Exit 0 only when every suite ran, nothing was lost, and each control
lost something.
"""

import argparse
import concurrent.futures
import dataclasses
import json
import os
import pathlib
import platform
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time

from suites import SUITES

TESTS = pathlib.Path(__file__).resolve().parents[1]
SKIPPED = 77
END_S = 30.0  # for a program to take its disks down after SIGTERM
COLUMNS = ("promise", "suite", "cycles", "acknowledged records", "faults injected", "losses",
           "tailed", "seed", "duration")


class Missing(Exception):
    """A suite whose program is not there."""


@dataclasses.dataclass
class Row:
    """One suite's end. `result` is what its last RESULT line said; `fault` is why it does not
    count as well, empty when it does."""
    suite: object
    seed: int
    result: dict
    fault: str
    seconds: float

    def losses(self):
        if self.fault:
            return self.fault
        lost = self.result["losses"]
        return f"lost {lost:,}, as it must" if self.suite.must_lose else f"{lost:,}"

    def cells(self):
        counts = [f"{self.result[key]:,}" if key in self.result else ""
                  for key in ("cycles", "acknowledged", "faults", "tailed")]
        minutes, seconds = divmod(round(self.seconds), 60)
        return [self.suite.promise, self.suite.name, *counts[:3], self.losses(), counts[3],
                str(self.seed), f"{minutes} min {seconds} s" if minutes else f"{seconds} s"]


def program_of(suite, build):
    """The words that start it."""
    if suite.program.endswith(".py"):
        path = TESTS / suite.program
        if path.is_file():
            return [sys.executable, "-u", str(path)]
        raise Missing(f"there is no tests/{suite.program}")
    for path in sorted((build / "tests").glob(f"**/{suite.program}")):
        if path.is_file() and os.access(path, os.X_OK):
            return [str(path)]
    raise Missing(f"there is no program {suite.program} in {build}/tests")


def result_in(line):
    return json.loads(line[7:]) if line.startswith("RESULT ") else None


def judge(suite, result, code):
    """What is wrong with a run that ended; empty when it is as it must be."""
    if code == SKIPPED:
        return "did not run here"
    if result is None:
        return f"no result, exit code {code}"
    lost = result["losses"]
    if suite.must_lose:
        return "" if lost > 0 and code == 1 else f"lost {lost:,}, exit code {code}: it must lose"
    if lost:
        return f"LOST {lost:,}"
    return "" if code == 0 else f"exit code {code}"


class Runner:
    """Runs suites, some at a time; `stop` ends what runs."""

    def __init__(self, build, seed, small):
        self.build, self.seed, self.small = build, seed, small
        self.environment = {
            **os.environ, "PYTHONDONTWRITEBYTECODE": "1", "SLUICE": str(build / "engine/sluice"),
            "SLUICE_FAULTY": str(build / "tests/crash/sluice-faulty"),
            "SLUICE_SECTOR_PLUGIN": str(build / "tests/crash/sector_plugin.so")}
        self.lock = threading.Lock()
        self.running = set()
        self.stopped = False

    def run(self, suite):
        started = time.monotonic()
        try:
            result, code = self._run_program(suite)
            fault = judge(suite, result, code)
        except Missing as missing:
            result, fault = None, str(missing)
        row = Row(suite, self.seed, result or {}, fault, time.monotonic() - started)
        if fault and result is not None:
            print(f"{suite.name}: see {self.log_path(suite)}", file=sys.stderr, flush=True)
        print(" · ".join(cell for cell in row.cells() if cell), flush=True)
        return row

    def log_path(self, suite):
        return self.build / f"soak-{re.sub('[^a-zA-Z0-9]+', '-', suite.name)}.log"

    def _run_program(self, suite):
        options = suite.small if self.small else suite.full
        command = [*program_of(suite, self.build), *options.split(), suite.seed_option,
                   str(self.seed)]
        print(f"{suite.name}: {' '.join(command)}", file=sys.stderr, flush=True)
        with open(self.log_path(suite), "w", encoding="utf-8") as log:
            process = self._start(command)
            result = None
            for line in process.stdout:
                log.write(line)
                result = result_in(line) or result
                print(f"{suite.name}: {line.rstrip()[:200]}", file=sys.stderr, flush=True)
            code = process.wait()
        with self.lock:
            self.running.discard(process)
        return result, code

    def _start(self, command):
        with self.lock:
            if self.stopped:
                raise KeyboardInterrupt
            process = subprocess.Popen(
                command, env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, text=True, errors="replace")
            self.running.add(process)
            return process

    def stop(self):
        """SIGTERM: the programs take their engines and disks down."""
        with self.lock:
            self.stopped = True
            running = list(self.running)
        for process in running:
            process.terminate()
        for process in running:
            process.wait(END_S)


def run_all(runner, suites, jobs):
    """The rows, in the order of the table."""
    with concurrent.futures.ThreadPoolExecutor(jobs) as executor:
        futures = [executor.submit(runner.run, suite) for suite in suites]
        try:
            return [future.result() for future in futures]
        except BaseException:
            for future in futures:
                future.cancel()
            runner.stop()
            raise


def table(rows):
    lines = [COLUMNS, ["---"] * len(COLUMNS), *(row.cells() for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def filesystem_of(path):
    """The type of the filesystem that `path` is on."""
    best = "", ""
    with open("/proc/self/mounts", encoding="utf-8") as mounts:
        for line in mounts:
            _device, point, kind, *_rest = line.split()
            inside = os.path.commonpath([point, os.path.realpath(path)]) == point
            if inside and len(point) >= len(best[0]):
                best = point, kind
    return best[1]


def machine():
    return {"kernel": platform.release(), "architecture": platform.machine(),
            "cpus": len(os.sched_getaffinity(0)),
            "filesystems": {path: filesystem_of(path)
                            for path in (tempfile.gettempdir(), "/dev/shm")
                            if os.path.exists(path)}}


def commit():
    """The commit, with a plus sign behind it where the tree differs from it."""
    def git(*words):
        return subprocess.run(["git", "-C", TESTS, *words], capture_output=True, text=True,
                              check=True).stdout.strip()
    try:
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def write_json(path, rows, seed, small, seconds):
    path.write_text(json.dumps({
        "commit": commit(), "machine": machine(), "seed": seed,
        "size": "small" if small else "full",
        "seconds": round(seconds), "well": all(not row.fault for row in rows),
        "suites": [{**row.result, "suite": row.suite.name, "promise": row.suite.promise,
                    "control": row.suite.must_lose, "fault": row.fault,
                    "seconds": round(row.seconds, 1)} for row in rows]}, indent=1) + "\n")


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [suite.name for suite in SUITES]
    parser.add_argument("--small", action="store_true", help="all suites within ten minutes")
    parser.add_argument("--only", action="append", metavar="NAME", default=[],
                        help=f"suites whose name has this in it: {', '.join(names)}")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--jobs", type=int, default=1, help="suites at a time (default 1)")
    parser.add_argument("--build", type=pathlib.Path, default=TESTS.parent / "build-soak")
    parsed = parser.parse_args()
    parsed.suites = [suite for suite in SUITES
                     if not parsed.only or any(part in suite.name for part in parsed.only)]
    if not parsed.suites:
        parser.error(f"no suite is called {' or '.join(parsed.only)}; there are {', '.join(names)}")
    return parsed


def main():
    options = arguments()
    started = time.monotonic()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    runner = Runner(options.build.resolve(), options.seed, options.small)
    print(f"seed {options.seed}", flush=True)
    rows = run_all(runner, options.suites, options.jobs)
    write_json(options.build / "soak.json", rows, options.seed, options.small,
               time.monotonic() - started)
    print(f"\n{table(rows)}\n")
    tailed = sum(row.result.get("tailed", 0) for row in rows if not row.suite.must_lose)
    print(f"P8: tails ran beside the suites with a figure under `tailed` and showed {tailed:,} "
          "records; one that is not there afterwards is a loss.")
    return 1 if any(row.fault for row in rows) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
