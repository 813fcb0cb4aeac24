"""One judgement about one estimate."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from harness.config.limits import Limit, name_of
from harness.metrics.catalogue import Metric, metric_named
from harness.metrics.units import format_apart
from harness.stats.estimate import Estimate

_HOPELESS = 1000
"""More times as many observations than anybody will make."""


class Outcome(StrEnum):
    """What a check found."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    """The interval reaches across the limit: more observations would decide."""

    NO_DATA = "no data"
    """Nothing was measured, or not a number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A metric of a variant, its estimate, its limit, and what follows.

    Raises:
        UnknownMetricError: the catalogue has no such metric.
    """

    variant: str
    metric: str
    estimate: Estimate
    limit: Limit
    details: str = ""
    """What stands behind the estimate: counts, the worst examples, the first difference."""

    kind: str | None = None
    """The kind of cases that it is about; None for all of them."""

    more: str = ""
    """How many observations there could be, and how to get them; empty where the measurement does not know."""

    def __post_init__(self) -> None:
        metric_named(self.metric)

    @property
    def name(self) -> str:
        """The metric, with the kind in brackets where it is about one: `exact_match_rate[refund]`."""
        return name_of(self.metric, self.kind)

    @property
    def outcome(self) -> Outcome:
        """Missing data never passes, nor does NaN."""
        value = self.estimate.value
        if value is None or math.isnan(value):
            return Outcome.NO_DATA
        if self.limit.judge == "value" or not self.estimate.has_interval:
            return Outcome.PASS if self.limit.admits(value) else Outcome.FAIL
        worst, best = self._ends
        if self.limit.admits(worst):
            return Outcome.PASS
        return Outcome.INCONCLUSIVE if self.limit.admits(best) else Outcome.FAIL

    @property
    def _ends(self) -> tuple[float, float]:
        """The interval's worse and better end, as the limit sees them; a missing end is unbounded."""
        low = -math.inf if self.estimate.low is None else self.estimate.low
        high = math.inf if self.estimate.high is None else self.estimate.high
        return (low, high) if self.limit.min is not None else (high, low)

    @property
    def is_across(self) -> bool:
        """Whether it did not pass, and its interval reaches across the limit; the value may be what is judged.

        An end that is not known says nothing against a value that failed.
        """
        if self.outcome is not Outcome.FAIL:
            return self.outcome is Outcome.INCONCLUSIVE
        _, best = self._ends
        return self.estimate.has_interval and math.isfinite(best) and self.limit.admits(best)

    @property
    def what_would_decide(self) -> str:
        """What a check lacks whose interval reaches across the limit that it missed; empty for any other."""
        if not self.is_across:
            return ""
        value, n = self.estimate.value, self.estimate.n
        assert value is not None
        worst, best = self._ends
        reach = abs((worst if self.limit.admits(value) else best) - value)
        gap = abs(value - self.limit.edge)
        if not n or math.isinf(reach):
            return "more observations: there are too few for an interval"
        # An interval shrinks with the square root of the number of observations.
        factor = math.inf if gap == 0 else (reach / gap) ** 2
        if factor > _HOPELESS:
            return "no number of observations that anybody makes: the value lies on the limit"
        return f"about {math.ceil(n * factor):,} observations instead of {n:,}, if the value stays"

    @property
    def explanation(self) -> str:
        """A message that names variant, metric, value, limit, reason and what stands behind the number."""
        metric = metric_named(self.metric)
        lines = [self.headline, f"  what:   {metric.meaning}", f"  reason: {self.limit.reason}"]
        if self.what_would_decide:
            lines.append(f"  decide: {'; '.join(filter(None, [self.what_would_decide, self.more]))}")
        return "\n".join([*lines, *(f"  {line}" for line in self.details.splitlines())])

    @property
    def cause(self) -> str:
        """Why there is no data, as the estimate says it."""
        return "not a number" if self.estimate.value is not None else self.estimate.method

    @property
    def headline(self) -> str:
        """One line: variant, metric, value with its interval, limit, and what is wrong with it."""
        metric, sign = metric_named(self.metric), "at least" if self.limit.min is not None else "at most"
        if self.outcome is Outcome.NO_DATA:
            return no_data_line(self.variant, [self.name], self.cause)
        if metric.is_criterion:
            return f"{self.variant}: {self.metric}: {'met' if self.outcome is Outcome.PASS else 'NOT met'}"
        value, edge = format_apart(metric.unit, self.estimate.value, self.limit.edge)
        head = f"{self.variant}: {self.name} = {value}{format_interval(metric, self.estimate)}, must be {sign} {edge}"
        if self.outcome is Outcome.INCONCLUSIVE:
            head += ": inconclusive, the interval reaches across the limit (bound judged)"
        elif self.is_across:
            head += ": failed by its value, and the interval reaches across the limit (value judged)"
        elif self.limit.judge == "bound":
            head += " (bound judged)"
        return head

    def properties(self) -> dict[str, object]:
        """What the check is made of, flat, for JUnit XML: `int4.ttft_p95_s.value` and its like."""
        metric, estimate = metric_named(self.metric), self.estimate
        parts = {
            "value": estimate.value,
            "low": estimate.low,
            "high": estimate.high,
            "unit": metric.unit.value,
            "better": metric.better.value,
            "limit": self.limit.edge,
            "outcome": self.outcome.value,
        }
        return {f"{self.variant}.{self.name}.{part}": value for part, value in parts.items() if value is not None}


def no_data_line(variant: str, names: Sequence[str], cause: str) -> str:
    """`int4: ttft_p95_s, itl_p95_s: no data is not a pass (CAUSE)`: what one cause left without data."""
    return f"{variant}: {', '.join(names)}: no data is not a pass ({cause})"


def explained(checks: Iterable[Check]) -> str:
    """What did not pass and why, of each check; those of a variant that one cause left without data together."""
    told: dict[object, list[Check]] = {}
    for check in checks:
        key = (check.variant, check.cause) if check.outcome is Outcome.NO_DATA else id(check)
        told.setdefault(key, []).append(check)
    return "\n".join(own[0].explanation if len(own) == 1 else _without_data(own) for own in told.values())


def _without_data(checks: Sequence[Check]) -> str:
    names = list(dict.fromkeys(check.name for check in checks))
    reasons = [f"  reason: {check.limit.reason} ({check.name})" for check in checks]
    details = dict.fromkeys(f"  {line}" for check in checks for line in check.details.splitlines())
    return "\n".join([no_data_line(checks[0].variant, names, checks[0].cause), *reasons, *details])


def format_interval(metric: Metric, estimate: Estimate) -> str:
    """` (95 % interval 94.1 % to 98.2 %)`, or the one end that is known; nothing for an exact number."""
    if not estimate.has_interval or estimate.confidence is None:
        return ""
    confidence = f"{100 * estimate.confidence:g} %"
    if estimate.low is None:
        return f" (with {confidence} at most {metric.format(estimate.high)})"
    if estimate.high is None:
        return f" (with {confidence} at least {metric.format(estimate.low)})"
    return f" ({confidence} interval {metric.format(estimate.low)} to {metric.format(estimate.high)})"
