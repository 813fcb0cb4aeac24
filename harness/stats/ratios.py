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


def paired_log_ratio(baseline: npt.NDArray[np.float64], candidate: npt.NDArray[np.float64]) -> float:
    """The pseudo-median of log(candidate / baseline) over pairs of times: the median of the means of any two of them.

    A stall hits one pair and moves the result by a few ranks, a mean over pairs by its length; a plain median wastes a
    third of the data (J. L. Hodges and E. L. Lehmann, Annals of Mathematical Statistics 34, 1963).

    Args:
        baseline: times, shape [pairs], above zero.
        candidate: likewise, each taken beside its fellow.

    Raises:
        ValueError: there is no pair.
    """
    if not len(baseline):
        raise ValueError("no pair was timed")
    ratios = np.log(candidate) - np.log(baseline)
    first, second = np.triu_indices(len(ratios))
    return float(np.median((ratios[first] + ratios[second]) / 2))


def step_log_ratio(baseline: npt.NDArray[np.float64], candidate: npt.NDArray[np.float64]) -> float:
    """Median over blocks and steps of log(candidate / baseline), each side by the fastest of its repeats.

    In a block both sides repeat the same work, step by step. What else the machine does only adds to a step's time, so
    that the fastest repeat is the nearest to what the step itself takes (J. Chen and J. Revels, "Robust benchmarking in
    noisy environments", 2016). A pause that comes now and then is not seen so: it is in the time of the whole.

    Args:
        baseline: times, shape [blocks, repeats, steps], above zero.
        candidate: likewise.

    Raises:
        ValueError: there is no step.
    """
    if not baseline.size:
        raise ValueError("no step was timed")
    return float(np.median(np.log(candidate.min(axis=1)) - np.log(baseline.min(axis=1))))


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
