"""`./dev soak` says well only when every suite ran, nothing was lost, and each control lost."""

import json
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import run  # noqa: E402  (the path comes first)
from suites import SUITES, Suite  # noqa: E402

SUITE = Suite("a suite", "P0", "a-program", full="--count 100", small="--count 1")
CONTROL = Suite("a control", "P0", "a-program", full="", small="", must_lose=True)

PROGRAM = """#!{python}
import json, sys
print("progress")
print("RESULT", json.dumps({{"cycles": 1, "losses": 99}}))
print("RESULT", json.dumps({{"cycles": 2000, "acknowledged": 5, "faults": 7, "losses": {losses},
                            "options": sys.argv[1:]}}))
sys.exit({code})
"""


@pytest.fixture
def build(tmp_path):
    (tmp_path / "tests/deep").mkdir(parents=True)
    return tmp_path


def write_program(build, losses, code):
    path = build / "tests/deep/a-program"
    path.write_text(PROGRAM.format(python=sys.executable, losses=losses, code=code))
    path.chmod(0o755)


@pytest.mark.parametrize("suite,losses,code,well,said", [
    (SUITE, 0, 0, True, "0"),
    (SUITE, 3, 1, False, "LOST 3"),
    (SUITE, 0, 1, False, "exit code 1"),
    (SUITE, 0, 77, False, "did not run here"),
    (CONTROL, 1200, 1, True, "lost 1,200, as it must"),
    (CONTROL, 0, 0, False, "lost 0, exit code 0: it must lose"),
    (CONTROL, 3, 2, False, "lost 3, exit code 2: it must lose"),
])
def test_a_row_says_what_was_lost_and_whether_that_is_well(build, suite, losses, code, well, said):
    write_program(build, losses, code)
    row = run.Runner(build, seed=7, small=False).run(suite)
    assert row.losses() == said
    assert (row.fault == "") == well
    assert row.result["cycles"] == 2000, "the last result counts"


def test_options_and_seed_reach_the_program_and_its_output_a_log(build):
    write_program(build, 0, 0)
    for small, options in ((True, SUITE.small), (False, SUITE.full)):
        row = run.Runner(build, seed=7, small=small).run(SUITE)
        assert row.result["options"] == [*options.split(), "--seed", "7"]
    assert (build / "soak-a-suite.log").read_text().startswith("progress\n")


def test_a_missing_program_is_named(build):
    row = run.Runner(build, seed=7, small=False).run(SUITE)
    assert row.fault == f"there is no program a-program in {build}/tests"


def test_a_program_without_a_result_is_no_success(build):
    path = build / "tests/a-program"
    path.write_text("#!/bin/sh\nexit 0\n")
    path.chmod(0o755)
    assert run.Runner(build, seed=7, small=False).run(SUITE).fault == "no result, exit code 0"


@pytest.mark.parametrize("losses,code,exit_code", [(0, 0, 0), (1, 1, 1)])
def test_the_exit_code_the_table_and_the_file_agree(
        build, monkeypatch, capsys, losses, code, exit_code):
    write_program(build, losses, code)
    monkeypatch.setattr(run, "SUITES", (SUITE,))
    monkeypatch.setattr(sys, "argv", ["run.py", "--build", str(build), "--seed", "7"])
    assert run.main() == exit_code
    lost = "LOST 1" if losses else "0"
    assert f"| P0 | a suite | 2,000 | 5 | 7 | {lost} |  | 7 | 0 s |" in capsys.readouterr().out
    written = json.loads((build / "soak.json").read_text())
    assert written["well"] == (exit_code == 0)
    assert written["suites"][0]["losses"] == losses
    assert written["machine"]["kernel"] and written["machine"]["filesystems"]


def test_every_promise_that_needs_a_soak_has_a_suite():
    assert {"P1", "P2", "P3", "P4", "P5", "P6", "P13"} <= {suite.promise for suite in SUITES}
    assert sum(suite.must_lose for suite in SUITES) >= 2
    assert len({suite.name for suite in SUITES}) == len(SUITES)
