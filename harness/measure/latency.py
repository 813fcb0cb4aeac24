"""Percentiles and rates of token times at every point of the latency grid."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from harness.config.benchmark import BenchmarkSettings
from harness.errors import MeasureError
from harness.machine.bandwidth import MachineLimits
from harness.machine.disturbance import MachineWatch
from harness.machine.readings import weaker_here
from harness.measure.bounds import Footprint, limits_for, physical_shares
from harness.measure.latency_point import LatencyPoint, headline_point
from harness.measure.lengths import cut_to_tokens
from harness.measure.timing import RunRounds, TimedPoint, relative_half_width, time_point
from harness.metrics.measurement import Measured, Measurement, criterion
from harness.pack.schema import DomainPack, Turn
from harness.runtime.session import ScoringSession, TimedSession, TokenTimeline
from harness.stats.estimate import Estimate
from harness.stats.means import mean
from harness.stats.quantiles import clustered_quantile, quantile
from harness.system.progress import SILENT, Progress

LEAVE_ALONE: Final = 'measure on a machine that is left alone, or keep such times with [benchmark] disturbed = "told"'
PERCENTS: Final = (50, 90, 95, 99)


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyRow:
    """A point of the grid as the record keeps it."""

    point: LatencyPoint
    rounds: int
    """Measured requests, or batches of them."""

    warmup: int
    """Requests before them."""

    attempts: int
    first_e2e_s: float | None
    """Of the first request at this point, which is not among the measured ones."""

    precision: float | None
    """Half the width of the interval of the median end-to-end time, by that median."""

    is_valid: bool
    """Whether the machine let it alone, or was allowed not to."""

    remarks: tuple[str, ...]
    """What disturbed, and whether times were steady."""

    estimates: Mapping[str, Estimate]
    """By metric name, also of an invalid measurement."""

    def benchmark_info(self) -> dict[str, Any]:
        """Our names and percentiles, flat, for pytest-benchmark's JSON."""
        ends = {
            f"{name}{end}": value
            for name, one in self.estimates.items()
            for end, value in (("", one.value), ("_low", one.low), ("_high", one.high))
            if value is not None
        }
        facts = {"point": str(self.point), "is_valid": self.is_valid, "attempts": self.attempts, "warmup": self.warmup}
        return {**facts, "rounds": self.rounds, "remarks": list(self.remarks), **ends}


def latency_conversation(session: ScoringSession, pack: DomainPack, prompt_tokens: int) -> list[dict[str, str]]:
    """A conversation whose rendered prompt is as near to `prompt_tokens` as the template and whole words allow.

    Raises:
        MeasureError: the template alone is longer, or the prompt does not fit the context.
    """
    empty = len(session.encode(session.render(pack.conversation(_user("x")))))
    if not empty < prompt_tokens < session.context_length:
        raise MeasureError(
            f"no prompt of {prompt_tokens} tokens: the template takes {empty}, the context {session.context_length}",
            where="gate.toml, [benchmark] prompt_tokens",
            next_step="choose lengths between the two",
        )
    content = cut_to_tokens(pack.padding, prompt_tokens - empty, session.encode)
    return pack.conversation(_user(content))


def _user(content: str) -> list[Turn]:
    return [Turn(role="user", content=content)]


def measure_latency(
    session: TimedSession,
    pack: DomainPack,
    settings: BenchmarkSettings,
    point: LatencyPoint,
    run_rounds: RunRounds,
    *,
    footprint: Footprint | None = None,
    progress: Progress = SILENT,
    watch: Callable[[], MachineWatch] = MachineWatch,
) -> Measured:
    """Latency at one point of the grid.

    At the first point, which limits apply to, the estimates are the measurement; at another one it is the criterion
    that there are any. With a `footprint`, rates are held against what this machine can do.

    Raises:
        MeasureError: the point does not fit the context, a time cannot be, or a rate is above the machine's limit.
    """
    if point.depth_tokens + point.prompt_tokens + point.new_tokens >= session.context_length:
        raise MeasureError(
            f"the point {point} does not fit the context of {session.context_length} tokens",
            where="gate.toml, [benchmark]",
            next_step="choose shorter prompts, answers or depths",
        )
    conversation = latency_conversation(session, pack, point.prompt_tokens)
    timed = time_point(session, conversation, point, settings, run_rounds, progress=progress, watch=watch)
    limits = None if footprint is None else limits_for(footprint)
    row = latency_row(timed, settings, footprint, limits)
    return _measured(row, timed, settings)


