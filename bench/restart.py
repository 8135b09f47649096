"""Time from exec to "sluice: ready" on a large data directory.

usage: restart.py --sluice BINARY --fill BINARY [--directory DIR] [--journals N] [--rounds N]
                  [--sealed-mib N] [--open-mib N] [--json] [--tiny]

`restart_fill` writes the directory with the engine's own journal code: sealed segments of 64 MiB and an open
segment, four fifths of it filled, and a prepared one per journal. Then the engine is started again and again; between two starts it takes
a few submissions and is stopped by SIGTERM or SIGKILL. Before a start the page cache is dropped (cold; needs root) or left as it
is (warm). The four ways take turns, another one first in each round.

Segments are read with direct I/O, so cold and warm differ by programs, libraries and directories.
Afterwards `sluice verify` must find everything valid and every submission that was acknowledged.
The directory is made below DIR (default: the current one) and removed.

Exit code: 0, or 1 when something is missing. Never for a figure.
"""

import argparse
import json
import os
import platform
import re
import select
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
READY_S = 300
STOP_S = 60
SUBMISSIONS = 5  # between two starts
BODY = b'{"patientId":"01-701-1015","timestamp":1772391900,"scores":{"Q1":3,"Q2":0}}'
DROP_CACHES = "/proc/sys/vm/drop_caches"
TARGET_MS = 2000
WAYS = [(stop, cache) for stop in ("SIGTERM", "SIGKILL") for cache in ("cold", "warm")]


class Failed(Exception):
    """The run cannot be trusted."""


