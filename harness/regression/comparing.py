"""Observes two sides until it is clear whether one is slower, or until the time is used up."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Protocol

from harness.checks.check import Check
from harness.config.limits import Limit
from harness.config.regression_limits import TOLERANCE
from harness.errors import MeasureError
from harness.metrics.measurement import Measurement
from harness.regression.arm import Observation
from harness.stats.estimate import Estimate
from harness.stats.looks import Looks
from harness.stats.ratio_test import RatioTest
from harness.stats.sequential import Decision
from harness.system.progress import SILENT, Progress

USUAL_S: Final = 30.0
"""Time for measuring where nothing else is said, a confirmation included; more where observations are dear."""

_ROOMY, _LONGEST_S = 16, 600.0
"""So many observations get the time they need, up to so many seconds: what loads slowly would else be undecided."""

ALPHA: Final = 0.01
"""Probability of a false alarm, over all quantities and looks, for a candidate that lies on the limit."""

CONFIRMING: Final = 2
"""Observations by which an alarm must be repeated."""

_PLANNING, _FIRST_LOOK, _EVERY, _FEWEST = 3, 4, 2, 6


class Observer(Protocol):
    """Makes independent observations of two sides."""

    def observe(self) -> Observation:
        """Log ratios, candidate to baseline."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What was found of the candidate's times beside the baseline's."""

    tests: Mapping[str, RatioTest]
    """By quantity."""

    measuring_s: float
    """Wall time, loading included."""

    @property
    def observations(self) -> int:
        """Independent ones: pairs of rounds or of processes."""
        return max(len(test.log_ratios) for test in self.tests.values())

    @property
    def estimates(self) -> dict[str, Estimate]:
        """Ratios by quantity; above 1 the candidate is slower."""
        return {name: test.estimate for name, test in self.tests.items()}

    @property
    def is_worse(self) -> bool:
        """Whether any quantity's alarm was confirmed."""
        return any(test.decision is Decision.ABOVE for test in self.tests.values())

    @property
    def is_clear(self) -> bool:
        """Whether nothing more is to be found: something is worse, or nothing is."""
        decisions = [test.decision for test in self.tests.values()]
        return self.is_worse or all(decision is Decision.BELOW for decision in decisions)

    @property
    def resolution(self) -> dict[str, float | None]:
        """Half the interval's width by quantity: what this machine told apart; None where there is none yet."""
        return {name: estimate.half_width for name, estimate in self.estimates.items()}

    def measurement(self, details: str) -> Measurement:
        """For the record and the checks."""
        return Measurement(estimates=self.estimates, details=dict.fromkeys(self.estimates, details))

    def checks(self, variant: str, limits: Mapping[str, Limit], details: str = "") -> list[Check]:
        """One for each quantity."""
        return [
            Check(variant=variant, metric=name, estimate=estimate, limit=limits[name], details=details)
            for name, estimate in self.estimates.items()
        ]


def compare(
    observer: Observer,
    *,
    tolerance: float = TOLERANCE,
    budget_s: float | None = None,
    usual_s: float = USUAL_S,
    alpha: float = ALPHA,
    progress: Progress = SILENT,
    clock: Callable[[], float] = time.perf_counter,
) -> Comparison:
    """Observe until every quantity is decided, one is confirmed to be worse, or the time is over.

    The first three observations tell how many there will be, and so how the error is spread over the looks.

    Args:
        observer: makes the observations.
        tolerance: share by which a candidate may be slower.
        budget_s: seconds; None for `usual_s`, or what sixteen observations take, ten minutes at most. Six are made
            in any case.
        usual_s: seconds.
        alpha: see `ALPHA`.
        progress: shows what is going on.
        clock: seconds.

    Raises:
        SessionError: a side cannot be loaded or cannot answer.
        MeasureError: a time is not a positive number.
    """
    step, started_s = progress.step("pairs of rounds"), clock()
    begun, ended_s = [], [started_s]
    for _ in range(_PLANNING):
        begun.append(_sound(observer.observe()))
        ended_s.append(clock())
    one_s = max(statistics.median(later - earlier for earlier, later in pairwise(ended_s)), 1e-9)
    if budget_s is None:
        budget_s = max(usual_s, min(_ROOMY * one_s, _LONGEST_S))
    most = max(_FEWEST, math.floor(budget_s / one_s) - CONFIRMING)
    looks = Looks.plan(most, alpha=alpha / len(begun[0]), first=_FIRST_LOOK, every=_EVERY)
    tests = {name: RatioTest(limit=1 + tolerance, looks=looks, confirming=CONFIRMING) for name in begun[0]}
    while True:
        observation = begun.pop(0) if begun else _sound(observer.observe())
        for name, test in tests.items():
            test.see(observation[name])
        found = Comparison(tests=tests, measuring_s=clock() - started_s)
        step(found.observations, max(most, found.observations))
        if found.is_clear or (not begun and _is_over(found, most, budget_s)):
            return found


def _is_over(found: Comparison, most: int, budget_s: float) -> bool:
    if any(test.is_confirming for test in found.tests.values()):
        return False
    is_late = found.measuring_s > budget_s and found.observations >= _FEWEST
    return is_late or found.observations >= most


def _sound(observation: Observation) -> Observation:
    """Raise unless every log ratio is a number."""
    for name, value in observation.items():
        if not math.isfinite(value):
            raise MeasureError(f"{name}: a time was not a positive number", next_step="see whether the clock is sound")
    return observation
