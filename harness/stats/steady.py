"""Whether a series of times keeps its level."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

SHIFT: Final = 0.05
"""Ratio by which the level must move, beside being unlikely by chance, before a series counts as not steady."""

SIGNIFICANCE: Final = 0.001
"""Chance of a shift where there is none, if the values were independent; those of one machine are not quite."""

_LEAST: Final = 8
"""Below so many values no split of them is unlikely enough to mean anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Steadiness:
    """What a series says about its own level."""

    is_steady: bool
    """Whether no shift of its level was found; of fewer than eight values, whether they are enough to tell."""

    shift_at: int | None = None
    """Index of the first value of the new level."""

    ratio: float | None = None
    """Median after the shift / median before it."""

    @property
    def sentence(self) -> str:
        """What a user is told; empty where all is well."""
        if self.is_steady:
            return ""
        if self.shift_at is None or self.ratio is None:
            return "too few requests to tell whether the times are steady"
        return f"not steady: from request {self.shift_at + 1} on times are {self.ratio:.2f} times those before"


def steadiness(values: Sequence[float]) -> Steadiness:
    """Whether the level of a series moves, as a ramp or a step.

    Pettitt's test for a change point at an unknown time (A. N. Pettitt, Applied Statistics 28, 1979), which knows no
    distribution: it holds the ranks before each split against those after it. A shift must also be of `SHIFT` in the
    medians, as neighbouring requests resemble each other and small waves are no news.
    """
    series = np.asarray(values, dtype=np.float64)
    if len(series) < _LEAST:
        return Steadiness(is_steady=False)
    split, chance = pettitt(series)
    before, after = float(np.median(series[:split])), float(np.median(series[split:]))
    ratio = after / before if before > 0 else math.inf
    if chance > SIGNIFICANCE or max(ratio, 1 / ratio if ratio else math.inf) <= 1 + SHIFT:
        return Steadiness(is_steady=True)
    return Steadiness(is_steady=False, shift_at=split, ratio=ratio)


def pettitt(series: npt.NDArray[np.float64]) -> tuple[int, float]:
    """The most likely change point, as the index of the first value behind it, and the chance of such a split.

    Args:
        series: shape [values], at least two.
    """
    n = len(series)
    signs = np.sign(series[:, None] - series[None, :])
    # U(t) = sum of sign(x_j - x_i) over i <= t < j
    splits = np.array([signs[t:, :t].sum() for t in range(1, n)])
    at = int(np.abs(splits).argmax())
    largest = float(abs(splits[at]))
    return at + 1, min(1.0, 2 * math.exp(-6 * largest**2 / (n**3 + n**2)))
