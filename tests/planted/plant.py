"""Planted bugs: patch files with a header that names the promise and the test (README.md).

A hunk is found by its lines alone, the removed ones and those around them, which must stand in the
file exactly once. Line numbers do not count, so edits elsewhere in a file do no harm; an edit of
the lines themselves, or a second copy of them, is an error that names patch and file.
"""

import dataclasses
import pathlib
import re
import shlex

KEYS = ("promise", "test", "says", "build")
BUILDS = ("plain", "thread", "address")
HERE = pathlib.Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]


class PatchError(Exception):
    """A patch that is malformed, does not apply, or names a test that does not exist."""


@dataclasses.dataclass(frozen=True)
class Hunk:
    before: str
    after: str


@dataclasses.dataclass(frozen=True)
class Plant:
    name: str
    bug: str  # the first line
    promise: str
    test: list  # words of the command
    says: str  # regular expression for the failing test's output
    build: str
    hunks: dict  # of each file, by its path in the repository

    def apply(self, tree):
        """The files as they are with the bug in them: path to text. Changes nothing."""
        return {path: self._changed(path, tree) for path in self.hunks}

    def _changed(self, path, tree):
        if not (tree / path).is_file():
            raise PatchError(f"{self.name}: there is no {path}")
        text = (tree / path).read_text()
        for hunk in self.hunks[path]:
            places = text.count("\n" + hunk.before)
            if places != 1:
                raise PatchError(f"{self.name}: {path} has these lines {places} times, "
                                 f"and not once:\n{hunk.before}")
            text = text.replace("\n" + hunk.before, "\n" + hunk.after)
        return text


def _parse_header(name, lines):
    values = {"build": "plain"}
    for line in lines:
        key, colon, value = line.partition(":")
        if colon and key in KEYS:
            values[key] = value.strip()
    missing = [key for key in KEYS if key not in values]
    if missing or not lines or not lines[0].strip():
        raise PatchError(f"{name}: the header lacks {', '.join(missing) or 'a first line'}")
    if not re.fullmatch(r"P([1-9]|1[0-4])", values["promise"]):
        raise PatchError(f"{name}: {values['promise']} is no promise, P1 to P14 are")
    if values["build"] not in BUILDS:
        raise PatchError(f"{name}: build is one of {', '.join(BUILDS)}")
    return values


def _parse_hunks(name, lines):
    files, path, before, after = {}, None, [], []

    def end_hunk():
        if before or after:
            if not before or before == after:
                raise PatchError(f"{name}: a hunk in {path} changes nothing, or stands nowhere")
            files[path].append(Hunk("".join(before), "".join(after)))
        before.clear()
        after.clear()

    for line in lines:
        if line.startswith("--- "):
            end_hunk()
        elif line.startswith("+++ b/"):
            path = line[len("+++ b/"):].split("\t")[0].strip()
            files[path] = []
        elif line.startswith("@@ ") and path is not None:
            end_hunk()
        elif line[0] in " -+" and path is not None:
            if line[0] in " -":
                before.append(line[1:])
            if line[0] in " +":
                after.append(line[1:])
        else:
            raise PatchError(f"{name}: not a line of a unified diff: {line!r}")
    end_hunk()
    if not files or not all(files.values()):
        raise PatchError(f"{name}: no diff")
    return files


def parse(path):
    name = path.stem
    lines = path.read_text().splitlines(keepends=True)
    start = next((i for i, line in enumerate(lines) if line.startswith("--- a/")), len(lines))
    header = [line.strip() for line in lines[:start]]
    values = _parse_header(name, header)
    return Plant(name, header[0], values["promise"], shlex.split(values["test"]), values["says"],
                 values["build"], _parse_hunks(name, lines[start:]))


def load():
    return [parse(path) for path in sorted(HERE.glob("*.patch"))]
