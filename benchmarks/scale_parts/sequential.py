"""(f) Sequential stopping by simulation: how often it is wrong, and how many cases it takes, by true loss."""

from __future__ import annotations

import math

import numpy as np

from benchmarks.scale_parts.common import Table, demo_pack, say
from harness.pack.schema import OUT_OF_SCOPE
from harness.stats.sequential import Decision, MeanTest

LIMIT_POINTS = 3.0
RUNS = 1000
LOSSES = (0.0, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0)
"""True losses of exact answers, in percentage points."""

WON = 1
"""Cases that a variant wins by chance where it also loses some."""


def measure() -> Table:
    """Each true loss a thousand times, with as many cases as the demo has in scope."""
    cases = sum(case.kind != OUT_OF_SCOPE for case in demo_pack().cases)
    table = Table(head=("true loss", "passes", "fails", "all cases used, undecided", "median cases", "90 % of runs"))
    for loss in LOSSES:
        say(f"simulating a loss of {loss} points")
        table.rows.append(_row(loss, cases))
    table.notes.append(
        f"{RUNS} runs each over a pack of {cases} cases; the limit is {LIMIT_POINTS} points, 5 % error on each side. "
        f"Of the pack so many cases are lost that the loss is reached, and {WON} is won where any is lost."
    )
    return table


def _row(loss_points: float, cases: int) -> tuple[object, ...]:
    won = WON if loss_points else 0
    lost = math.ceil(loss_points / 100 * cases) + won
    pack = np.concatenate([np.ones(lost), -np.ones(won), np.zeros(cases - lost - won)])
    rng = np.random.default_rng(round(loss_points * 10))
    decisions, counts = [], []
    for _ in range(RUNS):
        decision, count = _decided(rng.permutation(pack))
        decisions.append(decision)
        counts.append(count)
    shares = [decisions.count(which) / RUNS for which in (Decision.BELOW, Decision.ABOVE, Decision.UNDECIDED)]
    ends = np.quantile(counts, [0.5, 0.9], method="inverted_cdf")
    return (f"{loss_points:g} pt", *(f"{100 * share:.1f} %" for share in shares), int(ends[0]), f"≤ {int(ends[1])}")


def _decided(values: np.ndarray) -> tuple[Decision, int]:
    test = MeanTest(limit=LIMIT_POINTS / 100, low=-1.0, high=1.0, population=len(values))
    for value in values:
        if test.see(float(value)) is not Decision.UNDECIDED:
            break
    return test.decision, test.count