def latency_row(
    timed: TimedPoint,
    settings: BenchmarkSettings,
    footprint: Footprint | None = None,
    limits: MachineLimits | None = None,
) -> LatencyRow:
    """What the times at a point say, and whether they may be believed.

    Raises:
        MeasureError: a rate is above the machine's limit.
    """
    point = timed.point
    estimates = summarise_latency(timed.timelines, batch=point.batch)
    if footprint is not None and limits is not None:
        estimates |= physical_shares(point, estimates, footprint, limits)
    remarks = [str(one) for one in timed.disturbances]
    remarks += [timed.steadiness.sentence] if timed.steadiness.sentence else []
    return LatencyRow(
        point=point,
        rounds=len(timed.timelines),
        warmup=len(timed.warmup),
        attempts=timed.attempts,
        first_e2e_s=timed.warmup[0].e2e_s if timed.warmup else None,
        precision=relative_half_width(timed),
        is_valid=not timed.disturbances or settings.disturbed == "told",
        remarks=tuple(remarks),
        estimates=estimates,
    )


def _measured(row: LatencyRow, timed: TimedPoint, settings: BenchmarkSettings) -> Measured:
    point, is_headline = row.point, row.point == headline_point(settings)
    if is_headline:
        measurement = Measurement(estimates=judged(row), details=dict.fromkeys(row.estimates, _details(row)))
    else:
        is_timed = not row.estimates["decode_tokens_per_second"].is_missing
        measurement = criterion("longer_prompts_timed", is_met=is_timed, details=_details(row))
    is_of_lengths = point.is_plain and point.new_tokens == settings.new_tokens[0]
    return Measured(
        measurement=measurement,
        samples={f"latency_{point.prompt_tokens}" if is_of_lengths else point.sample_name: timed.timelines},
        latency={point.prompt_tokens: judged(row)} if is_of_lengths else {},
        details={"latency_grid": {str(point): row}},
    )


def judged(row: LatencyRow) -> dict[str, Estimate]:
    """The estimates that are judged: of an invalid measurement there are none, and the cause stands in their place."""
    if row.is_valid:
        return dict(row.estimates)
    why = Estimate.missing(f"invalid: {'; '.join(row.remarks)}")
    return dict.fromkeys(row.estimates, why)


def _details(row: LatencyRow) -> str:
    known = "unbounded" if row.precision is None else f"{row.precision:.1%}"
    lines = [f"{row.rounds} requests of {row.point} after {row.warmup} of warm-up, median known to {known}"]
    lines += [f"tried {row.attempts} times"] if row.attempts > 1 else []
    lines += row.remarks
    lines += [] if row.is_valid else [LEAVE_ALONE]
    if row.remarks and weaker_here():
        lines.append(weaker_here())
    return "\n".join(lines)


def summarise_latency(timelines: Sequence[TokenTimeline], *, batch: int = 1) -> dict[str, Estimate]:
    """Estimates of requests that all had the same prompt; a metric that no request shows is missing.

    `ttft_*_s`, `tpot_*_s` and `e2e_*_s` are percentiles over requests, `itl_*_s` over all gaps between tokens of all
    requests, `tpot_mean_s` is the mean over requests of (last - first token) / (n - 1). `decode_tokens_per_second` is
    `batch` / `tpot_mean_s`; `prefill_tokens_per_second` is prompt tokens of the batch / median TTFT, so it includes
    tokenisation. Gaps of one request resemble each other: their intervals come from resampling whole requests.
    """
    gaps = [line.itl_s for line in timelines]
    itl = np.asarray([gap for of_request in gaps for gap in of_request], dtype=np.float64)
    request = np.repeat(np.arange(len(gaps)), [len(of_request) for of_request in gaps])
    tpots = [line.tpot_s for line in timelines if line.tpot_s is not None]
    by_request = {
        "ttft": [line.ttft_s for line in timelines if line.ttft_s is not None],
        "tpot": tpots,
        "e2e": [line.e2e_s for line in timelines if line.e2e_s is not None],
    }
    found = {
        f"{name}_p{percent}_s": quantile(values, percent) for name, values in by_request.items() for percent in PERCENTS
    }
    found |= {f"itl_p{percent}_s": clustered_quantile(itl, request, percent) for percent in PERCENTS}
    found["tpot_mean_s"] = _never_negative(mean(tpots))
    prompt = next((line.prompt_tokens for line in timelines if line.prompt_tokens is not None), None)
    found["prefill_tokens_per_second"] = _rate(None if prompt is None else batch * prompt, found["ttft_p50_s"])
    found["decode_tokens_per_second"] = _rate(batch, found["tpot_mean_s"])
    return found


def _never_negative(time_s: Estimate) -> Estimate:
    """Student's t interval of a few scattered times reaches below zero, where no time can be."""
    return replace(time_s, low=0.0) if time_s.low is not None and time_s.low < 0 else time_s


def _rate(count: int | None, time_s: Estimate) -> Estimate:
    """`count` / time; an interval that reaches down to no time at all leaves the rate unbounded above."""
    if count is None or not time_s.value:
        return Estimate.missing("no time was measured" if count else "the runtime does not tell the prompt's length")
    bounded = replace(time_s, low=time_s.low or None)
    return bounded.map(lambda seconds: count / seconds)
