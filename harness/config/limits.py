"""Limits: the bound on a metric, which end of an estimate is held against it, and what makes a bound meaningless."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from harness.config.diagnosis import Settings
from harness.metrics.catalogue import Better, Metric
from harness.metrics.units import Unit


class Limit(Settings):
    """A bound on one metric, with the reason why it stands where it stands."""

    min: float | None = None
    """The smallest value that passes."""

    max: float | None = None
    """The largest value that passes."""

    judge: Literal["value", "bound"] = "value"
    """What is held against it: the measured value, or the worse end of its interval, so that chance cannot pass it."""

    reason: Annotated[str, Field(min_length=8)]
    """Why this number; shown when the limit is broken."""

    @model_validator(mode="after")
    def _has_one_bound(self) -> Limit:
        if (self.min is None) == (self.max is None):
            raise ValueError("give exactly one of min and max")
        return self

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


def limit_problem(metric: Metric, limit: Limit) -> str | None:
    """Why a limit on this metric would not say what was meant, with what probably was; None for a sound one."""
    if metric.is_criterion:
        return "a yes/no criterion has its limit built in: leave this table out"
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
