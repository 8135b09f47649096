"""`sluice tail` as a process of its own, and the loader behind it, who may never see a record that
is not there afterwards (promise P8).

A thread takes what a tail prints as it comes, so that no tail ever waits for the rest of a rig. Of
a line only the place and the SHA-256 are read, and those with a pattern: every member in front of
them is JSON text, in which a quotation mark has a backslash before it.
"""

import os
import re
import subprocess
import tempfile
import threading
import time

import harness

CAUGHT_UP_S = 20.0 * harness.TIME_FACTOR
EXIT_DAMAGE, EXIT_FAILED = 1, 2
LINE = re.compile(rb'\{"journal":(\d+),"sequence":(\d+),[^\n]*?,"sha256":"([0-9a-f]{64})"[^\n]*\n')


def places(block):
    """(journal, sequence, SHA-256) of each line that `sluice cat` or `tail` printed."""
    found = [(int(journal), int(sequence), sha256)
             for journal, sequence, sha256 in LINE.findall(block)]
    assert len(found) == block.count(b"\n"), "a line without journal, sequence or SHA-256"
    return found


def places_of(records):
    """The same of parsed records."""
    return [(record["journal"], record["sequence"], record["sha256"].encode())
            for record in records]


class Tail:
    """A running `sluice tail`. `take` gets blocks of whole lines, on a thread of this object and
    under its `changed`; without it the lines are kept in `lines`."""

    def __init__(self, data, *options, take=None):
        self.lines = []
        self.take = take or self._keep
        self.changed = threading.Condition()
        self.ended = False
        self.fault = None  # what `take` raised
        self.stderr = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            [harness.engine_binary(), "tail", str(data), *map(str, options)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self.stderr)
        self.thread = threading.Thread(target=self._drain, name="tail", daemon=True)
        self.thread.start()

    def _keep(self, block):
        self.lines += block.split(b"\n")[:-1]

    def _drain(self):
        rest = b""
        while some := os.read(self.process.stdout.fileno(), 1 << 20):
            block, newline, rest = (rest + some).rpartition(b"\n")
            if newline:
                self._pass_on(block + newline)
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    def _pass_on(self, block):
        with self.changed:
            try:
                if self.fault is None:
                    self.take(block)
            except AssertionError as fault:
                self.fault = fault
            self.changed.notify_all()

    def wait_until(self, reached):
        """Waits for `reached()`; False when the tail ended, failed or was too slow before."""
        deadline = time.monotonic() + CAUGHT_UP_S
        with self.changed:
            while not reached():
                left_s = deadline - time.monotonic()
                if self.ended or self.fault is not None or not self.changed.wait(max(left_s, 0)):
                    return reached()
            return True

    def read_until(self, count):
        """The lines, once there are `count`."""
        assert self.wait_until(lambda: len(self.lines) >= count), (
            f"{len(self.lines)} of {count} lines; {self.complaint()}")
        return self.lines

    def complaint(self):
        self.stderr.seek(0)
        return self.stderr.read().decode(errors="replace").strip()

    def close(self):
        """Ends it and takes what it had printed; the exit code, negative for a signal."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            code = self.process.wait(harness.STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait(harness.STOP_S)
        self.thread.join(harness.STOP_S)
        self.process.stdout.close()
        return code


class Loader:
    """Follows one data directory through everything that happens to it. Its tail is not restarted
    when engines die; where the filesystem has to go, `stop` ends it and `start` resumes at the
    cursor. `faults` says what was wrong with what it was shown and has not been told yet."""

    def __init__(self):
        self.shown = {}  # journal -> SHA-256 of each record, from sequence 1
        self.faults = []
        self.tail = None
        self.next = {}  # journal -> the sequence that the running tail has to print next

    @property
    def count(self):
        """Records seen, each counted once."""
        return sum(map(len, self.shown.values()))

    def start(self, data):
        """Starts a tail unless one runs or there is no data directory yet. A tail has one `--from`
        for all journals, so what some journals have behind it is shown, and compared, twice."""
        if self.tail is not None or not (data / "node").exists():
            return
        journals = [int(path.name[-4:]) for path in data.glob("journal-????")]
        self.start_at = min((len(self.shown.get(journal, ())) + 1 for journal in journals),
                            default=1)
        self.next = {}
        self.tail = Tail(data, "--from", self.start_at, take=self._take)

    def _take(self, block):
        for journal, sequence, sha256 in places(block):
            due = self.next.get(journal, self.start_at)
            own = self.shown.setdefault(journal, [])
            assert sequence == due, f"journal {journal}: sequence {sequence} came for {due}"
            self.next[journal] = due + 1
            if sequence > len(own):
                own.append(sha256)
            else:
                assert own[sequence - 1] == sha256, (
                    f"journal {journal}: sequence {sequence} was shown as another record before")

    def stop(self, disk_may_fail=False):
        """Ends the tail. On a disk that is gone it may have ended with an I/O error, never with
        damage."""
        tail, self.tail = self.tail, None
        if tail is None:
            return
        code = tail.close()
        if tail.fault is not None:
            self.faults.append(str(tail.fault))
        if code >= 0 and not (disk_may_fail and code == EXIT_FAILED):
            self.faults.append(f"the tail ended with {code}: {tail.complaint()}")
        if harness.REPORTS.search(tail.complaint()):
            self.faults.append(tail.complaint())
        tail.stderr.close()

    def vanished(self, stored):
        """What was shown and is not among the places `stored`."""
        digests = {(journal, sequence): sha256 for journal, sequence, sha256 in stored}
        return [(journal, sequence)
                for journal, own in self.shown.items()
                for sequence, sha256 in enumerate(own, 1)
                if digests.get((journal, sequence)) != sha256]

    def see(self, count):
        """Waits until the running tail has shown `count` records in all; it is a fault if not."""
        if self.tail is None or self.tail.wait_until(lambda: self.count >= count):
            return
        self.faults.append(f"the tail has shown {self.count} of {count}")
        if self.tail.ended:
            self.stop()

    def compare(self, stored):
        """(how many records were shown and are not there, or 1 when anything else was wrong, why),
        once the running tail has caught up with the places `stored`."""
        if not self.vanished(stored):
            self.see(len(stored))
        gone = self.vanished(stored)
        if gone:
            return len(gone), f"shown and not there: journal and sequence {gone[0]}"
        if self.tail is not None and self.tail.fault is not None:
            self.stop()
        faults, self.faults = self.faults, []
        return min(len(faults), 1), "; ".join(faults)

    def check(self, stored):
        """As an assertion."""
        wrong, why = self.compare(stored)
        assert wrong == 0, f"{wrong}: {why}"
