"""Tests that may be looked at after every observation, so that a run stops as soon as its limits are decided.

A betting e-process: a bettor who plays against "the mean is at least m" with money that fair odds cannot multiply. When
it has grown twentyfold, the hypothesis is rejected at 5 %, whenever one looks (I. Waudby-Smith and A. Ramdas,
"Estimating means of bounded random variables by betting", JRSS B 86, 2024, sections 4 and 5). The bettor spreads over
a grid of stakes, which needs no tuning and stays valid. Of a known number of values, drawn without replacement, those
that were seen also tell what the mean of the rest must be (ibid., on sampling without replacement): it decides sooner.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from harness.stats.clusters import Clusters, numbered
from harness.stats.estimate import CONFIDENCE, Estimate

_STAKES = np.linspace(0.02, 0.98, 25)
"""Shares of the largest stake that cannot lose everything."""

_GRID = 401
"""Candidate means for a confidence sequence."""


class Decision(StrEnum):
    """What is known of a mean and a limit."""

    BELOW = "below"
    """The mean is below the limit."""

    ABOVE = "above"
    UNDECIDED = "undecided"


@dataclass(slots=True, kw_only=True)
class MeanTest:
    """Whether the mean of bounded values lies below or above a limit; may be asked after every value.

    Raises:
        ValueError: the limit does not lie between the bounds.
    """

    limit: float
    low: float = 0.0
    """The smallest value that can be observed."""

    high: float = 1.0
    """The largest."""

    alpha: float = 1 - CONFIDENCE
    """Probability of a wrong decision, for each of the two sides."""

    population: int | None = None
    """How many values there are in all, of which the mean is meant; those of a cluster are one. None for no end."""

    count: int = field(default=0, init=False)
    """Values seen, those of a cluster as one."""

    _sum: float = field(default=0.0, init=False, repr=False)
    _down: npt.NDArray[np.float64] = field(init=False, repr=False)
    _up: npt.NDArray[np.float64] = field(init=False, repr=False)
    _decision: Decision = field(default=Decision.UNDECIDED, init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.low < self.limit < self.high:
            raise ValueError(f"the limit {self.limit} does not lie between {self.low} and {self.high}")
        self._down, self._up = np.zeros_like(_STAKES), np.zeros_like(_STAKES)

    def see(self, value: float) -> Decision:
        """Take one value into account; a decision that was made stays.

        Raises:
            ValueError: the value is out of bounds.
        """
        if not self.low <= value <= self.high:
            raise ValueError(f"{value} does not lie between {self.low} and {self.high}")
        fair = self._mean_of_the_rest()
        self.count += 1
        self._sum += value
        if self.low < fair < self.high:
            self._down += np.log1p(_STAKES * (fair - value) / (self.high - fair))
            self._up += np.log1p(_STAKES * (value - fair) / (fair - self.low))
        if self._decision is Decision.UNDECIDED:
            self._decision = self._judged()
        return self._decision

    def _mean_of_the_rest(self) -> float:
        """What the values that are still to come must have as their mean for the limit to be the mean of all."""
        if self.population is None:
            return self.limit
        return (self.population * self.limit - self._sum) / max(1, self.population - self.count)

    def _judged(self) -> Decision:
        rest = self._mean_of_the_rest()
        if _wealth(self._down) >= 1 / self.alpha or rest > self.high:
            return Decision.BELOW
        if _wealth(self._up) >= 1 / self.alpha or rest < self.low:
            return Decision.ABOVE
        return Decision.UNDECIDED

    def see_cluster(self, values: Sequence[float], largest: int) -> Decision:
        """Take values into account that may resemble each other: they make one bet together.

        The bettor stakes on the sum of their distances from the limit, over the size of the largest cluster, which has
        the mean 0 under the hypothesis however alike they are.

        Args:
            values: of one cluster; none changes nothing.
            largest: values of the largest cluster there is, known before any of them is seen.

        Raises:
            ValueError: a value is out of bounds, or there are more of them than `largest`.
        """
        if len(values) > largest:
            raise ValueError(f"{len(values)} values in a cluster, and the largest has {largest}")
        outside = next((value for value in values if not self.low <= value <= self.high), None)
        if outside is not None:
            raise ValueError(f"{outside} does not lie between {self.low} and {self.high}")
        if not values:
            return self._decision
        return self.see(self.limit + sum(value - self.limit for value in values) / largest)

    @property
    def decision(self) -> Decision:
        """What is known so far."""
        return self._decision


def _wealth(logs: npt.NDArray[np.float64]) -> float:
    """Mean over the stakes."""
    return float(np.exp(np.minimum(logs, 700.0)).mean())  # more money than a double holds decides as well


def confidence_sequence(
    values: Sequence[float],
    clusters: Clusters | None = None,
    *,
    low: float = 0.0,
    high: float = 1.0,
    confidence: float = CONFIDENCE,
) -> Estimate:
    """The mean of bounded values with an interval that holds at every number of observations at once.

    The interval has every mean against which neither side's bettor has grown 2 / (1 - confidence) times; values of one
    cluster make one bet together, as in `MeanTest.see_cluster`.
    """
    if not values:
        return Estimate.missing("no values")
    seen = np.asarray(values, dtype=np.float64)
    value = float(seen.mean())
    ids = numbered(clusters if clusters is not None else [None] * len(values))
    sizes, sums = np.bincount(ids), np.bincount(ids, weights=seen)
    means = np.linspace(low, high, _GRID)[1:-1]
    alpha = (1 - confidence) / 2
    gaps = [(sizes * mean - sums) / sizes.max() for mean in means]
    kept = [mean for mean, gap in zip(means, gaps, strict=True) if _is_plausible(gap, float(mean), low, high, alpha)]
    method = "betting confidence sequence"
    return Estimate(
        value=value,
        low=min([value, *kept]) if kept else value,
        high=max([value, *kept]) if kept else value,
        confidence=confidence,
        n=len(sizes),
        method=method if len(sizes) == len(values) else f"{method} over {len(sizes)} clusters",
    )


def _is_plausible(gaps: npt.NDArray[np.float64], mean: float, low: float, high: float, alpha: float) -> bool:
    """Whether no bettor has grown rich against a mean, from which the values lie `gaps` below."""
    down = np.log1p(_STAKES * gaps[:, None] / (high - mean)).sum(axis=0)
    up = np.log1p(-_STAKES * gaps[:, None] / (mean - low)).sum(axis=0)
    return max(_wealth(down), _wealth(up)) < 1 / alpha
