"""The same cases before and after: what was lost, with an interval that knows they are the same."""

from __future__ import annotations

import math
from collections.abc import Sequence

from harness.stats.estimate import CONFIDENCE, Estimate
from harness.stats.proportions import proportion_of


def paired_loss(before: Sequence[bool], after: Sequence[bool], *, confidence: float = CONFIDENCE) -> Estimate:
    """Share of successes before less the share after, on the same cases, -1 to 1; positive is a loss.

    The interval is Newcombe's for paired proportions (R. G. Newcombe, Statistics in Medicine 17, 1998, method 10):
    the Wilson limits of both shares, combined with the correlation that the table of pairs shows.

    Raises:
        ValueError: the two have not the same length.
    """
    pairs = list(zip(before, after, strict=True))
    if not pairs:
        return Estimate.missing("no pairs")
    both, lost, won = pairs.count((True, True)), pairs.count((True, False)), pairs.count((False, True))
    neither, n = pairs.count((False, False)), len(pairs)
    first = proportion_of(both + lost, n, confidence=confidence)
    second = proportion_of(both + won, n, confidence=confidence)
    phi = _correlation(both, lost, won, neither)
    difference = (lost - won) / n
    below = _combined(_reach(first, "low"), _reach(second, "high"), phi)
    above = _combined(_reach(first, "high"), _reach(second, "low"), phi)
    return Estimate(
        value=difference,
        low=max(-1.0, difference - below),
        high=min(1.0, difference + above),
        confidence=confidence,
        n=n,
        method="Newcombe, paired",
    )


def _reach(share: Estimate, end: str) -> float:
    """How far an end of the interval lies from the value."""
    assert share.value is not None
    edge = share.low if end == "low" else share.high
    assert edge is not None
    return abs(share.value - edge)


def _combined(one: float, other: float, phi: float) -> float:
    return math.sqrt(max(0.0, one**2 - 2 * phi * one * other + other**2))


def _correlation(both: int, lost: int, won: int, neither: int) -> float:
    """Phi of the table of pairs, with Newcombe's continuity correction where it is positive; 0 if a margin is empty."""
    margins = (both + lost) * (won + neither) * (both + won) * (lost + neither)
    if margins == 0:
        return 0.0
    product = float(both * neither - lost * won)
    if product > 0:
        product = max(product - (both + lost + won + neither) / 2, 0.0)
    return product / math.sqrt(margins)
