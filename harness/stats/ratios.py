"""Ratios of times that were taken in turn: what drifts meets both sides alike and cancels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from harness.stats.estimate import CONFIDENCE, Estimate
from harness.stats.means import mean


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
    """The ratio that independent log ratios have on average, with Student's t interval on the logarithm.

    >>> mean_ratio([0.0, 0.0, 0.0]).value
    1.0
    """
    found = mean(log_ratios, confidence=confidence).map(math.exp)
    return replace(found, method=f"{found.method} of log ratios") if found.n else found
