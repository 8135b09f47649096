"""CPU time of the engine per acknowledged, durable submission, under load from wrk.

usage: durable_load.py --sluice BINARY [--directory DIR] [--cores N] [--client-core N]
                       [--rounds N] [--seconds N] [--connections LIST] [--credentials N] [--json] [--tiny]

The engine runs on one core, wrk on another. Two kinds of request take turns on the same engine, for
each number of connections, another one first in each round:

  durable   POST /v1/submissions with a body of 75 bytes: answered after the flush
  constant  GET /livez with the same headers and body: parsed, the body thrown away, a constant
            answered, nothing stored; near the C0 of DESIGN, but its response is shorter

With --credentials a second engine on the same core asks for tokens, N of them in its file, and a
third kind goes to it:

  token     as durable, with an Authorization header

CPU time is utime + stime of /proc/PID/stat: all threads of the engine, its kernel helpers too.
Afterwards `sluice verify` must find every segment valid and no fewer records than 201s. The data
directory is made below DIR (default: the current directory) and removed.

Exit code: 0, 1 when a request failed or a record is missing, 77 without wrk. Never for a figure.
"""

import argparse
import hashlib
import json
import os
import platform
import re
import select
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

BODY = b'{"patientId":"01-701-1015","timestamp":1772391900,"scores":{"Q1":3,"Q2":0}}'
assert len(BODY) == 75
EXIT_SKIPPED = 77
START_S = 60
STOP_S = 60
TICKS_PER_S = os.sysconf("SC_CLK_TCK")

# wrk prints what came back as one line of JSON; `status` counts answers other than 2xx and 3xx
WRK_SCRIPT = """
wrk.method = "%(method)s"
wrk.path = "%(path)s"
wrk.headers["Content-Type"] = "application/json"
%(headers)s
wrk.body = %(body)s
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('\\nRESULT {"responses":%%d,"refused":%%d,"errors":%%d,"durationUs":%%d,' ..
    '"p50Us":%%d,"p99Us":%%d}\\n', summary.requests, e.status,
    e.connect + e.read + e.write + e.timeout, summary.duration,
    latency:percentile(50), latency:percentile(99)))
end
"""
KINDS = {"durable": ("POST", "/v1/submissions"), "constant": ("GET", "/livez"),
         "token": ("POST", "/v1/submissions")}
TOKEN = "sluice_" + "k" * 43


class Failed(Exception):
    """The run cannot be trusted."""


class Engine:
    """One `sluice serve` on one core."""

    def __init__(self, binary, data, core, more=()):
        self.printed = b""
        self.process = subprocess.Popen(
            [binary, "serve", "--data", data, "--listen", "127.0.0.1:0", "--cores", str(core),
             *more],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            preexec_fn=lambda: os.sched_setaffinity(0, {core}))
        self.url = self._wait_for_ready()

    def _wait_for_ready(self):
        deadline = time.monotonic() + START_S
        while b"\n" not in self.printed:
            wait_s = max(0, deadline - time.monotonic())
            if not select.select([self.process.stdout], [], [], wait_s)[0]:
                self.process.kill()
                raise Failed("the engine is not ready")
            some = os.read(self.process.stdout.fileno(), 4096)
            if not some:
                raise Failed(f"the engine ended with exit code {self.process.wait()}")
            self.printed += some
        return self.printed.decode().split("ready on ")[1].strip()

    def cpu_s(self):
        with open(f"/proc/{self.process.pid}/stat", encoding="ascii") as file:
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_S

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise Failed("the engine did not stop") from None
        if code != 0:
            raise Failed(f"the engine stopped with exit code {code}")


