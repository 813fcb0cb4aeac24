"""What a variant may lose or diverge where nobody chose a limit: memory on every path, right answers by precision."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from harness.config.limits import DefaultLimit, Limit

_PUBLISHED: Final = (
    "published weight-only {} models of 0.5 to 3 B have {} nats and {} of their most likely tokens flipped on general "
    "text (mlx-quant-fidelity, affine, groups of 64), and answers that were trained for diverge less"
)
_OF_INT4: Final = _PUBLISHED.format("4-bit", "0.085 to 0.224", "15 to 25 %")
_OF_INT8: Final = _PUBLISHED.format("8-bit", "0.001 to 0.002", "2 to 3 %")
_OF_FP16: Final = "half precision only rounds: healthy models have a thousandth of it"


def _limits(kld_nats: float, agreement: float, why: str) -> dict[str, Limit]:
    return {
        "answer_kld_mean_nats": DefaultLimit(max=kld_nats, reason=f"default: {why}"),
        "answer_top1_agreement": DefaultLimit(min=agreement, reason=f"default: {why}"),
    }


ANSWER_DIVERGENCE: Final[Mapping[str, Mapping[str, Limit]]] = {
    "int4": _limits(0.35, 0.70, _OF_INT4),
    "int8": _limits(0.02, 0.94, _OF_INT8),
    "fp16": _limits(0.002, 0.98, _OF_FP16),
    "fp32": _limits(0.002, 0.98, _OF_FP16),
}
"""Wide enough for a small model on free text; what int4 loses of a domain's answers is judged by its quality limits."""


def default_limits(precision: str | None) -> Mapping[str, Limit]:
    """Those of a precision; an Olive file of one's own that does not say which has int4's."""
    return ANSWER_DIVERGENCE.get(precision or "int4", ANSWER_DIVERGENCE["int4"])


LEAK_BYTES: Final[Mapping[str, float]] = {
    "request": 16.0, "token": 4.0, "session": 16.0, "stream": 16.0, "error": 16.0, "load": 4096.0,
}  # fmt: skip
"""The paths on which a runtime can lose memory, and the growth that is told from none, bytes per unit of the path."""

_LEAK_REASONS: Final[Mapping[str, str]] = {
    "request": "at one request a second it stays under 10 MiB a week",
    "token": "at ten tokens a second it stays under 25 MiB a week",
    "session": "as a request: every one opens a session",
    "stream": "as a request: clients hang up as they like",
    "error": "as a request: a client that is refused asks again",
    "load": "a device that changes models every minute loses 40 MiB a week",
}


def _leak_limits(runtime: str) -> dict[str, Limit]:
    return {
        f"{runtime}leak_bytes_per_{path}": Limit(max=LEAK_BYTES[path], reason=f"default: {reason}")
        for path, reason in _LEAK_REASONS.items()
    }


LEAK_LIMITS: Final[Mapping[str, Limit]] = {**_leak_limits(""), **_leak_limits("foundry_")}
"""They hold for every model: a runtime has to give back what it takes, however large that was."""