class Engine:
    """One `sluice serve`, from exec to its ready line."""

    def __init__(self, binary, data, cores, segment_bytes):
        started = time.monotonic()
        self.process = subprocess.Popen(
            [binary, "serve", "--data", data, "--listen", "127.0.0.1:0", "--cores", cores,
             "--set", f"segment_bytes={segment_bytes}"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        printed = b""
        while b"\n" not in printed:
            if not select.select([self.process.stdout], [], [], READY_S)[0]:
                raise Failed("the engine is not ready")
            some = os.read(self.process.stdout.fileno(), 4096)
            if not some:
                raise Failed(f"the engine ended with exit code {self.process.wait()}")
            printed += some
        self.start = {"readyMs": (time.monotonic() - started) * 1000, **self._spent()}
        self.url = printed.decode().split("ready on ")[1].strip()

    def _spent(self):
        """CPU time and bytes read since exec: unlike the time to ready, other work on the machine
        hardly changes them."""
        process = f"/proc/{self.process.pid}"
        with open(f"{process}/stat", encoding="ascii") as file:
            fields = file.read().rpartition(")")[2].split()
        with open(f"{process}/io", encoding="ascii") as file:
            read = dict(line.split(": ") for line in file)["rchar"]
        return {"cpuMs": (int(fields[11]) + int(fields[12])) * 1000 / TICKS_PER_S,
                "readMiB": int(read) / (1 << 20)}

    def submit(self, count):
        for _ in range(count):
            request = urllib.request.Request(
                f"{self.url}/v1/submissions", BODY, {"Content-Type": "application/json"})
            with urllib.request.urlopen(request, timeout=STOP_S) as answer:
                if answer.status != 201:
                    raise Failed(f"a submission was answered {answer.status}")

    def stop(self, how):
        self.process.send_signal(signal.Signals[how])
        code = self.process.wait(STOP_S)
        if code != (0 if how == "SIGTERM" else -signal.SIGKILL):
            raise Failed(f"exit code {code} after {how}")

    def destroy(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdout.close()


def drop_caches():
    """False where that is not allowed."""
    os.sync()
    try:
        with open(DROP_CACHES, "w", encoding="ascii") as file:
            file.write("3")
    except OSError:
        return False
    return True


def fill(options, data):
    """The records that were written."""
    command = [options.fill, data, options.journals, options.sealed_mib // options.journals,
               options.segment_mib, options.open_mib // options.journals,
               options.open_segment_mib]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True,
                          check=False)
    if done.returncode != 0:
        raise Failed(f"{options.fill}: {done.stderr}")
    return sum(int(count) for count in re.findall(r": (\d+) records", done.stdout))


def measure(options, data):
    """{(stop, cache): [start, ...]}, and how many submissions were acknowledged. Each engine is
    stopped in the way that the next start is to find."""
    allowed = sorted(os.sched_getaffinity(0))
    cores = ",".join(str(core) for core in allowed[:options.journals])
    may_drop = not options.tiny and drop_caches()
    ways = WAYS if may_drop else [way for way in WAYS if way[1] == "warm"]
    plan = []
    for number in range(options.rounds):
        turn = number % len(ways)
        plan += ways[turn:] + ways[:turn]
    starts = {way: [] for way in ways}
    for way, following in zip([None, *plan], [*plan, ("SIGTERM", "warm")]):
        if way is not None and way[1] == "cold":
            drop_caches()
        engine = Engine(options.sluice, data, cores, options.open_segment_mib << 20)
        try:
            if way is not None:
                starts[way].append(engine.start)
            engine.submit(SUBMISSIONS)
            engine.stop(following[0])
        finally:
            engine.destroy()
    return starts, SUBMISSIONS * (len(plan) + 1)


def verify(options, data, expected):
    done = subprocess.run([options.sluice, "verify", data], capture_output=True, text=True,
                          check=False)
    found = re.search(r"(\d+) batches, (\d+) records", done.stderr)
    if done.returncode != 0 or found is None:
        raise Failed(f"verify: exit code {done.returncode}: {done.stdout}{done.stderr}")
    if int(found[2]) != expected:
        raise Failed(f"{expected} records were written, {found[2]} are there")


def spread(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def show(report):
    print(f"restart, Linux {report['kernel']}, {report['journals']} journals, {report['records']} "
          f"records, {report['sealedMiB']} MiB sealed, {report['openMiB']} MiB in open segments"
          + (", tiny: no figures" if report["tiny"] else ""))
    print(f"\n{'stopped by':<11} {'page cache':<11} {'ready after ms':>14}  {'min..max':<14} "
          f"{'CPU ms':>7} {'MiB read':>9}")
    for row in report["results"]:
        ready = row["readyMs"]
        low_high = f"{ready['min']:.0f}..{ready['max']:.0f}"
        print(f"{row['stop']:<11} {row['cache']:<11} {ready['median']:>14.0f}  {low_high:<14} "
              f"{row['cpuMs']['median']:>7.0f} {row['readMiB']['median']:>9.0f}")
    print(f"target: {TARGET_MS} ms")


def take_options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sluice", required=True)
    parser.add_argument("--fill", required=True)
    parser.add_argument("--directory", default=".")
    parser.add_argument("--journals", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sealed-mib", type=int, default=10240)
    parser.add_argument("--open-mib", type=int, default=256)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args()
    options.segment_mib = 64
    if options.tiny:
        options.rounds, options.sealed_mib, options.open_mib, options.segment_mib = 1, 8, 2, 4
    elif options.rounds < 5:
        parser.error("--rounds: at least 5, or the spread says nothing")
    options.open_segment_mib = max(options.segment_mib,
                                   options.open_mib * 5 // 4 // options.journals)
    if options.open_segment_mib > 1024:
        parser.error("--open-mib: at most 819 per journal")
    if options.journals > len(os.sched_getaffinity(0)):
        parser.error("--journals: a core for each")
    return options


def main():
    options = take_options()
    with tempfile.TemporaryDirectory(prefix="restart-", dir=options.directory) as directory:
        data = os.path.join(directory, "data")
        records = fill(options, data)
        starts, acknowledged = measure(options, data)
        verify(options, data, records + acknowledged)
    report = {
        "benchmark": "restart", "kernel": platform.release(), "tiny": options.tiny,
        "rounds": options.rounds, "journals": options.journals, "records": records,
        "sealedMiB": options.sealed_mib, "openMiB": options.open_mib, "targetMs": TARGET_MS,
        "results": [{"stop": stop, "cache": cache,
                     **{key: spread([start[key] for start in measured]) for key in measured[0]}}
                    for (stop, cache), measured in starts.items()]}
    if options.json:
        print(json.dumps(report, indent=1))
    else:
        show(report)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failed as failure:
        print(f"restart: {failure}", file=sys.stderr)
        sys.exit(1)
