"""Percentiles and rates of token times, and the requests that are timed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from harness.config.settings import BenchmarkSettings
from harness.errors import MeasureError
from harness.measure.lengths import cut_to_tokens
from harness.metrics.measurement import Measured, Measurement, criterion
from harness.pack.schema import DomainPack, Turn
from harness.runtime.session import Answer, ScoringSession, TokenTimeline
from harness.stats.estimate import Estimate
from harness.stats.means import mean
from harness.stats.quantiles import clustered_quantile, quantile


class RunRounds(Protocol):
    """Repeats a work: pytest-benchmark's `pedantic`, or `plain_rounds`."""

    def __call__(self, work: Callable[[], object], *, rounds: int, warmup_rounds: int) -> object:
        """Call `work` `warmup_rounds` + `rounds` times, one call after the other."""
        ...


def plain_rounds(work: Callable[[], object], *, rounds: int, warmup_rounds: int) -> None:
    """Repeat a work without taking its time."""
    for _ in range(warmup_rounds + rounds):
        work()


@dataclass(slots=True, kw_only=True)
class LatencyProbe:
    """One repeatable request; every call answers it once and keeps the times.

    Each request generates exactly `new_tokens` tokens, end-of-sequence ignored, so that all variants do equal work.
    """

    session: ScoringSession
    conversation: list[dict[str, str]]
    new_tokens: int
    timelines: list[TokenTimeline] = field(default_factory=list)

    def __call__(self) -> Answer:
        """Answer once."""
        answer = self.session.answer(self.conversation, max_new_tokens=self.new_tokens, min_new_tokens=self.new_tokens)
        self.timelines.append(answer.timeline)
        return answer


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
    session: ScoringSession, pack: DomainPack, settings: BenchmarkSettings, run_rounds: RunRounds
) -> Measured:
    """Latency at the first configured prompt length, the one that limits apply to.

    Raises:
        MeasureError: no prompt of that length fits the context.
    """
    prompt_tokens = settings.prompt_tokens[0]
    timelines = time_requests(session, pack, settings, prompt_tokens, run_rounds)
    estimates = summarise_latency(timelines)
    details = f"{len(timelines)} requests of {prompt_tokens} + {settings.new_tokens} tokens"
    return Measured(
        measurement=Measurement(estimates=estimates, details=dict.fromkeys(estimates, details)),
        samples={f"latency_{prompt_tokens}": timelines},
        latency={prompt_tokens: estimates},
    )


def measure_longer_latency(
    session: ScoringSession,
    pack: DomainPack,
    settings: BenchmarkSettings,
    prompt_tokens: int,
    run_rounds: RunRounds,
) -> Measured:
    """Latency at one of the other prompt lengths: recorded, and judged by whether there is any.

    Raises:
        MeasureError: no prompt of that length fits the context.
    """
    timelines = time_requests(session, pack, settings, prompt_tokens, run_rounds)
    estimates = summarise_latency(timelines)
    is_timed = not estimates["decode_tokens_per_second"].is_missing
    return Measured(
        measurement=criterion("longer_prompts_timed", is_met=is_timed, details=f"{prompt_tokens} tokens"),
        samples={f"latency_{prompt_tokens}": timelines},
        latency={prompt_tokens: estimates},
    )


def time_requests(
    session: ScoringSession,
    pack: DomainPack,
    settings: BenchmarkSettings,
    prompt_tokens: int,
    run_rounds: RunRounds,
) -> list[TokenTimeline]:
    """Times of the configured number of equal requests, the warm-up left out.

    Raises:
        MeasureError: no prompt of that length fits the context.
    """
    conversation = latency_conversation(session, pack, prompt_tokens)
    probe = LatencyProbe(session=session, conversation=conversation, new_tokens=settings.new_tokens)
    rounds = settings.rounds_at(prompt_tokens)
    run_rounds(probe, rounds=rounds, warmup_rounds=settings.warmup_rounds)
    return probe.timelines[-rounds:]


def summarise_latency(timelines: Sequence[TokenTimeline]) -> dict[str, Estimate]:
    """Estimates of requests that all had the same prompt; a metric that no request shows is missing.

    `ttft_*_s` and `e2e_*_s` are percentiles over requests, `itl_*_s` over all gaps between tokens of all requests,
    `tpot_mean_s` is the mean over requests of (last - first token) / (n - 1). `decode_tokens_per_second` is
    1 / `tpot_mean_s`; `prefill_tokens_per_second` is prompt tokens / median TTFT, so it includes tokenisation.
    Gaps of one request resemble each other: their intervals come from resampling whole requests.
    """
    ttft = [line.ttft_s for line in timelines if line.ttft_s is not None]
    e2e = [line.e2e_s for line in timelines if line.e2e_s is not None]
    gaps = [line.itl_s for line in timelines]
    itl = np.asarray([gap for of_request in gaps for gap in of_request], dtype=np.float64)
    request = np.repeat(np.arange(len(gaps)), [len(of_request) for of_request in gaps])
    prompt = next((line.prompt_tokens for line in timelines if line.prompt_tokens is not None), None)
    tpot = _never_negative(mean([line.tpot_s for line in timelines if line.tpot_s is not None]))
    ttft_p50 = quantile(ttft, 50)
    return {
        "ttft_p50_s": ttft_p50,
        "ttft_p95_s": quantile(ttft, 95),
        "itl_p50_s": clustered_quantile(itl, request, 50),
        "itl_p95_s": clustered_quantile(itl, request, 95),
        "itl_p99_s": clustered_quantile(itl, request, 99),
        "tpot_mean_s": tpot,
        "e2e_p50_s": quantile(e2e, 50),
        "e2e_p95_s": quantile(e2e, 95),
        "prefill_tokens_per_second": _rate(prompt, ttft_p50),
        "decode_tokens_per_second": _rate(1, tpot),
    }


def _never_negative(time_s: Estimate) -> Estimate:
    """Student's t interval of a few scattered times reaches below zero, where no time can be."""
    return replace(time_s, low=0.0) if time_s.low is not None and time_s.low < 0 else time_s


def _rate(count: int | None, time_s: Estimate) -> Estimate:
    """`count` / time; an interval that reaches down to no time at all leaves the rate unbounded above."""
    if count is None or not time_s.value:
        return Estimate.missing("no time was measured" if count else "the runtime does not tell the prompt's length")
    bounded = replace(time_s, low=time_s.low or None)
    return bounded.map(lambda seconds: count / seconds)
