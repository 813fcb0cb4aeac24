"""How often `slm-gate compare` calls the same slower, and how often it finds a planted slowdown of 5 and of 3 %.

    python benchmarks/regression.py                       # every part that is not measured yet; hours
    python benchmarks/regression.py same slow5            # these parts
    python benchmarks/regression.py --comparisons 40      # so many of each part, those that are stored included
    python benchmarks/regression.py --table --write       # only the table, and into docs/regression.md

Run it on a machine with nothing else to do. Parts whose name ends in `-load` put a process beside it that computes all
the time. Each comparison is stored as it comes (build/regression/), so a run can be stopped and continued.

The same pairs are also judged as is usual: all requests of one side, then all of the other, and their means or medians
held against each other by pytest-benchmark's own rules (`--benchmark-compare-fail=mean:5%`, `median:5%`) and by a plain
ratio of medians at the same tolerance as ours. A slowdown is planted by waiting busily: see planted.py.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # the script runs without an installation

from pytest_benchmark.stats import Stats  # noqa: E402
from pytest_benchmark.utils import PercentageRegressionCheck  # noqa: E402
from tabulate import tabulate  # noqa: E402

from benchmarks.pages import write_part  # noqa: E402
from benchmarks.planted import SlowSession, other_load  # noqa: E402
from harness.config.regression_limits import TOLERANCE, ratio_limits  # noqa: E402
from harness.config.settings import ModelSettings  # noqa: E402
from harness.config.variants import parse_variants  # noqa: E402
from harness.errors import GateError  # noqa: E402
from harness.machine.fingerprint import fingerprint  # noqa: E402
from harness.pack.choose import conversations_by_case  # noqa: E402
from harness.pack.split import open_domain  # noqa: E402
from harness.pipeline.conversion import ConversionPipeline, VariantRequest  # noqa: E402
from harness.regression.arm import WARMUP_REQUESTS, Arm, Work, request_steps  # noqa: E402
from harness.regression.comparing import USUAL_S, compare  # noqa: E402
from harness.regression.interleaved import Interleaved  # noqa: E402
from harness.stats.estimate import Estimate  # noqa: E402
from harness.stats.proportions import proportion_of  # noqa: E402
from harness.system.paths import default_cache  # noqa: E402
from harness.system.progress import LineProgress  # noqa: E402
from harness.toolchain.workspace import Workspace  # noqa: E402

PARTS = {
    "same": (0.0, 0),
    "slow5": (0.05, 0),
    "slow3": (0.03, 0),
    "same-load": (0.0, 1),
    "slow5-load": (0.05, 1),
    "slow3-load": (0.03, 1),
}
"""Name -> planted slowdown, processes beside it."""

DEMO = "the demo model in int4"
GOALS = {0.0: ("at most", 0.01), 0.05: ("at least", 0.95), 0.03: ("at least", 0.80)}
"""Planted slowdown -> what the share of comparisons that call the candidate slower must be."""

COMPARISONS = {0.0: 100, 0.05: 60, 0.03: 60}
PLAIN_S = 1.5
"""Time for each side's requests in a row, which the usual rules judge."""

RULES: dict[str, Callable[[Stats, Stats], bool]] = {
    "mean:5%": lambda now, before: bool(PercentageRegressionCheck("mean", 5).fails(now.as_dict(), before.as_dict())),
    "median:5%": lambda now, before: bool(
        PercentageRegressionCheck("median", 5).fails(now.as_dict(), before.as_dict())
    ),
    "ratio of medians": lambda now, before: now.median / before.median > 1 + TOLERANCE,
}
HEADS = ["planted", "beside it", "comparisons", "called slower", "goal", "same or faster", "undecided", "seconds"]


def main() -> None:
    """Measure what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)} (default: all)")
    parser.add_argument("--comparisons", type=int, help="of each part (default: 100 of the same, 60 of the slow)")
    parser.add_argument("--artifact", type=Path, help=f"a converted model (default: {DEMO})")
    parser.add_argument("--of", default=DEMO, help=f"what that is, for the table's head (default: {DEMO})")
    parser.add_argument("--label", default="", help="another part of docs/regression.md: `half` is regression-half")
    parser.add_argument("--store", type=Path, default=ROOT / "build" / "regression", help="where comparisons are kept")
    parser.add_argument("--table", action="store_true", help="measure nothing")
    parser.add_argument("--write", action="store_true", help="write the table into docs/regression.md")
    given = parser.parse_args()
    unknown = set(given.parts) - set(PARTS)
    if unknown:
        parser.error(f"no part is called {', '.join(unknown)}; there are {', '.join(PARTS)}")
    if not given.table:
        artifact = given.artifact or demo_artifact()
        for part in given.parts or PARTS:
            measure(part, given.comparisons or COMPARISONS[PARTS[part][0]], artifact, given.store)
    text = tables(given.store, given.of)
    print(text)
    if given.write:
        write_part("regression.md", "-".join(filter(None, ("regression", given.label))), text)


def demo_artifact() -> Path:
    """The demo in int4, from the cache or converted."""
    workspace = Workspace.open(default_cache(), progress=LineProgress(print))
    pipeline = ConversionPipeline(
        model=ModelSettings(source=str(ROOT / "fixtures/data/demo/model")),
        variants={"int4": VariantRequest.from_settings(parse_variants("int4")["int4"])},
        workspace=workspace,
        has_fidelity=False,
    )
    made = pipeline.artifacts["int4"]
    if isinstance(made, GateError):
        sys.exit(str(made))
    return made.path


def demo_work() -> Work:
    """Questions of the demo's domain, with 64 tokens each."""
    pack = open_domain(ROOT / "fixtures/data/demo/pack")
    return Work(conversations=list(conversations_by_case(pack, 16).values()), new_tokens=64)


