"""(f) Sequential stopping by simulation: how often it is wrong, and how many cases it takes, by true loss."""

from __future__ import annotations

import numpy as np

from benchmarks.scale_parts.common import Table, demo_pack, say
from harness.pack.schema import OUT_OF_SCOPE
from harness.stats.sequential import Decision, MeanTest

LIMIT_POINTS = 3.0
RUNS = 1000
LOSSES = (0.0, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0)
"""True losses of exact answers, in percentage points."""

WON = 0.005
"""Share of cases that a variant wins by chance where it also loses some."""


def measure() -> Table:
    """Each true loss a thousand times, with as many cases as the demo has in scope."""
    cases = sum(case.kind != OUT_OF_SCOPE for case in demo_pack().cases)
    table = Table(head=("true loss", "passes", "fails", "all cases used, undecided", "median cases", "90 % of runs"))
    for loss in LOSSES:
        say(f"simulating a loss of {loss} points")
        table.rows.append(_row(loss, cases))
    table.notes.append(
        f"{RUNS} runs each, up to {cases} cases; the limit is {LIMIT_POINTS} points, the error 5 % on each side. "
        f"A variant that loses some also wins {100 * WON:.1f} % of the cases, but for the one that loses none."
    )
    return table


def _row(loss_points: float, cases: int) -> tuple[object, ...]:
    won = WON if loss_points else 0.0
    lost = loss_points / 100 + won
    rng = np.random.default_rng(round(loss_points * 10))
    decisions, counts = [], []
    for _ in range(RUNS):
        draws = rng.random(cases)
        values = np.where(draws < lost, 1.0, np.where(draws < lost + won, -1.0, 0.0))
        decision, count = _decided(values)
        decisions.append(decision)
        counts.append(count)
    shares = [decisions.count(which) / RUNS for which in (Decision.BELOW, Decision.ABOVE, Decision.UNDECIDED)]
    ends = np.quantile(counts, [0.5, 0.9], method="inverted_cdf")
    return (f"{loss_points:g} pt", *(f"{100 * share:.1f} %" for share in shares), int(ends[0]), f"≤ {int(ends[1])}")


def _decided(values: np.ndarray) -> tuple[Decision, int]:
    test = MeanTest(limit=LIMIT_POINTS / 100, low=-1.0, high=1.0)
    for value in values:
        if test.see(float(value)) is not Decision.UNDECIDED:
            break
    return test.decision, test.count
