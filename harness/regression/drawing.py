"""Intervals of ratios as a row of text: where they lie between faster and slower."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tabulate import tabulate

from harness.checks.check import Check, Outcome

_WIDTH: Final = 41
"""Columns of the drawing; odd, so that a ratio of 1 has one of its own."""

_LEAST_REACH: Final = 0.03
"""Half of the ratios that the drawing shows at least."""

_WORDS: Final = {
    Outcome.PASS: "same or faster",
    Outcome.FAIL: "SLOWER",
    Outcome.INCONCLUSIVE: "undecided",
    Outcome.NO_DATA: "no data",
}


def ratio_table(checks: Sequence[Check]) -> str:
    """A row for each check: value, interval, drawing, outcome."""
    reach = _reach(checks)
    rows = [
        [
            check.metric,
            _percent(check.estimate.value),
            f"{_percent(check.estimate.low)} to {_percent(check.estimate.high)}",
            draw(check, reach),
            _WORDS[check.outcome],
        ]
        for check in checks
    ]
    scale = f"{_percent(1 - reach):<{_WIDTH // 2 - 1}}same{_percent(1 + reach):>{_WIDTH // 2 - 2}}"
    heads = ["", "slower by", "interval", scale, ""]
    return tabulate(rows, headers=heads, tablefmt="simple", disable_numparse=True)


def draw(check: Check, reach: float) -> str:
    """`   ├──●──┤  |` with the limit as `|` and 1 as `·`; an end beyond the drawing is an arrow."""
    cells = [" "] * _WIDTH
    cells[_column(1.0, reach)] = "·"
    cells[_column(check.limit.edge, reach)] = "|"
    value, low, high = check.estimate.value, check.estimate.low, check.estimate.high
    if value is None:
        return "".join(cells)
    left = 0 if low is None else _column(low, reach)
    right = _WIDTH - 1 if high is None else _column(high, reach)
    for column in range(left, right + 1):
        cells[column] = "|" if cells[column] == "|" else "─"
    cells[left] = "├" if low is not None and low >= 1 - reach else "◄"
    cells[right] = "┤" if high is not None and high <= 1 + reach else "►"
    cells[_column(value, reach)] = "●"
    return "".join(cells)


def _reach(checks: Sequence[Check]) -> float:
    """Half of the shown ratios: all values and limits lie well inside."""
    values = [check.estimate.value for check in checks if check.estimate.value is not None]
    edges = [check.limit.edge for check in checks]
    return min(0.9, max([_LEAST_REACH, *(1.5 * abs(one - 1) for one in (*values, *edges))]))


def _column(ratio: float, reach: float) -> int:
    share = (ratio - (1 - reach)) / (2 * reach)
    return min(_WIDTH - 1, max(0, round(share * (_WIDTH - 1))))


def _percent(ratio: float | None) -> str:
    return "?" if ratio is None else f"{100 * (ratio - 1):+.1f} %"
