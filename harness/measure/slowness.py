"""Is a model far too slow for its limits? Told after the first cases; latency is measured, and judged, much later."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median
from typing import Final

from harness.config.limits import Limit
from harness.errors import InvalidPromptError
from harness.metrics.catalogue import METRICS
from harness.pack.choose import conversations_by_case
from harness.pack.schema import DomainPack
from harness.runtime.session import Session, TokenTimeline

CASES: Final = 3
TOKENS: Final = 16

FAR: Final = 3.0
"""Times that a limit is missed by before it is told: a few requests, the first ones among them, are no measurement."""


def slow_remark(session: Session, pack: DomainPack, limits: Mapping[str, Limit]) -> str | None:
    """What of the model's speed is far beyond a limit on its first answers; None where nothing is."""
    timelines = []
    for turns in conversations_by_case(pack, CASES).values():
        try:
            timelines.append(session.answer(turns, max_new_tokens=TOKENS).timeline)
        except InvalidPromptError:
            continue
    return remark_of(timelines, limits)


def remark_of(timelines: list[TokenTimeline], limits: Mapping[str, Limit]) -> str | None:
    """The same, of answers that were given."""
    timed = [one for one in timelines if len(one.token_s) > 1]
    if not timed:
        return None
    between_s = median((one.token_s[-1] - one.token_s[0]) / (len(one.token_s) - 1) for one in timed)
    seen = {
        "ttft_p95_s": median(one.token_s[0] - one.start_s for one in timed),
        "itl_p95_s": between_s,
        "decode_tokens_per_second": 1 / between_s if between_s > 0 else float("inf"),
    }
    told = [
        f"{name} near {METRICS[name].format(value)} where {METRICS[name].format(limits[name].edge)} is the limit"
        for name, value in seen.items()
        if name in limits and _is_far(value, limits[name])
    ]
    return f"far too slow: {'; '.join(told)}" if told else None


def _is_far(value: float, limit: Limit) -> bool:
    return value * FAR < limit.edge if limit.min is not None else value > limit.edge * FAR
