"""Is a ratio beyond its limit: decided as soon as it is clear, and an alarm only after it was repeated."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from harness.stats.estimate import Estimate
from harness.stats.looks import Looks
from harness.stats.ratios import mean_ratio
from harness.stats.sequential import Decision


@dataclass(slots=True, kw_only=True)
class RatioTest:
    """A group-sequential test of a mean log ratio against a limit, with one confirmation of an alarm.

    At each look Student's interval, at the level that the look may use, is held against the limit. The first one that
    lies above it as a whole is an alarm; `confirming` further observations must then lie above the limit on average,
    by themselves, and the interval of all must still do so. An alarm that is not repeated is none.
    """

    limit: float
    """The largest ratio that is no regression: 1.015."""

    looks: Looks
    confirming: int = 2
    """Observations that an alarm has to be repeated by."""

    log_ratios: list[float] = field(default_factory=list, init=False)
    """All observations, in order."""

    alarm_at: int | None = field(default=None, init=False)
    """How many observations there were when the alarm came that is being confirmed, or was; None without one."""

    decision: Decision = field(default=Decision.UNDECIDED, init=False)
    """A decision that was made stays."""

    decided_at: int | None = field(default=None, init=False)
    """How many observations the decision was made on; None without one."""

    def see(self, log_ratio: float) -> Decision:
        """Take one observation into account."""
        self.log_ratios.append(log_ratio)
        count = len(self.log_ratios)
        if self.decision is not Decision.UNDECIDED:
            return self.decision
        if self.alarm_at is not None:
            if count == self.alarm_at + self.confirming:
                self._confirm()
        elif self.looks.is_due(count):
            low, high = self._interval()
            if low > self.limit:
                self.alarm_at = count
            elif high <= self.limit:
                self._decide(Decision.BELOW)
        return self.decision

    @property
    def is_confirming(self) -> bool:
        """Whether an alarm waits for its confirmation."""
        return self.alarm_at is not None and self.decision is Decision.UNDECIDED

    @property
    def estimate(self) -> Estimate:
        """The ratio of the observations that the decision was made on, all as long as there is none.

        The interval reaches down to the limit where an alarm was not repeated.
        """
        judged = self.log_ratios[: self.decided_at]
        confidence = self.looks.confidence(len(judged))
        found = replace(mean_ratio(judged, confidence=confidence), confidence=round(confidence, 4))
        is_alarm = found.low is not None and found.low > self.limit
        if is_alarm and self.decision is not Decision.ABOVE:
            return replace(found, low=self.limit, method=f"{found.method}, alarm not confirmed")
        return found

    def _decide(self, decision: Decision) -> None:
        self.decision, self.decided_at = decision, len(self.log_ratios)

    def _confirm(self) -> None:
        assert self.alarm_at is not None
        again = self.log_ratios[self.alarm_at :]
        low, _ = self._interval()
        if low > self.limit and math.exp(sum(again) / len(again)) > self.limit:
            self._decide(Decision.ABOVE)
        else:
            self.alarm_at = None

    def _interval(self) -> tuple[float, float]:
        found = mean_ratio(self.log_ratios, confidence=self.looks.confidence(len(self.log_ratios)))
        low = -math.inf if found.low is None else found.low
        return low, math.inf if found.high is None else found.high
