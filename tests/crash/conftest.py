"""The fixtures of the system tests, and a reason to skip where the rigs cannot run."""

import importlib.util
import pathlib
import sys

import pytest

SYSTEM = pathlib.Path(__file__).resolve().parents[1] / "system"
sys.path.append(str(SYSTEM))
pytest.register_assert_rewrite(
    "disk_full_rig", "health", "io_error_rig", "power_rig", "reconcile", "refusing_load")

_specification = importlib.util.spec_from_file_location("system_conftest", SYSTEM / "conftest.py")
system_conftest = importlib.util.module_from_spec(_specification)
_specification.loader.exec_module(system_conftest)
# hooks and fixtures work under these names in every conftest.py
pytest_report_header = system_conftest.pytest_report_header
pytest_terminal_summary = system_conftest.pytest_terminal_summary
pytest_sessionstart = system_conftest.pytest_sessionstart
pytest_runtest_makereport = system_conftest.pytest_runtest_makereport
fleet = system_conftest.fleet

import block_stack  # noqa: E402  (behind the path that it needs)

block_stack.end_tidily()


@pytest.fixture(autouse=True)
def rigs_can_run():
    reason = block_stack.missing()
    if reason is not None:
        pytest.skip(reason)


@pytest.fixture
def seed():
    """SLUICE_SEED, or one of its own for each session; shown with every failure."""
    return system_conftest.SEED
