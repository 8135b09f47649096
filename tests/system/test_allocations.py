"""In steady state the data plane neither allocates, nor maps memory, nor takes a lock.

A preloaded library counts the calls of every ingress and worker thread (alloc_counter.c).
Environment: SLUICE_ALLOC_COUNTER is the library; without it, it is built with cc.
"""

import os
import pathlib
import shutil
import struct
import subprocess
import sys

import pytest

import forms
import harness
from credential_file import CredentialFile, bearer, entry
from ledger import Ledger, check_directory
from load import CHUNKED, PIPELINED, PLAIN, SPLIT, Load

pytestmark = pytest.mark.skipif(
    bool(harness.SANITIZER), reason="the sanitizer runtime has an allocator of its own")

CALLS = ("malloc", "calloc", "realloc", "free", "aligned", "mmap", "munmap", "mremap", "brk", "lock")
ROW = struct.Struct("=16s10Q")  # struct row in alloc_counter.c
DATA_PLANE = ("sluice-in", "sluice-wk")
# What forms.synthetic_registry finds in synthetic forms.
FINDINGS = {"unknown-center", "unknown-instrument", "early", "late", "unknown-item", "out-of-range",
            "missing-item", "more-findings"}
WARM_UP = 3000
STEADY = 20000

# Names itself like a data-plane thread and then calls one function; allocations of more than
# 512 bytes go from the interpreter straight to malloc.
CONTROL = """
import ctypes, mmap, threading
def body():
    ctypes.CDLL(None).prctl(15, b"sluice-wk-ctl", 0, 0, 0)
    kept = [bytes(5000) for _ in range(1000)]
    mmap.mmap(-1, 4096).close()
    ctypes.CDLL(None).pthread_mutex_lock(ctypes.create_string_buffer(64))
thread = threading.Thread(target=body)
thread.start()
thread.join()
"""


@pytest.fixture(scope="module")
def counter(tmp_path_factory):
    """The path of the preloaded library."""
    given = os.environ.get("SLUICE_ALLOC_COUNTER")
    if given:
        return pathlib.Path(given).resolve()
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no SLUICE_ALLOC_COUNTER and no cc to build it with")
    library = tmp_path_factory.mktemp("counter") / "alloc_counter.so"
    source = pathlib.Path(__file__).with_name("alloc_counter.c")
    options = ["-D_GNU_SOURCE", "-O2", "-fno-builtin", "-shared", "-fPIC", "-o"]
    subprocess.run([compiler, *options, library, source, "-ldl"], check=True, timeout=60)
    return library


def environment(counter, counts):
    return {"LD_PRELOAD": str(counter), "SLUICE_ALLOC_COUNTS": str(counts)}


def read_counts(path):
    """Thread name -> {call: count}."""
    rows = {}
    for name, *calls in ROW.iter_unpack(path.read_bytes()):
        name = name.rstrip(b"\0").decode()
        if name:
            assert name not in rows, f"two threads are named {name}"
            rows[name] = dict(zip(CALLS, calls))
    return rows


def data_plane(rows):
    return {name: calls for name, calls in rows.items() if name.startswith(DATA_PLANE)}


def test_the_counter_counts_a_thread_with_a_data_plane_name(counter, tmp_path):
    counts = tmp_path / "counts"
    subprocess.run([sys.executable, "-c", CONTROL], check=True, timeout=harness.COMMAND_S,
                   env={**os.environ, **environment(counter, counts)})
    rows = read_counts(counts)
    assert rows["other"]["malloc"] > 0
    assert rows["sluice-wk-ctl"]["malloc"] + rows["sluice-wk-ctl"]["calloc"] >= 1000
    assert rows["sluice-wk-ctl"]["free"] > 0
    assert rows["sluice-wk-ctl"]["mmap"] >= 1
    assert rows["sluice-wk-ctl"]["munmap"] >= 1
    assert rows["sluice-wk-ctl"]["lock"] >= 1


@pytest.mark.parametrize("segment_bytes, token, with_registry",
                         [(64 << 20, None, False), (4 << 20, None, False),
                          (64 << 20, "a-token", False), (64 << 20, None, True)],
                         ids=["one-segment", "rolling", "credentials", "registry"])
def test_steady_requests_allocate_and_lock_nothing_on_the_data_plane(
        fleet, tmp_path, seeded, counter, segment_bytes, token, with_registry):
    counts = tmp_path / "counts"
    data = tmp_path / "data"
    settings = {"segment_bytes": segment_bytes}
    if with_registry:
        settings["registry"] = tmp_path / "registry.yaml"
        settings["registry"].write_text(forms.synthetic_registry())
    file = CredentialFile(tmp_path / "c.yaml", [entry("a", token or "")])
    engine = fleet.start(data, settings, environment=environment(counter, counts),
                         options=file.options if token else [])
    for prefix in DATA_PLANE:
        assert any(name.startswith(prefix) for name in engine.thread_names())
    assert read_counts(counts)["other"]["malloc"] > 0

    ledger = Ledger(forms.synthetic(WARM_UP + STEADY))
    headers = [bearer(token)] if token else []
    load = {transport: Load(engine.address, ledger, seeded, transport, 64, headers)
            for transport in (PLAIN, PIPELINED, CHUNKED, SPLIT)}
    for number, transport in enumerate(load):
        load[transport].run(range(number, WARM_UP, len(load)))
    if token:  # replaced objects are the control thread's to free
        engine.reload()
        engine.wait_for_log("event=reloaded")
    before = data_plane(read_counts(counts))
    for transport in (CHUNKED, SPLIT, PLAIN):
        first = WARM_UP + 1000 * list(load).index(transport)
        load[transport].run(range(first, first + 1000))
    load[PIPELINED].run(ledger.unacknowledged())
    if token:
        engine.reload()
        engine.wait_for_log("event=reloaded", 2)
    after = data_plane(read_counts(counts))

    assert after == before
    records = check_directory(ledger, data)
    if with_registry:
        assert FINDINGS <= {f["code"] for record in records for f in record["findings"]}
