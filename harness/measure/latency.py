"""Latency from token times: TTFT, ITL, TPOT, end-to-end, prefill and decode rates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from harness.errors import MeasureError
from harness.measure.quality import cut_to_tokens
from harness.pack.pack import DomainPack, Turn
from harness.runtime.session import Answer, ScoringSession, TokenTimeline


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


def summarise_latency(timelines: Sequence[TokenTimeline]) -> dict[str, float | None]:
    """Metrics of requests that all had the same prompt; a number without evidence is None.

    `ttft_*_s` and `e2e_p50_s` are percentiles over requests, `itl_*_s` over all gaps between tokens of all requests,
    `tpot_mean_s` is the mean over requests of (last - first token) / (n - 1). `decode_tokens_per_second` is
    1 / `tpot_mean_s`; `prefill_tokens_per_second` is prompt tokens / median TTFT, so it includes tokenisation.
    Percentiles interpolate linearly (numpy's default).
    """
    ttft = [line.ttft_s for line in timelines if line.ttft_s is not None]
    itl = [gap for line in timelines for gap in line.itl_s]
    tpot = [line.tpot_s for line in timelines if line.tpot_s is not None]
    prompt = [line.prompt_tokens for line in timelines if line.prompt_tokens is not None]
    tpot_mean = float(np.mean(tpot)) if tpot else None
    ttft_p50 = percentile(ttft, 50)
    return {
        "ttft_p50_s": ttft_p50,
        "ttft_p95_s": percentile(ttft, 95),
        "itl_p50_s": percentile(itl, 50),
        "itl_p95_s": percentile(itl, 95),
        "tpot_mean_s": tpot_mean,
        "e2e_p50_s": percentile([line.e2e_s for line in timelines if line.e2e_s is not None], 50),
        "prefill_tokens_per_second": prompt[0] / ttft_p50 if prompt and ttft_p50 else None,
        "decode_tokens_per_second": 1 / tpot_mean if tpot_mean else None,
    }


def percentile(values: Sequence[float], percent: float) -> float | None:
    """Linear-interpolation percentile; None of nothing."""
    return float(np.percentile(values, percent)) if len(values) else None
