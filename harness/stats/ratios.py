"""Ratios of times that were taken in turn: what drifts meets both sides alike and cancels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from harness.stats.estimate import CONFIDENCE, Estimate
from harness.stats.means import mean

_TRIMMED = 0.125
"""Share of observations that is left out at either end of a mean."""


def median_log_ratio(baseline: npt.NDArray[np.float64], candidate: npt.NDArray[np.float64]) -> float:
    """Median over blocks of log(candidate / baseline); each side of a block is the geometric mean of its times.

    A stall hits one block and moves the median by one rank; a mean over blocks it would move by its length.

    Args:
        baseline: times, shape [blocks, repeats], above zero.
        candidate: likewise, taken between them.

    Raises:
        ValueError: there is no block.
    """
    if not len(baseline):
        raise ValueError("no block was timed")
    return float(np.median(np.log(candidate).mean(axis=-1) - np.log(baseline).mean(axis=-1)))


def mean_ratio(log_ratios: Sequence[float], *, confidence: float = CONFIDENCE) -> Estimate:
    """The ratio that independent log ratios have on average, with an interval on the logarithm.

    From eight observations on an eighth of them is trimmed at either end, and the interval is Student's t with the
    winsorised variance (K. K. Yuen, Biometrika 61, 1974): one observation that met other work on the machine must not
    hide what all others show. Below eight it is the plain mean with Student's t.

    >>> mean_ratio([0.0, 0.0, 0.0]).value
    1.0
    """
    count = len(log_ratios)
    cut = int(_TRIMMED * count)
    if cut == 0 or not np.all(np.isfinite(log_ratios)):
        found = mean(log_ratios, confidence=confidence).map(math.exp)
        return replace(found, method=f"{found.method} of log ratios") if found.n else found
    from scipy.stats import t

    ordered = np.sort(np.asarray(log_ratios, dtype=np.float64))
    value = float(ordered[cut : count - cut].mean())
    winsorised = np.clip(ordered, ordered[cut], ordered[count - cut - 1])
    error = float(winsorised.std(ddof=1)) / ((1 - 2 * cut / count) * math.sqrt(count))
    half = float(t.ppf((1 + confidence) / 2, count - 2 * cut - 1)) * error
    return Estimate(
        value=math.exp(value),
        low=math.exp(value - half),
        high=math.exp(value + half),
        confidence=confidence,
        n=count,
        method=f"trimmed mean of log ratios ({cut} of {count} at either end), Student's t",
    )
