"""(h) kill -9 at random moments: the run goes on, asks nothing twice, and ends with the same figures."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.scale_parts.common import ROOT, Table, say
from harness.toolchain.workspace import Workspace

KILLS_A_ROUND = 4
LOOK_S = 0.02
SUITES = ("suites/quality/test_domain_relevance.py", "suites/quality/test_format.py",
          "suites/quality/test_length_consistency.py", "suites/test_precision_comparison.py")  # fmt: skip
SHARED = ("artifacts", "source-answers", "reference_logits", "fidelity", "exact_activations")
"""What the runs may find in the cache: all but the answers and divergences of the variants."""

Rows = dict[str, dict[str, tuple[int, str, str]]]
"""By file and key: rowid, which changes when a row is replaced; when it was kept; its value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A run's folders."""

    cache: Path
    results: Path
    variants: str

    @property
    def command(self) -> list[str]:
        """The gate on the demo, quality suites only."""
        own = ["--variants", self.variants, "--cache-dir", self.cache, "--results-dir", self.results]
        return [str(part) for part in (sys.executable, "-m", "pytest", *SUITES, "-q", "-p", "no:cacheprovider", *own)]


def measure(place: Workspace, scratch: Path, *, rounds: int, variants: str) -> Table:
    """An uninterrupted run, and rounds of kills at random moments of it, each ended by a whole run."""
    whole = _place(scratch / "whole", place.cache, variants)
    say("an uninterrupted run")
    _run(whole)
    expected, total = _figures(whole), _count(_rows(whole.cache))
    table = Table(head=("round", "killed with so many rows kept", "asked twice", "lost", "other figures"))
    rng = random.Random(0)
    for number in range(1, rounds + 1):
        _round(number, _place(scratch / f"round-{number}", place.cache, variants), total, rng, expected, table)
    table.notes.append(
        f"Demo, {variants}: {total} answers and divergences in all. Each round begins without any, is killed "
        f"{KILLS_A_ROUND} times, each time when a drawn number of them is kept, and then runs to its end. Asked "
        "twice: rows that a later process wrote again. Other figures: metrics of the record that are not exactly those "
        "of the uninterrupted run."
    )
    return table


def _round(number: int, own: Place, total: int, rng: random.Random, expected: Any, table: Table) -> None:
    counts, twice, lost = [], 0, 0
    before: Rows = {}
    for target in sorted(rng.sample(range(1, total), KILLS_A_ROUND)):
        say(f"round {number}: a run that is killed when {target} of {total} rows are kept")
        _run(own, kill_at_rows=target)
        rows = _rows(own.cache)
        twice, lost = twice + _replaced(before, rows), lost + _missing(before, rows)
        before = rows
        counts.append(_count(rows))
    say(f"round {number}: a whole run")
    _run(own)
    rows = _rows(own.cache)
    twice, lost = twice + _replaced(before, rows), lost + _missing(before, rows)
    figures = _figures(own)
    other = sorted(name for name in {*expected, *figures} if expected.get(name) != figures.get(name))
    table.rows.append((number, ", ".join(map(str, counts)), twice, lost, ", ".join(other) or 0))
    say(f"round {number}: {' | '.join(map(str, table.rows[-1]))}")
    shutil.rmtree(own.cache, ignore_errors=True)


def _place(folder: Path, cache: Path, variants: str) -> Place:
    shutil.rmtree(folder, ignore_errors=True)
    own = Place(cache=folder / "cache", results=folder / "results", variants=variants)
    own.cache.mkdir(parents=True)
    for name in SHARED:
        if (cache / name).exists():
            shutil.copytree(cache / name, own.cache / name, copy_function=os.link, symlinks=True)
    (own.cache / "toolchains").symlink_to(cache / "toolchains")
    return own


def _run(own: Place, kill_at_rows: int | None = None) -> None:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    log = own.cache.parent / "log.txt"
    with log.open("ab") as sink:
        process = subprocess.Popen(own.command, cwd=ROOT, env=env, stdout=sink, stderr=sink, start_new_session=True)
        while kill_at_rows is not None and process.poll() is None:
            if _count(_rows(own.cache)) >= kill_at_rows:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                return
            time.sleep(LOOK_S)
        status = process.wait()
    if status != 0:
        raise SystemExit(f"the run ended with {status}: see {log}")


def _count(rows: Rows) -> int:
    return sum(map(len, rows.values()))


def _rows(cache: Path) -> Rows:
    found: Rows = {}
    for file in sorted((cache / "answers").glob("*.db")):
        try:
            with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as connection:
                rows = connection.execute("SELECT key, rowid, kept_at, value FROM rows").fetchall()
        except sqlite3.OperationalError:  # the file is being made
            continue
        found[file.name] = {key: (rowid, kept_at, value) for key, rowid, kept_at, value in rows}
    return found


def _replaced(before: Rows, after: Rows) -> int:
    return sum(after.get(name, {}).get(key, row) != row for name, rows in before.items() for key, row in rows.items())


def _missing(before: Rows, after: Rows) -> int:
    return sum(key not in after.get(name, {}) for name, rows in before.items() for key in rows)


def _figures(own: Place) -> dict[str, Any]:
    record = json.loads((own.results / "latest" / "run.json").read_text(encoding="utf-8"))
    return {f"{variant}: {name}": estimate for variant, one in record["variants"].items()
            for name, estimate in one["metrics"].items()}  # fmt: skip
