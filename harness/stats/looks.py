"""How much of the permitted error each look at growing data may use, so that looking often does not add up."""

from __future__ import annotations

from dataclasses import dataclass

_POWER = 1.5
"""Of the spending function: early looks, at few data, get less than their share."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Looks:
    """A plan of looks at a growing number of observations, with the error that each of them may use.

    The spending function is alpha * t**1.5 of the share t of observations (K. Kim and D. L. DeMets, Biometrika 74,
    1987); each look is tested at the increment alone, so the union bound holds whatever the looks have in common.

    Raises:
        ValueError: the counts do not grow, or `alpha` is not between 0 and 1.
    """

    counts: tuple[int, ...]
    """Observations at each look, growing."""

    alpha: float
    """Probability of a wrong alarm over all looks together, on one side."""

    def __post_init__(self) -> None:
        if not self.counts or any(a >= b for a, b in zip(self.counts, self.counts[1:], strict=False)):
            raise ValueError(f"looks must come at growing counts: {self.counts}")
        if not 0 < self.alpha < 1:
            raise ValueError(f"alpha must lie between 0 and 1: {self.alpha}")

    @classmethod
    def plan(cls, most: int, *, alpha: float, first: int = 3, every: int = 1) -> Looks:
        """A look at `first` observations, then at `every` further ones; the last at `most`."""
        counts = [*range(min(first, most), most, every), most]
        return cls(counts=tuple(dict.fromkeys(counts)), alpha=alpha)

    def is_due(self, count: int) -> bool:
        """Whether to look at so many observations."""
        return count in self.counts

    def level(self, count: int) -> float:
        """The one-sided error that the look at `count` observations may use; or the nearest look's."""
        look = min(self.counts, key=lambda planned: abs(planned - count))
        index = self.counts.index(look)
        before = self.counts[index - 1] if index else 0
        return self._spent(look) - self._spent(before)

    def confidence(self, count: int) -> float:
        """Two-sided confidence of the interval that is held against a limit at that look."""
        return 1 - 2 * self.level(count)

    def _spent(self, count: int) -> float:
        return self.alpha * float((count / self.counts[-1]) ** _POWER)
