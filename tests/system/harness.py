"""Starts, stops and questions the engine under test.

Environment: SLUICE is the binary (default build/engine/sluice in the repository),
SLUICE_TIME_FACTOR multiplies every wait and every deadline (sanitizer builds are slow),
SLUICE_SANITIZER is set for sanitizer builds. Every wait has an end, every process is ended by its
own id, and only loopback addresses are used.
"""

import json
import os
import pathlib
import re
import resource
import select
import signal
import subprocess
import time

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
BINARY = pathlib.Path(os.environ.get("SLUICE", REPOSITORY / "build/engine/sluice")).resolve()
TIME_FACTOR = float(os.environ.get("SLUICE_TIME_FACTOR", "1"))
SANITIZER = os.environ.get("SLUICE_SANITIZER", "")

START_S = 20.0 * TIME_FACTOR  # creation of the first segments included
STOP_S = 5.0 * TIME_FACTOR  # a drain with nothing slow in it
COMMAND_S = 60.0 * TIME_FACTOR

# One core pair: one ingress thread, so that a request answered on one connection proves that what
# was sent on others before it has been received; and one journal.
ONE_CORE = str(min(os.sched_getaffinity(0)))

READY_LINE = re.compile(rb"sluice: ready on https?://(127\.0\.0\.1):(\d+)\n")
REPORTS = re.compile(r"ERROR: \w+Sanitizer|WARNING: ThreadSanitizer|runtime error:|LeakSanitizer")


class EngineFailed(AssertionError):
    """The engine did not do what every test relies on."""


def scaled_ms(milliseconds):
    """An engine setting in milliseconds that grows with the waits of the tests."""
    return int(milliseconds * TIME_FACTOR)


