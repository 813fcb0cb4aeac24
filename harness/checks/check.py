"""One judgement about one number."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from harness.config.settings import Limit
from harness.metrics.catalogue import METRICS
from harness.metrics.units import format_metric


class Outcome(StrEnum):
    """What a check found."""

    PASS = "pass"
    FAIL = "fail"
    NO_DATA = "no evidence"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """A metric, its value, its limit, and what follows."""

    variant: str
    metric: str
    value: float | None
    """What was measured; None when nothing could be measured."""

    limit: Limit
    evidence: str = ""
    """What stands behind the value: counts, an interval, the worst examples."""

    @property
    def outcome(self) -> Outcome:
        """Absent evidence never passes, nor does NaN."""
        if self.value is None or math.isnan(self.value):
            return Outcome.NO_DATA
        passes = (self.limit.min is None or self.value >= self.limit.min) and (
            self.limit.max is None or self.value <= self.limit.max
        )
        return Outcome.PASS if passes else Outcome.FAIL

    @property
    def explanation(self) -> str:
        """A message that names variant, metric, value, limit, reason and evidence."""
        bound = "at least" if self.limit.min is not None else "at most"
        edge = self.limit.min if self.limit.min is not None else self.limit.max
        head = f"{self.variant}: {self.metric} = {format_metric(self.metric, self.value)}"
        lines = [
            f"{head}, must be {bound} {format_metric(self.metric, edge)}",
            f"  what:   {METRICS[self.metric].meaning}",
            f"  reason: {self.limit.reason}",
        ]
        if self.value is None or math.isnan(self.value):
            lines[0] = f"{head}: no evidence is not a pass"
        return "\n".join([*lines, *(f"  {line}" for line in self.evidence.splitlines())])
