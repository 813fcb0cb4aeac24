"""Percentiles and their intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from harness.stats.estimate import CONFIDENCE, Estimate

_RESAMPLES = 400
"""Bootstrap resamples: the ends of a 95 % interval are then the 10th value from either side."""


def percentile(values: Sequence[float], percent: float) -> float | None:
    """Linear-interpolation percentile (numpy's default); None of nothing."""
    return float(np.percentile(values, percent)) if len(values) else None


def quantile(values: Sequence[float], percent: float, *, confidence: float = CONFIDENCE) -> Estimate:
    """A percentile of independent values with the interval between two order statistics.

    The ranks are binomial, whatever the values' distribution (G. J. Hahn and W. Q. Meeker, Statistical Intervals,
    1991, section 5.2). An end for which there are too few values is unbounded: 20 values say nothing of how far the
    95th percentile may lie above the largest of them.
    """
    value = percentile(values, percent)
    if value is None:
        return Estimate.missing("no values")
    from scipy.stats import binom

    ordered, n, share = np.sort(np.asarray(values, dtype=np.float64)), len(values), percent / 100
    lower_rank = int(binom.ppf((1 - confidence) / 2, n, share))  # 1-based; 0 is below the smallest value
    upper_rank = int(binom.ppf((1 + confidence) / 2, n, share)) + 1
    low = float(ordered[lower_rank - 1]) if lower_rank >= 1 else None
    high = float(ordered[upper_rank - 1]) if upper_rank <= n else None
    return Estimate(
        value=value,
        low=None if low is None else min(low, value),
        high=None if high is None else max(high, value),
        confidence=confidence,
        n=n,
        method="order statistics",
    )


def clustered_quantile(
    values: npt.NDArray[np.float64],
    clusters: npt.NDArray[np.int64],
    percent: float,
    *,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> Estimate:
    """A percentile of values that come in clusters, with the percentile bootstrap over whole clusters.

    Clusters are drawn with replacement (A. C. Davison and D. V. Hinkley, Bootstrap Methods and their Application,
    1997, section 3.8); the seed is fixed, so that the same values give the same interval.

    Args:
        values: shape [values].
        clusters: the cluster of each value, shape [values].
        percent: 0 to 100.
        confidence: coverage of the interval.
        seed: of the resampling.
    """
    value = percentile(list(values), percent)
    if value is None:
        return Estimate.missing("no values")
    parts = [values[clusters == cluster] for cluster in np.unique(clusters)]
    method = f"bootstrap over {len(parts)} clusters"
    if len(parts) < 2:
        return Estimate(value=value, confidence=confidence, n=len(parts), method=method)
    generator = np.random.default_rng(seed)
    drawn = [
        np.percentile(np.concatenate([parts[i] for i in generator.integers(len(parts), size=len(parts))]), percent)
        for _ in range(_RESAMPLES)
    ]
    low, high = np.percentile(drawn, [50 * (1 - confidence), 50 * (1 + confidence)])
    return Estimate(
        value=value,
        low=min(float(low), value),
        high=max(float(high), value),
        confidence=confidence,
        n=len(parts),
        method=method,
    )
