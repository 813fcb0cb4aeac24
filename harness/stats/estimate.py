"""A measured number with its uncertainty: what measurements return, records keep and checks judge."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

CONFIDENCE = 0.95
"""Two-sided confidence of every interval, unless a function is told otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A value, the interval that it may lie in, and how both were found.

    Raises:
        ValueError: the interval is upside down or does not hold the value.
    """

    value: float | None
    """In the metric's own unit; None when nothing could be measured."""

    low: float | None = None
    """Lower end of the interval, in the unit of `value`; None for an exact number, or where it is unbounded."""

    high: float | None = None
    """Upper end, likewise."""

    confidence: float | None = None
    """Coverage of the interval, 0 to 1; None for an exact number, which has no interval."""

    n: int | None = None
    """Independent observations behind the value; None where counting them means nothing."""

    method: str = "exact"
    """How value and interval were found: `Wilson score`, `order statistics`, `exact`."""

    def __post_init__(self) -> None:
        ends = [end for end in (self.low, self.value, self.high) if end is not None and not math.isnan(end)]
        if ends != sorted(ends):
            raise ValueError(f"an estimate's interval must hold its value: {self.low}, {self.value}, {self.high}")

    @classmethod
    def exact(cls, value: float | None, *, n: int | None = None) -> Estimate:
        """A count or a fact: there is nothing to be uncertain about."""
        return cls(value=value, n=n)

    @classmethod
    def missing(cls, why: str = "not measured") -> Estimate:
        """Nothing could be measured; `why` stands where the method would."""
        return cls(value=None, n=0, method=why)

    @property
    def is_missing(self) -> bool:
        """Whether there is no number; NaN is none."""
        return self.value is None or math.isnan(self.value)

    @property
    def has_interval(self) -> bool:
        """Whether the value is a sample's and could have come out otherwise."""
        return self.confidence is not None

    @property
    def half_width(self) -> float | None:
        """Half the length of the interval, in the unit of `value`; None where an end is missing."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2

    def map(self, function: Callable[[float], float]) -> Estimate:
        """The estimate of a strictly monotone function of the quantity; a falling one turns the interval round.

        >>> Estimate(value=0.5, low=0.25, high=1.0, confidence=0.95).map(lambda value: 1 / value)
        Estimate(value=2.0, low=1.0, high=4.0, confidence=0.95, n=None, method='exact')
        """
        if self.value is None:
            return self
        value = function(self.value)
        low, high = (None if end is None else function(end) for end in (self.low, self.high))
        is_falling = (low is not None and low > value) or (high is not None and high < value)
        return replace(self, value=value, low=high if is_falling else low, high=low if is_falling else high)