class Load:
    """wrk on one core; one script per kind of request."""

    def __init__(self, wrk, directory, core):
        self.wrk = wrk
        self.core = core
        self.scripts = {}
        for kind, (method, path) in KINDS.items():
            self.scripts[kind] = os.path.join(directory, f"{kind}.lua")
            with open(self.scripts[kind], "w", encoding="ascii") as file:
                file.write(WRK_SCRIPT % {"method": method, "path": path,
                                         "body": f"[[{BODY.decode()}]]",
                                         "headers": f'wrk.headers["Authorization"] = "Bearer {TOKEN}"'
                                         if kind == "token" else ""})

    def run(self, url, kind, connections, seconds):
        command = [self.wrk, "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s",
                   "--latency", "-s", self.scripts[kind], url]
        output = subprocess.run(command, capture_output=True, text=True, check=False,
                                preexec_fn=lambda: os.sched_setaffinity(0, {self.core}))
        found = re.search(r"^RESULT (.*)$", output.stdout, re.MULTILINE)
        if found is None:
            raise Failed(f"wrk said: {output.stdout}{output.stderr}")
        result = json.loads(found[1])
        if result["refused"] > 0 or result["errors"] > 0 or result["responses"] == 0:
            raise Failed(f"{kind}, {connections} connections: {result}")
        return result


def measure_round(engine, load, kind, connections, seconds):
    cpu_before_s = engine.cpu_s()
    result = load.run(engine.url, kind, connections, seconds)
    cpu_s = engine.cpu_s() - cpu_before_s
    return {
        "responses": result["responses"],
        "cpuUs": cpu_s * 1e6 / result["responses"],
        "perS": result["responses"] / (result["durationUs"] / 1e6),
        "busy": cpu_s / (result["durationUs"] / 1e6),
        "p50Us": result["p50Us"],
        "p99Us": result["p99Us"],
    }


def measure_all(engines, load, options):
    """Rounds of every side; {(connections, kind): [round, ...]}, and how many were acknowledged by
    the first engine."""
    kinds = [kind for kind in KINDS if kind != "token" or options.credentials]
    sides = [(connections, kind) for connections in options.connections for kind in kinds]
    rounds = {side: [] for side in sides}
    acknowledged = 0
    if not options.tiny:
        acknowledged += load.run(engines[0].url, "durable", 64, 1)["responses"]  # warms up
        if options.credentials:
            load.run(engines[1].url, "token", 64, 1)
    for number in range(options.rounds):
        turn = number % len(sides)
        for connections, kind in sides[turn:] + sides[:turn]:
            engine = engines[1 if kind == "token" else 0]
            measured = measure_round(engine, load, kind, connections, options.seconds)
            rounds[connections, kind].append(measured)
            acknowledged += measured["responses"] if kind == "durable" else 0
    return rounds, acknowledged


def verify(binary, data, acknowledged):
    """The records that `sluice verify` finds, and how many of them stand in a batch on average."""
    result = subprocess.run([binary, "verify", data], capture_output=True, text=True, check=False)
    found = re.search(r"(\d+) batches, (\d+) records", result.stderr)
    if result.returncode != 0 or found is None:
        raise Failed(f"verify: exit code {result.returncode}: {result.stdout}{result.stderr}")
    batches, records = int(found[1]), int(found[2])
    if records < acknowledged:
        raise Failed(f"{acknowledged} submissions were acknowledged, {records} are there")
    return records, records / batches


def write_credentials(directory, count):
    """A file of `count` credentials, one of which is TOKEN's."""
    path = os.path.join(directory, "credentials.yaml")
    with open(path, "w", encoding="ascii", opener=lambda *a: os.open(*a, 0o600)) as file:
        file.write("credentials:\n")
        for number in range(count):
            token = TOKEN if number == 0 else f"token {number}"
            digest = hashlib.sha256(token.encode()).hexdigest()
            file.write(f"- {{name: n{number}, scopes: [ingest], sha256: {digest}}}\n")
    return path


def cpu_model():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return "unknown CPU"


