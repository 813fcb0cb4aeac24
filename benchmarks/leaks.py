"""What the leak check sees and what it says of healthy processes: `leaks.py --parts healthy,smallest,planted`.

    python benchmarks/leaks.py                                  # all parts; about twenty minutes on two quiet cores
    python benchmarks/leaks.py --parts healthy --healthy 100    # false alarms only
    python benchmarks/leaks.py --rows rows.jsonl --write        # adds to earlier rows, and writes docs/leaks.md

Every check is the gate's own, in a process of its own. Rows are kept as they come (`--rows`), so that a run can be
broken off and gone on with; the table is of all rows in the file.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tabulate import tabulate

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.pages import write_part  # noqa: E402
from harness.convert.convert import convert  # noqa: E402  # the script runs without an installation
from harness.errors import GateError  # noqa: E402
from harness.metrics.units import format_seconds  # noqa: E402
from harness.recipes.recipe import load_recipe  # noqa: E402
from harness.source.source import resolve_source  # noqa: E402
from harness.stats.proportions import proportion_of  # noqa: E402
from harness.system.paths import default_cache  # noqa: E402
from harness.system.progress import LineProgress  # noqa: E402
from harness.toolchain.toolchain import ensure_toolchain  # noqa: E402
from harness.toolchain.workspace import Workspace  # noqa: E402
from tests.measure.leak_controls import (  # noqa: E402
    HEALTHY,
    MENDED,
    PLANTED,
    REAL,
    SMALLEST,
    Control,
    run_control,
)

PARTS = ("healthy", "smallest", "planted", "real", "coarse")
RATE = "95 % interval of the rate"
COARSE_METHODS = ("anonymous", "uss")
COARSE_LEAK = "kept Generator"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One check to be run."""

    part: str
    control: Control
    artifact: Path
    variant: str
    method: str | None = None

    @property
    def name(self) -> str:
        """Of its row in the table."""
        what = f"{self.control.name}, {self.variant}" if self.part == "healthy" else self.control.name
        what += ", stacks not asked" if self.part == "smallest" else ""
        return f"{what}, read by {self.method}" if self.method else what


def main() -> None:
    """Measure, print the table, and write it into the page if asked to."""
    given = arguments()
    artifacts = {"given": given.artifact} if given.artifact else demo_artifacts()
    rows_file = given.rows or Path(tempfile.mkdtemp(prefix="slm-gate-"), "rows.jsonl")
    jobs = list(planned(given, artifacts))
    for number, job in enumerate(jobs, start=1):
        row = measured(job)
        with rows_file.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(row) + "\n")
        said = "alarm" if row["leaking"] else "undecided" if row["undecided"] else row.get("error") or "no alarm"
        print(f"{number}/{len(jobs)} {job.part}: {job.name}: {said}, {row['seconds']:.1f} s", flush=True)
    rows = [json.loads(line) for line in rows_file.read_text(encoding="utf-8").splitlines()]
    text = tables(rows)
    print(text)
    print(f"rows: {rows_file}")
    if given.write:
        write_part("leaks.md", "measured", f"\n{text}\n")


