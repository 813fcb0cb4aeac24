"""Times equal requests until they are known precisely enough, and says whether the machine let it."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Protocol

import numpy as np

from harness.config.benchmark import BenchmarkSettings
from harness.errors import MeasureError
from harness.machine.disturbance import Disturbance, MachineWatch
from harness.measure.latency_point import LatencyPoint, headline_point
from harness.runtime.session import Message, TimedSession, TokenTimeline
from harness.stats.quantiles import quantile
from harness.stats.steady import SHIFT, Steadiness, steadiness
from harness.system.progress import SILENT, Progress, Step

ATTEMPTS: Final = 2
"""How often a disturbed measurement is made."""

_WARMUP_MOST: Final = 12
_WARMUP_SHARE: Final = 0.5
_PAUSE_S: Final = 0.5
_Z: Final = 1.96


class RunRounds(Protocol):
    """Repeats a work: pytest-benchmark's `pedantic`, or `plain_rounds`."""

    def __call__(self, work: Callable[[], object], *, setup: Callable[[], None], rounds: int) -> object:
        """Call `setup` and then `work`, `rounds` times."""
        ...


def plain_rounds(work: Callable[[], object], *, setup: Callable[[], None], rounds: int) -> None:
    """Repeat a work without taking its time."""
    for _ in range(rounds):
        setup()
        work()


@dataclass(slots=True, kw_only=True)
class LatencyProbe:
    """One repeatable request, or a batch of them; every call makes it once and keeps the times.

    Each request generates exactly the point's number of tokens, end-of-sequence ignored: all variants do equal work.
    """

    session: TimedSession
    conversation: Sequence[Message]
    point: LatencyPoint
    timelines: list[TokenTimeline] = field(default_factory=list)

    def __call__(self) -> TokenTimeline:
        """Make the request once.

        Raises:
            MeasureError: its times cannot be.
        """
        point = self.point
        timeline = self.session.timed(
            self.conversation, new_tokens=point.new_tokens, batch=point.batch, depth_tokens=point.depth_tokens
        )
        require_possible(timeline)
        self.timelines.append(timeline)
        return timeline


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedPoint:
    """Everything that was timed at a point."""

    point: LatencyPoint
    warmup: tuple[TokenTimeline, ...]
    """Requests before the measured ones, the first of them included."""

    timelines: tuple[TokenTimeline, ...]
    """The measured requests, in order."""

    steadiness: Steadiness
    """Of their end-to-end times."""

    disturbances: tuple[Disturbance, ...]
    """What the machine did meanwhile; of the last attempt."""

    attempts: int
    """How often it was measured until it was not disturbed, or given up."""


def time_point(
    session: TimedSession,
    conversation: Sequence[Message],
    point: LatencyPoint,
    settings: BenchmarkSettings,
    run_rounds: RunRounds,
    *,
    progress: Progress = SILENT,
    watch: Callable[[], MachineWatch] = MachineWatch,
) -> TimedPoint:
    """Warm up until times have settled, decide how many requests are needed, make them, and look at the machine.

    A disturbed measurement is made once more, without `run_rounds`, which may repeat a work only once.

    Raises:
        MeasureError: a time cannot be.
    """
    probe = LatencyProbe(session=session, conversation=conversation, point=point)
    warmup = _warm_up(probe, settings)
    rounds = rounds_needed(warmup, point, settings)
    repeat: RunRounds = run_rounds
    for attempt in range(1, ATTEMPTS + 1):
        probe.timelines.clear()
        step = progress.step(f"requests of {point}")
        with watch() as watched:
            repeat(probe, setup=partial(_between, watched, step, probe, rounds), rounds=rounds)
            watched.beat()
        if not watched.found or attempt == ATTEMPTS:
            break
        repeat = plain_rounds
        time.sleep(_PAUSE_S)
    timelines = tuple(probe.timelines)
    return TimedPoint(
        point=point,
        warmup=warmup,
        timelines=timelines,
        steadiness=steadiness([line.e2e_s for line in timelines if line.e2e_s is not None]),
        disturbances=watched.found,
        attempts=attempt,
    )


def _between(watched: MachineWatch, step: Step, probe: LatencyProbe, rounds: int) -> None:
    """What is done before each request, off the clock."""
    step(len(probe.timelines), rounds)
    watched.beat()


def _warm_up(probe: LatencyProbe, settings: BenchmarkSettings) -> tuple[TokenTimeline, ...]:
    """Make requests until the last ones are no faster than those before, or half of the time is up."""
    start_s = time.perf_counter()
    while True:
        probe()
        made = len(probe.timelines)
        is_over = time.perf_counter() - start_s > _WARMUP_SHARE * settings.max_s or made >= _WARMUP_MOST
        if made >= settings.warmup_rounds and (is_over or has_settled(_e2e(probe.timelines), settings.warmup_rounds)):
            return tuple(probe.timelines)


def has_settled(times_s: Sequence[float], last: int) -> bool:
    """Whether the fastest of the last times is hardly faster than the fastest before them; of few, it is not known."""
    before, after = times_s[:-last], times_s[-last:]
    return bool(before) and min(after) >= min(before) * (1 - SHIFT)


def rounds_needed(warmup: Sequence[TokenTimeline], point: LatencyPoint, settings: BenchmarkSettings) -> int:
    """Requests until the median is known to the configured precision, within the configured bounds.

    Two stages (C. Stein, Annals of Mathematical Statistics 16, 1945): the warm-up's settled end tells how times
    scatter. A median's standard error is sqrt(pi / 2) that of a mean. Half of them may be slower, so time bounds it by
    the warm-up's median.
    """
    is_headline = point == headline_point(settings)
    least, most = (5, settings.rounds) if is_headline else (3, settings.longer_rounds)
    times_s = np.asarray(_e2e(warmup))
    settled = times_s[len(times_s) // 3 :]
    if len(settled) < 2 or not settled.mean() > 0:
        return least
    scatter = float(settled.std(ddof=1) / settled.mean())
    for_precision = math.ceil((math.sqrt(math.pi / 2) * _Z * scatter / settings.precision) ** 2)
    in_time = int(settings.max_s / float(np.median(settled)))
    enough_for_steadiness = 12
    return max(least, min(max(for_precision, enough_for_steadiness), in_time, most))


def relative_half_width(timed: TimedPoint) -> float | None:
    """Half the width of the interval of the median end-to-end time, by that median; None where it is unbounded."""
    median = quantile(_e2e(timed.timelines), 50)
    if median.value is None or median.half_width is None:
        return None
    return median.half_width / median.value


def require_possible(timeline: TokenTimeline) -> None:
    """Hold the times of an answer against what time does.

    Raises:
        MeasureError: a token came before the request or before its forerunner, or a time is no number.
    """
    times = (timeline.start_s, *timeline.token_s)
    if not all(math.isfinite(moment) for moment in times):
        raise MeasureError("a token's time is not a number", where=_CLOCK)
    if any(later < sooner for sooner, later in itertools.pairwise(times)):
        what = "a token came before the request" if times[1] < times[0] else "a token came before its forerunner"
        raise MeasureError(f"{what}: the time between them is negative", where=_CLOCK)
    if len(times) > 1 and times[-1] == times[0]:
        raise MeasureError("an answer took no time at all", where=_CLOCK)


_CLOCK: Final = "the clock that the session reads"


def _e2e(timelines: Sequence[TokenTimeline]) -> list[float]:
    return [line.e2e_s for line in timelines if line.e2e_s is not None]