def spread(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def summarize(rounds, records, batch_records, acknowledged, options):
    results = []
    for (connections, kind), measured in rounds.items():
        row = {"connections": connections, "kind": kind}
        for key in ("cpuUs", "perS", "busy", "p50Us", "p99Us"):
            row[key] = spread([one[key] for one in measured])
        results.append(row)
    # rounds of one number stand beside each other in time, so their ratio has less noise
    shares = {}
    for connections in options.connections:
        pairs = zip(rounds[connections, "constant"], rounds[connections, "durable"])
        shares[str(connections)] = spread([one["cpuUs"] / other["cpuUs"] for one, other in pairs])
    return {"benchmark": "durable_load", "kernel": platform.release(), "cpu": cpu_model(),
            "tiny": options.tiny, "rounds": options.rounds, "seconds": options.seconds,
            "sameCore": options.cores == options.client_core, "bodyBytes": len(BODY),
            "acknowledged": acknowledged, "records": records, "recordsPerBatch": batch_records,
            "results": results, "constantShare": shares}


def show(report):
    print(f"durable_load, Linux {report['kernel']}, {report['cpu']}, {report['rounds']} rounds of "
          f"{report['seconds']} s, {report['bodyBytes']}-byte bodies"
          + (", tiny: no figures" if report["tiny"] else ""))
    if report["sameCore"]:
        print("there is no second core: engine and wrk share one")
    print(f"\n{'connections':>11} {'kind':<9} {'CPU us/request':>14}  {'min..max':<14} "
          f"{'requests/s':>10} {'busy':>5} {'p50 us':>7} {'p99 us':>7}")
    for row in report["results"]:
        low_high = f"{row['cpuUs']['min']:.2f}..{row['cpuUs']['max']:.2f}"
        print(f"{row['connections']:>11} {row['kind']:<9} {row['cpuUs']['median']:>14.2f}  "
              f"{low_high:<14} {row['perS']['median']:>10.0f} {row['busy']['median']:>5.2f} "
              f"{row['p50Us']['median']:>7.0f} {row['p99Us']['median']:>7.0f}")
    for connections, share in report["constantShare"].items():
        print(f"{connections} connections: per CPU-second, {share['median']:.2f} "
              f"({share['min']:.2f}..{share['max']:.2f}) durable for one constant")
    print(f"{report['acknowledged']} acknowledged, {report['records']} records in batches of "
          f"{report['recordsPerBatch']:.0f} on average, all valid")


def take_options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    allowed = sorted(os.sched_getaffinity(0))
    parser.add_argument("--sluice", required=True)
    parser.add_argument("--directory", default=".")
    parser.add_argument("--cores", type=int, default=allowed[0])
    parser.add_argument("--client-core", type=int, default=allowed[-1])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--connections", default="64,512")
    parser.add_argument("--credentials", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args()
    options.connections = [int(one) for one in options.connections.split(",")]
    if options.tiny:
        options.rounds, options.seconds, options.connections = 1, 1, [8]
    elif options.rounds < 5:
        parser.error("--rounds: at least 5, or the spread says nothing")
    return options


def main():
    options = take_options()
    wrk = shutil.which("wrk")
    if wrk is None:
        print("durable_load: wrk is missing: install the package wrk", file=sys.stderr)
        return EXIT_SKIPPED
    with tempfile.TemporaryDirectory(prefix="durable-load-", dir=options.directory) as directory:
        data = os.path.join(directory, "data")
        load = Load(wrk, directory, options.client_core)
        engines = [Engine(options.sluice, data, options.cores)]
        try:
            if options.credentials:
                file = write_credentials(directory, options.credentials)
                engines.append(Engine(options.sluice, os.path.join(directory, "data-token"),
                                      options.cores, ["--credentials", file]))
            rounds, acknowledged = measure_all(engines, load, options)
            for engine in engines:
                engine.stop()
        finally:
            for engine in engines:
                if engine.process.poll() is None:
                    engine.process.kill()
                engine.process.wait()
        records, batch_records = verify(options.sluice, data, acknowledged)
    report = summarize(rounds, records, batch_records, acknowledged, options)
    if options.json:
        print(json.dumps(report, indent=1))
    else:
        show(report)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failed as failure:
        print(f"durable_load: {failure}", file=sys.stderr)
        sys.exit(1)
