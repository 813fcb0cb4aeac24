"""Drafts `gate.toml`: limits to begin with, each with a reason that says where it comes from."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from harness.config.default_limits import default_limits
from harness.config.limits import Limit
from harness.config.profiles import HERE, DeviceProfile
from harness.metrics.catalogue import METRICS, Better
from harness.metrics.units import Unit
from harness.stats.estimate import Estimate

DRAFTED: Final = "drafted"
"""How the reason of every drafted limit begins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unconfirmed:
    """A limit in force that was only drafted: nobody has put a reason of their own in the place of the first."""

    metric: str
    limit: Limit
    variants: tuple[str, ...]
    """Those that it judges; empty where it is all of them."""


def drafted(limits: Mapping[str, Mapping[str, Limit]]) -> tuple[Unconfirmed, ...]:
    """The limits that were only drafted; a metric has as many as variants have different ones.

    Args:
        limits: by variant and metric.
    """
    found: dict[str, list[tuple[Limit, list[str]]]] = {}
    for variant, own in limits.items():
        for metric, limit in own.items():
            if not limit.reason.startswith(f"{DRAFTED}:"):
                continue
            different = found.setdefault(metric, [])
            same = next((names for one, names in different if one == limit), None)
            if same is None:
                different.append((limit, [variant]))
            else:
                same.append(variant)
    return tuple(
        Unconfirmed(metric=metric, limit=limit, variants=() if len(names) == len(limits) else tuple(names))
        for metric, different in found.items()
        for limit, names in different
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftedLimit:
    """A limit to begin with."""

    metric: str
    value: float
    reason: str
    precision: str | None = None
    """The precision that it is for; None for all."""

    @property
    def bound(self) -> str:
        """`min` where higher is better, else `max`."""
        return "min" if METRICS[self.metric].better is Better.HIGHER else "max"


_QUALITY: Final = {
    "exact_match_rate": (0.9, "nine right answers in ten; say what your users put up with"),
    "exact_match_final_rate": (
        0.88,
        "as for all questions, and less as they are fewer; say what your users put up with",
    ),
    "exact_match_loss_points": (3.0, "what one round of fine-tuning gains; say what conversion may cost"),
    "out_of_scope_rate": (0.9, "a confident answer to a foreign question is worse than none; say how often it may be"),
    "json_valid_rate": (0.98, "say what the calling program does with an answer that it cannot read"),
    "truncated_answer_rate": (0.02, "an answer that does not end keeps its user waiting; say how often it may be"),
    "edge_case_rate": (0.9, "one unfriendly prompt in ten may go astray; say which must not"),
    "length_drop_points": (10.0, "one question in ten may flip behind a long text; say how long yours are"),
    "leak_bytes_per_request": (16.0, "at one request a second it stays under 10 MiB a week; say how long yours runs"),
    "foundry_leak_bytes_per_request": (16.0, "the same through the runtime that serves it"),
}
_DEPLOYMENT: Final = {
    "foundry_same_answer_rate": (1.0, "what was tested must be what is served"),
    "foundry_http_same_answer_rate": (1.0, "the same over HTTP"),
    "foundry_stream_same_answer_rate": (1.0, "the same while the answer grows"),
    "foundry_refusal_rate": (1.0, "one client's mistake must be its own"),
    "foundry_unload_retention_bytes": (
        2.0**25,
        "what the runtime sets up once is a few MiB; say what your device spares",
    ),
}


def draft_limits(
    profile: DeviceProfile,
    precisions: Collection[str],
    *,
    absent: Collection[str] = (),
    source: Mapping[str, Estimate] | None = None,
) -> tuple[DraftedLimit, ...]:
    """Limits to begin with.

    Args:
        profile: the device.
        precisions: those of the variants.
        absent: metrics that the pack does not ask for.
        source: what the source model reaches, where that was measured; where that misses the usual limit, the usual
            one is drafted, as a weakness of the source is none that a variant may have.
    """
    measured = source or {}
    found = [_of_quality(metric, measured) for metric in _QUALITY if metric not in absent]
    found += [_drafted(metric, *what) for metric, what in _DEPLOYMENT.items()]
    if profile.name == HERE:  # another machine has other numbers: they are written down
        found += [_drafted(metric, limit.edge, limit.reason) for metric, limit in profile.limits.items()]
    for precision in precisions:
        for metric, limit in default_limits(precision).items():
            why = f"{limit.reason.removeprefix('default: ')}; say what your own healthy variants have"
            found.append(_drafted(metric, limit.edge, why, precision))
    return tuple(found)


def _drafted(metric: str, value: float, reason: str, precision: str | None = None) -> DraftedLimit:
    return DraftedLimit(metric=metric, value=value, reason=f"{DRAFTED}: {reason}", precision=precision)


def _of_quality(metric: str, measured: Mapping[str, Estimate]) -> DraftedLimit:
    value, reason = _QUALITY[metric]
    found = measured.get(metric)
    if found is None or found.value is None or found.low is None or found.high is None:
        return _drafted(metric, value, reason)
    is_min = METRICS[metric].better is Better.HIGHER
    if found.value < value if is_min else found.value > value:
        return _drafted(metric, value, f"{reason}. The source model itself misses it: {_reached(metric, found)}")
    if METRICS[metric].unit is Unit.POINTS:
        reached = f"the source model loses {found.value:.1f} points itself"
        return _drafted(metric, math.ceil(found.value + value), f"{reached}; say how long your prompts are")
    end = math.floor(100 * found.low) / 100 if is_min else math.ceil(100 * found.high) / 100
    reached = f"the source model has {_reached(metric, found)}"
    return _drafted(metric, end, f"{reached}: beyond it something was lost; say what users need")


def _reached(metric: str, found: Estimate) -> str:
    """What the source model has, as it was measured; points are of a number of questions that its owner may change."""
    assert found.value is not None
    assert found.low is not None
    assert found.high is not None
    if METRICS[metric].unit is Unit.POINTS:
        return f"it loses {found.value:.1f} points"
    interval = f"95 % interval {100 * found.low:.1f} to {100 * found.high:.1f} %"
    return f"{100 * found.value:.1f} % of {_counted(found)}, {interval}"


def _counted(found: Estimate) -> str:
    """How many questions, or clusters of them, stand behind an estimate."""
    return f"{found.n} {'clusters' if 'clusters' in found.method else 'questions'}"


def gate_text(
    *,
    model: str,
    pack: str,
    name: str,
    precisions: Sequence[str],
    profile: DeviceProfile,
    limits: Sequence[DraftedLimit],
) -> str:
    """`gate.toml` as a text; paths as they are to stand in it."""
    return "\n".join([*_head(model, pack, name, precisions, profile), *_limits(limits), ""])


def _head(model: str, pack: str, name: str, precisions: Sequence[str], profile: DeviceProfile) -> Iterator[str]:
    yield "# What the gate decides about, and where it draws its lines. Paths start at this file's folder."
    yield "# Every limit is a draft: put your own number and your own reason in its place."
    yield "\n[model]"
    yield f"source = {_text(model)}              # folder or hub id"
    yield from _device(profile)
    yield "\n[domain]"
    yield f"pack = {_text(pack)}"
    for precision in precisions:
        yield f"\n[variants.{precision}]"
        yield f"recipe = {_text(precision)}"
    yield "\n[foundry]"
    yield f"name = {_text(name)}"
    yield "\n[benchmark]"
    yield "prompt_tokens = [64, 256, 1024]   # limits on speed hold for the first one"


def _device(profile: DeviceProfile) -> Iterator[str]:
    if profile.name == HERE:
        yield f"\n# Device: {profile.description}; its limits stand below."
        return
    yield f"\n# {profile.description}; numbers of your own in [limits] win over these:"
    for metric, limit in profile.limits.items():
        bound = "at least" if limit.max is None else "at most"
        yield f"#   {metric} {bound} {METRICS[metric].format(limit.edge)}: {limit.reason}"
    yield "[device]"
    yield f"profile = {_text(profile.name)}"


def _limits(limits: Sequence[DraftedLimit]) -> Iterator[str]:
    for limit in limits:
        table = f"precisions.{limit.precision}.limits" if limit.precision else "limits"
        yield f"\n[{table}.{limit.metric}]"
        yield f"{limit.bound} = {_number(limit.value)}"
        yield f"reason = {_text(limit.reason)}"


def _number(value: float) -> str:
    return f"{int(value):_}" if value == int(value) and value >= 1000 else repr(float(value))


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