def arguments() -> argparse.Namespace:
    """What the caller asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default=",".join(PARTS), help="some of: %(default)s")
    parser.add_argument("--healthy", type=int, default=100, help="healthy checks, over runtimes and variants in turn")
    parser.add_argument("--repeats", type=int, default=3, help="checks of each control")
    parser.add_argument("--smallest", type=int, default=20, help="checks of the smallest leaks, in each runtime")
    parser.add_argument("--artifact", type=Path, help="another converted folder than the demo's, of half a billion say")
    parser.add_argument("--rows", type=Path, help="JSON lines to add to, and to make the table of")
    parser.add_argument("--write", action="store_true", help="write the table into docs/leaks.md")
    given = parser.parse_args()
    given.parts = given.parts.split(",") if given.parts else []
    if unknown := set(given.parts) - set(PARTS):
        parser.error(f"no part is called {', '.join(sorted(unknown))}")
    return given


def demo_artifacts() -> dict[str, Path]:
    """The demo model's variants, from the gate's own cache."""
    progress = LineProgress(print)
    workspace = Workspace(cache=default_cache(), toolchain=ensure_toolchain(cache=default_cache()), progress=progress)
    recipes = {name: load_recipe(name) for name in ("int4", "int8", "fp16")}
    found = convert(resolve_source(str(ROOT / "fixtures/data/demo/model")), recipes, workspace)
    for artifact in found.values():
        if isinstance(artifact, GateError):
            sys.exit(str(artifact))
    return {name: artifact.path for name, artifact in found.items() if not isinstance(artifact, GateError)}


def planned(given: argparse.Namespace, artifacts: Mapping[str, Path]) -> Iterator[Job]:
    """The checks of the parts that were asked for."""
    variants = list(artifacts.items())
    if "healthy" in given.parts:
        for number in range(given.healthy):
            variant, artifact = variants[number // len(HEALTHY) % len(variants)]
            control = HEALTHY[number % len(HEALTHY)]
            yield Job(part="healthy", control=control, artifact=artifact, variant=variant)
    variant, artifact = variants[0]
    for control in SMALLEST if "smallest" in given.parts else ():
        for _ in range(given.smallest):
            yield Job(part="smallest", control=control, artifact=artifact, variant=variant)
    controls = {"planted": PLANTED, "real": (*REAL, *MENDED)}
    for part in ("planted", "real"):
        for control in controls[part] if part in given.parts else ():
            for _ in range(given.repeats):
                yield Job(part=part, control=control, artifact=artifact, variant=variant)
    if "coarse" in given.parts:
        leak = next(control for control in PLANTED if control.name == COARSE_LEAK)
        for method in COARSE_METHODS:
            for control in (leak, HEALTHY[0]):
                for _ in range(given.repeats):
                    yield Job(part="coarse", control=control, artifact=artifact, variant=variant, method=method)


def measured(job: Job) -> dict[str, Any]:
    """Run one check; its row."""
    started_s = time.perf_counter()
    row: dict[str, Any] = {
        "part": job.part, "name": job.name, "is_leak": bool(job.control.paths), "leaking": {}, "undecided": [],
    }  # fmt: skip
    try:
        with tempfile.TemporaryDirectory(prefix="slm-gate-") as folder:
            check = run_control(
                job.control,
                job.artifact,
                Path(folder, "run"),
                cache=default_cache() / "tests",
                method=job.method,
                is_traced=job.part != "smallest",
            )
    except GateError as error:
        row["error"] = str(error)
    else:
        row["leaking"] = {one.path: one.estimate.value for one in check.leaking}
        row["undecided"] = [path for path, one in check.results.items() if not one.is_conclusive]
        row["is_found"] = job.control.paths <= set(row["leaking"])
        row["lost"] = check.lost_objects
        row["is_level"] = check.is_level
    return {**row, "seconds": time.perf_counter() - started_s}


def tables(rows: Sequence[Mapping[str, Any]]) -> str:
    """All rows as two Markdown tables: what must be caught, and what must not alarm."""
    leaks = [_leak_row(name, group) for name, group in grouped(rows, is_leak=True)]
    healthy = [_healthy_row(name, group) for name, group in grouped(rows, is_leak=False)]
    of_gate = [row for row in rows if row["part"] == "healthy"]
    if of_gate:
        healthy.append(_healthy_row("**all healthy checks of the gate**", of_gate))
    head = ["seconds a check, median"]
    parts = [
        _markdown(healthy, ["healthy process", "alarms", RATE, "undecided", "path by path", *head]),
        _markdown(leaks, ["leak", "caught", RATE, "read as, median", *head]),
    ]
    return "\n\n".join(part for part in parts if part)


def grouped(rows: Sequence[Mapping[str, Any]], *, is_leak: bool) -> Iterator[tuple[str, list[Mapping[str, Any]]]]:
    """Rows of the same name together, in the order in which the names came."""
    for name in dict.fromkeys(row["name"] for row in rows if row["is_leak"] == is_leak):
        yield name, [row for row in rows if row["name"] == name]


def _leak_row(name: str, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    caught = [row for row in rows if row.get("is_found")]
    readings: dict[str, list[float]] = {}
    for row in caught:
        for path, value in row["leaking"].items():
            readings.setdefault(path, []).append(value)
    read = ", ".join(f"{statistics.median(values):,.0f} B/{path}" for path, values in readings.items())
    return [name, f"{len(caught)} of {len(rows)}", _interval(len(caught), len(rows)), read or "-", _seconds(rows)]


def _healthy_row(name: str, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    alarms = sum(bool(row["leaking"]) or "error" in row for row in rows)
    undecided = sum(bool(row["undecided"]) for row in rows)
    alone = sum(not row.get("is_level", True) for row in rows)
    counts = [f"{alarms} of {len(rows)}", _interval(alarms, len(rows)), str(undecided), str(alone)]
    return [name, *counts, _seconds(rows)]


def _interval(count: int, n: int) -> str:
    found = proportion_of(count, n)
    return f"{100 * (found.low or 0):.1f} to {100 * (found.high or 0):.1f} %"


def _seconds(rows: Iterable[Mapping[str, Any]]) -> str:
    return format_seconds(statistics.median(row["seconds"] for row in rows))


def _markdown(rows: Sequence[Sequence[str]], headers: Sequence[str]) -> str:
    return tabulate(rows, headers=headers, tablefmt="github", disable_numparse=True) if rows else ""


if __name__ == "__main__":
    main()
