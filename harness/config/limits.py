"""Limits: the bound on a metric, which end of an estimate is held against it, and what makes a bound meaningless."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from harness.config.diagnosis import Settings
from harness.metrics.catalogue import Better, Metric
from harness.metrics.units import Unit


class _Bound(Settings):
    """The smallest or the largest value that passes."""

    min: float | None = None
    """The smallest value that passes."""

    max: float | None = None
    """The largest value that passes."""

    @model_validator(mode="after")
    def _has_one_bound(self) -> Self:
        if (self.min is None) == (self.max is None):
            raise ValueError("give exactly one of min and max")
        return self


Judged = Literal["value", "bound"]
"""What is held against a limit: the measured value, or the worse end of its interval, so that chance cannot pass it."""

Reason = Annotated[str, Field(min_length=8)]
"""Why a number stands where it stands; shown when the limit is broken."""


class KindLimit(_Bound):
    """`[limits.METRIC.kinds]`: another bound for the cases of one kind."""

    judge: Judged | None = None
    """As for all cases when left out."""

    reason: Reason | None = None
    """That of the limit for all cases when left out."""


class Limit(_Bound):
    """A bound on one metric, with the reason why it stands where it stands."""

    judge: Judged = "value"
    reason: Reason
    kinds: dict[Annotated[str, Field(min_length=1)], KindLimit] = Field(default_factory=dict)
    """Bounds that the cases of single kinds must keep beside."""

    def of_kind(self, kind: str) -> Limit:
        """The limit for the cases of one kind that has a bound of its own."""
        own = self.kinds[kind]
        return Limit(min=own.min, max=own.max, judge=own.judge or self.judge, reason=own.reason or self.reason)

    @property
    def edge(self) -> float:
        """The number itself."""
        edge = self.min if self.min is not None else self.max
        assert edge is not None
        return edge

    @property
    def is_default(self) -> bool:
        """Whether nobody chose it."""
        return False

    def admits(self, value: float) -> bool:
        """Whether a value keeps it; NaN does not."""
        return value >= self.edge if self.min is not None else value <= self.edge


class DefaultLimit(Limit):
    """A limit that nobody chose: it judges what was measured, and does not ask for it."""

    @property
    def is_default(self) -> bool:
        """It is."""
        return True


def criterion_limit(metric: Metric) -> Limit:
    """The limit of a yes/no criterion: it must be met."""
    return Limit(min=1.0, reason=f"what ships must be so: {metric.meaning}")


def checked_names(limits: Mapping[str, Limit]) -> list[str]:
    """What checks are called by which limits are judged: each metric, and `metric[kind]` for kinds with their own."""
    return [name for metric, limit in limits.items() for name in (metric, *(name_of(metric, k) for k in limit.kinds))]


def name_of(metric: str, kind: str | None) -> str:
    """A metric of the cases of one kind, or of all, as checks are called."""
    return metric if kind is None else f"{metric}[{kind}]"


def limit_problem(metric: Metric, limit: Limit) -> str | None:
    """Why a limit on this metric would not say what was meant, with what probably was; None for a sound one."""
    if metric.is_criterion:
        return "a yes/no criterion has its limit built in: leave this table out"
    if limit.kinds and not metric.is_by_kind:
        return "is not measured by kind: leave `kinds` out"
    good, bad = ("min", "max") if metric.better is Better.HIGHER else ("max", "min")
    if getattr(limit, good) is None:
        return (
            f"{bad} = {limit.edge:g} would pass ever worse numbers, as {metric.better} is better: "
            f"did you mean {good} = {limit.edge:g}?"
        )
    if metric.unit is Unit.SHARE and not 0 <= limit.edge <= 1:
        hint = f": did you mean {good} = {limit.edge / 100:g}?" if 1 < limit.edge <= 100 else ""
        return f"{good} = {limit.edge:g} can never decide, as a share lies between 0 and 1{hint}"
    return None
