"""Writes docs/healthy-and-broken.md from the marks of the tests: `python docs/controls.py`.

The tests are collected, not run; tests/controls/test_page.py fails where the page is not what they are.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "healthy-and-broken.md"
KINDS = ("healthy", "broken")
WAYS = ("gate", "convert", "merge", "source", "compare")

HEAD = """# Healthy and broken

Written by `python docs/controls.py` from the tests' own cases; a test fails where this page is not what they are. A
healthy model that is refused is as grave a fault as a broken one that passes, so both are planted:

| models, adapters and folders | gate | convert | merge | source | compare |
|---|---|---|---|---|---|
{counts}

How far a case goes: *gate* is a run of the suites, as users start it; *convert* all that `slm-gate convert` verifies;
*merge* the merged adapter held against live PEFT, in nats; *source* what is read before anything long starts; *compare*
one comparison by itself, on graphs and files that are made for it. What is run on request takes minutes a model
(`pytest tests/ -m scale`); all else is run by `make test-all`."""

REPORTS_HEAD = """## Situations of public reports

What was reported of other tools, recreated as models, adapters and folders, and what comes out here.

| situation | reported | what comes out | held by |
|---|---|---|---|"""


@dataclass(slots=True)
class Row:
    """The cases of one test that has a mark."""

    what: str
    way: str
    folders: int
    test: str
    """`tests/room/test_file.py::test_name`."""

    cases: list[str] = field(default_factory=list)
    """Names of the parameters; empty where there are none."""

    count: int = 0

    def as_markdown(self) -> str:
        """A line of the table."""
        number = f"{self.count}" if self.folders == 1 else f"{self.count} x {self.folders}"
        named = ": " + ", ".join(self.cases) if self.cases else ""
        return f"| {self.what}{_escaped(named)} | {number} | {self.way} | `{self.test}` |"


class Collector:
    """A plug-in that keeps the marked tests of a collection."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Row]] = {kind: {} for kind in KINDS}
        self.tests: set[str] = set()

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Note every marked case."""
        for item in session.items:
            test, _, case = item.nodeid.partition("[")
            self.tests.add(test)
            for kind in KINDS:
                for mark in item.iter_markers(kind):
                    way, folders = str(mark.kwargs["way"]), int(mark.kwargs["folders"])
                    row = self.rows[kind].setdefault(test, Row(mark.args[0], way, folders, test))
                    row.count += 1
                    row.cases += [case.removesuffix("]")] if case else []


def collect() -> Collector:
    """The marked tests, collected and not run.

    Raises:
        SystemExit: the tests cannot be collected.
    """
    found = Collector()
    options = ["--collect-only", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", str(ROOT / "tests")]
    shown = io.StringIO()
    before = Path.cwd()
    os.chdir(ROOT)
    try:
        with contextlib.redirect_stdout(shown):
            status = pytest.main(options, plugins=[found])
    finally:
        os.chdir(before)
    if status != pytest.ExitCode.OK:
        sys.exit(f"the tests cannot be collected: {shown.getvalue()[-2000:]}")
    return found


def page(found: Collector, reports: Sequence[tuple[str, str, str, str]]) -> str:
    """The page; `reports` are situations with their public source, what comes out, and the test.

    Raises:
        SystemExit: a test that holds a report is not there.
    """
    missing = [test for *_, tests in reports for test in tests.split() if test not in found.tests]
    if missing:
        sys.exit(f"no such test: {', '.join(missing)}")
    counts = "\n".join(_count(kind, list(found.rows[kind].values())) for kind in KINDS)
    parts = [HEAD.format(counts=counts)]
    parts += ["\n".join(_table(kind, list(found.rows[kind].values()))) for kind in KINDS]
    parts += ["\n".join([REPORTS_HEAD, *(_report(*report) for report in reports)])]
    return "\n\n".join(parts) + "\n"


def _count(kind: str, rows: Sequence[Row]) -> str:
    folders = (sum(row.count * row.folders for row in rows if row.way == way) for way in WAYS)
    outcome = "must pass" if kind == "healthy" else "must be told by name"
    return f"| {kind}: {outcome} | {' | '.join(map(str, folders))} |"


def _table(kind: str, rows: Sequence[Row]) -> Iterator[str]:
    yield f"## {kind.capitalize()}\n"
    yield "| what | how many | way | test |"
    yield "|---|---|---|---|"
    yield from (row.as_markdown() for row in sorted(rows, key=lambda row: (WAYS.index(row.way), row.test)))


def _report(situation: str, source: str, outcome: str, tests: str) -> str:
    held = ", ".join(f"`{test}`" for test in tests.split())
    return f"| {situation} | {source} | {outcome} | {held} |"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def main() -> None:
    """Write the page, or with `--print` show it."""
    sys.path.insert(0, str(ROOT))
    from tests.controls.reports import REPORTS

    text = page(collect(), REPORTS)
    if sys.argv[1:] == ["--print"]:
        sys.stdout.write(text)
    else:
        PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
