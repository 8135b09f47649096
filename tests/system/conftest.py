"""Seeds, fleets of engines, and what is shown when a test fails."""

import contextlib
import os
import random

import pytest

pytest.register_assert_rewrite("client", "ledger", "load")

import harness  # noqa: E402  (behind the call that must come first)

SEED = int(os.environ.get("SLUICE_SEED") or random.SystemRandom().randrange(1 << 32))
open_fleets = []


def pytest_report_header(config):
    return f"sluice: {harness.BINARY}, time factor {harness.TIME_FACTOR:g}"


def pytest_terminal_summary(terminalreporter):
    terminalreporter.write_line(f"SLUICE_SEED={SEED}")  # also with -q


def pytest_sessionstart(session):
    harness.open_files_at_least(0)  # raises the soft limit, for the tests and for their engines


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        report.sections.append(("seed", f"SLUICE_SEED={SEED}"))
        for engine in (engine for fleet in open_fleets for engine in fleet.engines):
            report.sections.append((engine.log_path.name, engine.log_tail()))


@pytest.fixture
def seeded(request):
    """A random source that depends on SLUICE_SEED and the test's name alone."""
    return random.Random(f"{SEED}:{request.node.name}")


@contextlib.contextmanager
def running_fleet(directory):
    fleet = harness.Fleet(directory)
    open_fleets.append(fleet)
    try:
        yield fleet
        fleet.close()
    finally:
        for engine in fleet.engines:
            engine.destroy()
        open_fleets.remove(fleet)


@pytest.fixture
def fleet(tmp_path):
    """Starts engines for one test; none outlives it, and each must end cleanly."""
    with running_fleet(tmp_path) as fleet:
        yield fleet


@pytest.fixture(scope="module")
def shared_engine(tmp_path_factory):
    """One engine on one core for the tests of a module that do not disturb it."""
    directory = tmp_path_factory.mktemp("shared")
    with running_fleet(directory) as fleet:
        yield fleet.start(directory / "data", cores=harness.ONE_CORE)


@pytest.fixture
def stored(shared_engine):
    """A list for the receipts that a test gets from the shared engine: what the test adds is what
    must be stored when it ends, in that order and nothing else."""
    before = len(harness.cat(shared_engine.data))
    receipts = []
    yield receipts
    added = harness.cat(shared_engine.data)[before:]
    assert [record["sequence"] for record in added] == [r["sequence"] for r in receipts]