def open_files_at_least(count):
    """Raises the soft limit of open files to the hard one; says whether `count` fit in it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard == resource.RLIM_INFINITY or hard >= count


def engine_binary():
    if not os.access(BINARY, os.X_OK):
        raise EngineFailed(f"no engine at {BINARY}: build it, or set SLUICE")
    return str(BINARY)


def serve_command(data, settings, cores, listen="127.0.0.1:0", options=()):
    command = [engine_binary(), "serve", "--data", str(data), "--listen", listen]
    if cores is not None:
        command += ["--cores", cores]
    for key, value in settings.items():
        command += ["--set", f"{key}={value}"]
    return command + [str(option) for option in options]


class Engine:
    """One `sluice serve` process; ready once constructed. Close it through its Fleet."""

    def __init__(self, data, log_path, settings, cores, environment, listen="127.0.0.1:0",
                 options=()):
        self.data = data
        self.log_path = log_path
        self.was_signalled = False
        self.printed = b""
        with open(log_path, "wb") as log:
            self.process = subprocess.Popen(
                serve_command(data, settings, cores, listen, options),
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log,
                env={**os.environ, **environment})
        try:
            self.address = self._wait_for_ready()
        except BaseException:
            self.destroy()
            raise

    def _wait_for_ready(self):
        deadline = time.monotonic() + START_S
        while b"\n" not in self.printed:
            if not select.select([self.process.stdout], [], [], deadline - time.monotonic())[0]:
                raise EngineFailed(f"not ready after {START_S:.0f} s\n{self.log_tail()}")
            some = os.read(self.process.stdout.fileno(), 4096)
            if not some:
                code = self.process.wait(STOP_S)
                raise EngineFailed(f"exit code {code} instead of ready\n{self.log_tail()}")
            self.printed += some
        match = READY_LINE.fullmatch(self.printed)
        if match is None:
            raise EngineFailed(f"this is not the ready line: {self.printed!r}")
        return match[1].decode(), int(match[2])

    @property
    def pid(self):
        return self.process.pid

    def kill(self):
        """SIGKILL; does not wait."""
        self.was_signalled = True
        self.process.send_signal(signal.SIGKILL)

    def terminate(self):
        """SIGTERM; does not wait."""
        self.was_signalled = True
        self.process.send_signal(signal.SIGTERM)

    def wait(self, timeout_s=STOP_S):
        """The exit code; negative for a signal. Fails when there is none in time."""
        try:
            code = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise EngineFailed(f"still there after {timeout_s:.1f} s\n{self.log_tail()}") from None
        self.printed += self.process.stdout.read()
        return code

    def resident_bytes(self):
        status = pathlib.Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)[1]) * 1024

    def thread_names(self):
        tasks = pathlib.Path(f"/proc/{self.pid}/task")
        return sorted((task / "comm").read_text().strip() for task in tasks.iterdir())

    def reload(self):
        """SIGHUP; does not wait."""
        self.process.send_signal(signal.SIGHUP)

    def wait_for_log(self, pattern, count=1, timeout_s=START_S):
        """Returns when `pattern` (a regular expression) stands in the log `count` times."""
        deadline = time.monotonic() + timeout_s
        while len(re.findall(pattern, self.log())) < count:
            if time.monotonic() > deadline:
                raise EngineFailed(f"no {count} times {pattern!r} in the log\n{self.log_tail()}")
            time.sleep(0.01)  # a log file gives no event

    def admin_address(self):
        """Of the --admin listener."""
        found = re.search(r"event=admin listen=http://([0-9.]+):(\d+)", self.log())
        return found[1], int(found[2])

    def log(self):
        return self.log_path.read_text(errors="replace")

    def log_tail(self, lines=60):
        return "\n".join(self.log().splitlines()[-lines:])

    def close(self):
        """Ends the engine where it still runs; fails on anything that a test did not cause."""
        try:
            if self.process.poll() is None and not self.was_signalled:
                self.terminate()
                code = self.wait()
                if code != 0:
                    raise EngineFailed(f"exit code {code} after SIGTERM\n{self.log_tail()}")
            elif not self.was_signalled:
                code = self.wait()
                raise EngineFailed(f"ended by itself with {code}\n{self.log_tail()}")
        finally:
            self.destroy()
        if REPORTS.search(self.log()):
            raise EngineFailed(f"sanitizer report\n{self.log_tail(300)}")
        if self.printed.count(b"\n") != 1:
            raise EngineFailed(f"more than the ready line on stdout: {self.printed!r}")

    def destroy(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(STOP_S)
        self.process.stdout.close()


class Fleet:
    """The engines of one test; fixture `fleet` closes it."""

    def __init__(self, directory):
        self.directory = directory
        self.engines = []

    def start(self, data, settings=None, cores=None, environment=None, options=()):
        """Starts an engine on the directory `data` and returns it when it is ready; `options` are
        further words of its command line."""
        log_path = self.directory / f"engine-{len(self.engines)}.log"
        engine = Engine(data, log_path, settings or {}, cores, environment or {},
                        options=options)
        self.engines.append(engine)
        return engine

    def close(self):
        faults = []
        for engine in self.engines:
            try:
                engine.close()
            except EngineFailed as fault:
                faults.append(f"{engine.log_path.name}: {fault}")
        if faults:
            raise EngineFailed("\n".join(faults))


def serve_to_exit(data, settings=None, listen="127.0.0.1:0", options=()):
    """Runs `serve` where it must refuse; returns the completed process, output as text."""
    return subprocess.run(
        serve_command(data, settings or {}, None, listen, options), stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=START_S)


def kill_while_starting(data, settings, after_s):
    """Starts an engine and sends SIGKILL `after_s` later, ready or not."""
    process = subprocess.Popen(
        serve_command(data, settings, None), stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        process.wait(after_s)
    except subprocess.TimeoutExpired:
        process.kill()
    code = process.wait(STOP_S)
    if code != -signal.SIGKILL:
        raise EngineFailed(f"exit code {code} while starting")


def run(*arguments):
    return subprocess.run(
        [engine_binary(), *map(str, arguments)], stdin=subprocess.DEVNULL,
        capture_output=True, timeout=COMMAND_S)


def cat_output(data, *options):
    """What `sluice cat` prints; fails unless it exits 0."""
    done = run("cat", *options, data)
    if done.returncode != 0:
        raise EngineFailed(f"cat exited {done.returncode}: {done.stderr.decode()}")
    return done.stdout


def cat_lines(data, *options):
    """The lines of `sluice cat`, as bytes without the newline."""
    output = cat_output(data, *options)
    if output and not output.endswith(b"\n"):
        raise EngineFailed("the last line of cat has no end")
    return output.split(b"\n")[:-1]


def cat(data, *options):
    """The records that `sluice cat` prints, as dictionaries."""
    return [json.loads(line) for line in cat_lines(data, *options)]


def cat_raw(data, *options):
    """What `sluice cat --raw` prints."""
    return cat_output(data, "--raw", *options)


def verify(data):
    """Fails unless `sluice verify` finds nothing wrong."""
    done = run("verify", data)
    if done.returncode != 0:
        raise EngineFailed(
            f"verify exited {done.returncode}: {done.stdout.decode()}{done.stderr.decode()}")