def measure(part: str, comparisons: int, artifact: Path, store: Path) -> None:
    """Store what is missing of a part."""
    fraction, burners = PARTS[part]
    file = store / f"{part}.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    done = len(rows_of(file))
    progress = LineProgress(lambda line: print(f"  … {line}", flush=True))
    step = progress.step(f"{part}: comparisons")
    work = demo_work()
    for number in range(done, comparisons):
        with other_load(burners):
            row = one_comparison(artifact, work, fraction, seed=number)
        with file.open("a", encoding="utf-8") as sink:
            sink.write(json.dumps(row) + "\n")
        step(number + 1 - done, comparisons - done)


def one_comparison(artifact: Path, work: Work, fraction: float, *, seed: int) -> dict[str, Any]:
    """The usual way and ours, on the same two sides."""
    baseline = Arm(name="baseline", open=lambda: SlowSession(artifact, fraction=0.0))
    candidate = Arm(name="candidate", open=lambda: SlowSession(artifact, fraction=fraction))
    before, now = (Stats(), Stats())
    for arm, stats in ((baseline, before), (candidate, now)):
        for time_s in in_a_row(arm, work, seed):
            stats.update(time_s)
    started_s = time.perf_counter()
    found = compare(Interleaved(baseline=baseline, candidate=candidate, work=work, seed=seed))
    outcomes = [check.outcome.value for check in found.checks("candidate", ratio_limits())]
    return {
        "verdict": "worse" if "fail" in outcomes else "same" if set(outcomes) == {"pass"} else "undecided",
        "seconds": time.perf_counter() - started_s,
        "observations": found.observations,
        "log_ratios": {name: test.log_ratios for name, test in found.tests.items()},
        "ratios": {name: [one.value, one.low, one.high] for name, one in found.estimates.items()},
        "request_s": before.median,
        "rules": {name: rule(now, before) for name, rule in RULES.items()},
        "machine": fingerprint().digest[:12],
    }


def in_a_row(arm: Arm, work: Work, seed: int) -> list[float]:
    """Times of whole requests of one side, as a benchmark in a run of its own takes them."""
    lot, session = random.Random(seed), arm.open()
    try:
        for _ in range(WARMUP_REQUESTS):
            request_steps(session, lot.choice(work.conversations), work.new_tokens)
        times: list[float] = []
        started_s = time.perf_counter()
        while time.perf_counter() - started_s < PLAIN_S:
            times.append(float(request_steps(session, lot.choice(work.conversations), work.new_tokens).sum()))
        return times
    finally:
        session.close()


def rows_of(file: Path) -> list[dict[str, Any]]:
    """What is stored of a part."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []


def tables(store: Path, model: str) -> str:
    """Ours, and the usual rules on the same pairs, as Markdown."""
    stored = {part: rows for part in PARTS if (rows := rows_of(store / f"{part}.jsonl"))}
    if not stored:
        return "not measured yet"
    ours = [our_row(part, rows) for part, rows in stored.items()]
    usual = [
        [*place(part), len(rows), *(share(sum(row["rules"][rule] for row in rows), len(rows)) for rule in RULES)]
        for part, rows in stored.items()
    ]
    every = [row for rows in stored.values() for row in rows]
    machines = {row["machine"] for row in every}
    quiet_s = [row["request_s"] for part, rows in stored.items() for row in rows if "load" not in part]
    here = fingerprint()
    head = (
        f"{here.processor}, {here.usable_cores or here.logical_cores} cores, {here.system}, onnxruntime-genai "
        f"{here.versions.get('onnxruntime-genai')}; {model}"
        + (f", 64 tokens in {1000 * statistics.median(quiet_s):.0f} ms" if quiet_s else "")
        + f"; usually at most {USUAL_S:.0f} s of measuring, tolerance {100 * TOLERANCE:g} %. 95 % intervals (Wilson)."
        + ("" if machines == {here.digest[:12]} else " Some were measured on another machine.")
    )
    return "\n\n".join([
        head,
        tabulate(ours, headers=HEADS, tablefmt="pipe", disable_numparse=True),
        "Called slower, of the same pairs, by the usual rules (all requests of one side, then all of the other):",
        tabulate(usual, headers=[*HEADS[:3], *RULES], tablefmt="pipe", disable_numparse=True),
    ])  # fmt: skip


def place(part: str) -> list[str]:
    """Planted slowdown and load, in words."""
    fraction, burners = PARTS[part]
    return [f"{100 * fraction:g} %" if fraction else "nothing", "a busy process" if burners else "nothing"]


def our_row(part: str, rows: Sequence[dict[str, Any]]) -> list[Any]:
    """A part's verdicts."""
    verdicts = [row["verdict"] for row in rows]
    counts = {verdict: verdicts.count(verdict) for verdict in ("worse", "same", "undecided")}
    sign, goal = GOALS[PARTS[part][0]]
    reached = counts["worse"] / len(rows) <= goal if sign == "at most" else counts["worse"] / len(rows) >= goal
    seconds = [row["seconds"] for row in rows]
    return [
        *place(part),
        len(rows),
        share(counts["worse"], len(rows)),
        f"{sign} {100 * goal:g} %: {'reached' if reached else 'MISSED'}",
        counts["same"],
        counts["undecided"],
        f"{statistics.median(seconds):.0f}, at most {max(seconds):.0f}",
    ]


def share(count: int, of: int) -> str:
    """`3.0 % (1.0 to 8.5)`."""
    found: Estimate = proportion_of(count, of)
    assert found.value is not None
    assert found.low is not None
    assert found.high is not None
    return f"{100 * found.value:.1f} % ({100 * found.low:.1f} to {100 * found.high:.1f})"


if __name__ == "__main__":
    main()
