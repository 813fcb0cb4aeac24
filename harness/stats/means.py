"""Means, of independent values and of values that come in clusters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from harness.stats.estimate import CONFIDENCE, Estimate


def mean(values: Sequence[float], *, confidence: float = CONFIDENCE) -> Estimate:
    """The mean of independent values with Student's t interval; below two values the interval is unbounded."""
    return clustered_mean(np.asarray(values, dtype=np.float64), np.arange(len(values)), confidence=confidence)


def clustered_mean(
    values: npt.NDArray[np.float64], clusters: npt.NDArray[np.int64], *, confidence: float = CONFIDENCE
) -> Estimate:
    """The mean over all values, its standard error taken over clusters.

    Positions of one text resemble each other, so counting them as independent would make the interval too narrow.
    The variance of the ratio (sum of values) / (count) over clusters is linearised (W. G. Cochran, Sampling
    Techniques, 3rd ed., section 6.3), with Student's t of (clusters - 1) degrees of freedom.

    Args:
        values: shape [values].
        clusters: the cluster of each value, shape [values], whole numbers from 0.
    """
    if not len(values):
        return Estimate.missing("no values")
    value = float(values.mean())
    sizes = np.bincount(clusters)
    kept = sizes > 0
    sizes, sums = sizes[kept], np.bincount(clusters, weights=values)[kept]
    count = len(sizes)
    method = "Student's t" if count == len(values) else f"Student's t over {count} clusters"
    if count < 2:
        return Estimate(value=value, confidence=confidence, n=count, method=method)
    from scipy.stats import t

    residuals = sums - value * sizes
    error = float(np.sqrt((residuals**2).sum() * count / (count - 1)) / len(values))
    half = float(t.ppf((1 + confidence) / 2, count - 1)) * error
    return Estimate(value=value, low=value - half, high=value + half, confidence=confidence, n=count, method=method)
