"""The same cases before and after: what was lost, with an interval that knows they are the same."""

from __future__ import annotations

import math
from collections.abc import Sequence

from harness.stats.clusters import Clusters, worth
from harness.stats.estimate import CONFIDENCE, Estimate
from harness.stats.proportions import wilson_ends, with_clusters


def paired_loss(
    before: Sequence[bool],
    after: Sequence[bool],
    clusters: Clusters | None = None,
    *,
    confidence: float = CONFIDENCE,
) -> Estimate:
    """Share of successes before less the share after, on the same cases, -1 to 1; positive is a loss.

    The interval is Newcombe's for paired proportions (R. G. Newcombe, Statistics in Medicine 17, 1998, method 10):
    the Wilson limits of both shares, combined with the correlation that the table of pairs shows. Of pairs that come in
    clusters the table counts as many as their differences are worth.

    Args:
        before: successes, one a case.
        after: the same cases.
        clusters: what each case has in common with others; None for independent ones.
        confidence: of the interval, 0 to 1.

    Raises:
        ValueError: they have not the same length.
    """
    pairs = list(zip(before, after, strict=True))
    if not pairs:
        return Estimate.missing("no pairs")
    both, lost, won = pairs.count((True, True)), pairs.count((True, False)), pairs.count((False, True))
    neither, n = pairs.count((False, False)), len(pairs)
    of = worth([float(one) - float(other) for one, other in pairs], clusters, confidence=confidence)
    first = _reaches((both + lost) / n, of.count, confidence)
    second = _reaches((both + won) / n, of.count, confidence)
    phi = _correlation(*(count * of.count / n for count in (both, lost, won, neither)))
    difference = (lost - won) / n
    below = _combined(first[0], second[1], phi)
    above = _combined(first[1], second[0], phi)
    return Estimate(
        value=difference,
        low=max(-1.0, difference - below),
        high=min(1.0, difference + above),
        confidence=confidence,
        n=of.clusters,
        method=with_clusters("Newcombe, paired", of),
    )


def mcnemar(lost: int, won: int) -> float:
    """Exact two-sided p-value of McNemar's test (Q. McNemar, Psychometrika 12, 1947): 1 without a changed case."""
    if lost + won == 0:
        return 1.0
    from scipy.stats import binomtest

    return float(binomtest(lost, lost + won).pvalue)


def _reaches(share: float, trials: float, confidence: float) -> tuple[float, float]:
    """How far both ends of the interval lie from a share."""
    low, high = wilson_ends(share, trials, confidence)
    return share - low, high - share


def _combined(one: float, other: float, phi: float) -> float:
    return math.sqrt(max(0.0, one**2 - 2 * phi * one * other + other**2))


def _correlation(both: float, lost: float, won: float, neither: float) -> float:
    """Phi of the table of pairs, with Newcombe's continuity correction where it is positive; 0 if a margin is empty."""
    margins = (both + lost) * (won + neither) * (both + won) * (lost + neither)
    if margins == 0:
        return 0.0
    product = both * neither - lost * won
    if product > 0:
        product = max(product - (both + lost + won + neither) / 2, 0.0)
    return product / math.sqrt(margins)
