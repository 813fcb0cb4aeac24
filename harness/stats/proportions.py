"""Shares of successes, of independent trials and of trials that come in clusters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

from harness.stats.clusters import Clusters, Worth, worth
from harness.stats.estimate import CONFIDENCE, Estimate


def proportion(
    outcomes: Sequence[bool] | Sequence[float], clusters: Clusters | None = None, *, confidence: float = CONFIDENCE
) -> Estimate:
    """The share of true outcomes, or the mean of shares, 0 to 1; missing without a trial, never 0.

    The interval is Wilson's with as many trials as the clusters are worth (C. Franco, R. J. A. Little, T. A. Louis and
    E. V. Slud, Journal of Survey Statistics and Methodology 7, 2019). For shares between 0 and 1 it is wide rather than
    narrow: their variance is at most that of outcomes with the same mean.

    Args:
        outcomes: true or false, or shares of 0 to 1.
        clusters: what each outcome has in common with others; None for independent ones.
        confidence: of the interval, 0 to 1.

    Raises:
        ValueError: outcomes and clusters have not the same length.
    """
    if not len(outcomes):
        return Estimate.missing("no trials")
    values = [float(one) for one in outcomes]
    found = worth(values, clusters, confidence=confidence)
    return _wilson(math.fsum(values) / len(values), found, confidence)


def proportion_of(successes: int, trials: int, *, confidence: float = CONFIDENCE) -> Estimate:
    """`successes` of `trials` independent ones, with the Wilson score interval (E. B. Wilson, JASA 22, 1927)."""
    if trials == 0:
        return Estimate.missing("no trials")
    return _wilson(successes / trials, Worth(count=trials, clusters=trials, is_clustered=False), confidence)


def _wilson(share: float, of: Worth, confidence: float) -> Estimate:
    low, high = wilson_ends(share, of.count, confidence)
    return Estimate(
        value=share, low=low, high=high, confidence=confidence, n=of.clusters, method=with_clusters("Wilson score", of)
    )


def wilson_ends(share: float, trials: float, confidence: float) -> tuple[float, float]:
    """Both ends of Wilson's interval around a share of any number of trials above 0, whole or not."""
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    middle = share + z**2 / (2 * trials)
    half = z * math.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2))
    scale = 1 + z**2 / trials
    low, high = (middle - half) / scale, (middle + half) / scale
    return max(0.0, min(low, share)), min(1.0, max(high, share))  # rounding puts the end of 0 of n at 1e-19


def with_clusters(method: str, of: Worth) -> str:
    """The method, with the number of clusters and what they are worth where there are any."""
    return f"{method} over {of.clusters} clusters, worth {of.count:.1f} answers" if of.is_clustered else method
