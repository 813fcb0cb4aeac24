"""What an answer must cost at least, by its graph, and which share of the machine's limits a measured rate is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from harness.artifact.artifact import Artifact
from harness.artifact.facts import ArtifactFacts
from harness.artifact.genai_config import read_settings
from harness.errors import MeasureError
from harness.machine.bandwidth import SLACK, MachineLimits, machine_limits
from harness.measure.latency_point import LatencyPoint
from harness.metrics.units import Unit, format_bytes, format_value
from harness.stats.estimate import Estimate

_BITS: Final[Mapping[str, int]] = {
    "float32": 32, "float16": 16, "bfloat16": 16, "int8": 8, "uint8": 8, "int4": 4, "uint4": 4,
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """The least that a model reads and computes; what is not known counts as nothing."""

    step_bytes: int
    """Weights read to generate a token: all that are stored but the embedding, of which it takes one row."""

    cache_bytes_per_token: int
    """Keys and values of one token in all layers."""

    token_operations: int
    """Multiplications and additions for a token: two for every weight of a matrix."""


def footprint(artifact: Artifact) -> Footprint:
    """What the graph and `genai_config.json` say.

    Raises:
        ArtifactError: the config cannot be read.
    """
    return footprint_of(artifact.facts, read_settings(artifact.path)["model"])


def footprint_of(facts: ArtifactFacts, model: Mapping[str, Any]) -> Footprint:
    """The same from facts of the graph and the section `model` of the config."""
    decoder = model["decoder"]
    hidden, vocabulary = _number(decoder, "hidden_size"), _number(model, "vocab_size")
    embedding = 0 if facts.has_shared_embeddings else hidden * vocabulary * _BITS.get(facts.embedding_type or "", 32)
    return Footprint(
        step_bytes=max(0, sum(facts.weight_bytes.values()) - embedding // 8),
        cache_bytes_per_token=cache_bytes_per_token(facts, decoder),
        token_operations=2 * sum(facts.weights_per_bits.values()),
    )


def cache_bytes_per_token(facts: ArtifactFacts, decoder: Mapping[str, Any]) -> int:
    """Keys and values of all layers: 2 x layers x key-value heads x width of a head x bytes of a number."""
    bits = min((_BITS.get(kind, 32) for kind in facts.cache_types), default=0)
    layers, heads = _number(decoder, "num_hidden_layers"), _number(decoder, "num_key_value_heads")
    return 2 * layers * heads * _number(decoder, "head_size") * bits // 8


def limits_for(footprint: Footprint) -> MachineLimits:
    """What this machine can do at most with a model of that size; measured once for each size."""
    return machine_limits(footprint.step_bytes)


def physical_shares(
    point: LatencyPoint, estimates: Mapping[str, Estimate], footprint: Footprint, limits: MachineLimits
) -> dict[str, Estimate]:
    """Which share of the machine's limits the point's rates are.

    Bytes: weights and cache that a step reads at least, by the median gap between tokens. Operations: those of the
    prompt by the median time to first token.

    Raises:
        MeasureError: a rate is above what the machine can do.
    """
    context = point.depth_tokens + point.prompt_tokens + point.new_tokens // 2
    step_bytes = footprint.step_bytes + footprint.cache_bytes_per_token * context * point.batch
    operations = footprint.token_operations * point.prompt_tokens * point.batch
    found = {
        "decode_bandwidth_share": _share(step_bytes, estimates["itl_p50_s"], limits.read_bytes_per_second),
        "prefill_compute_share": _share(operations, estimates["ttft_p50_s"], limits.operations_per_second),
    }
    gap, first = estimates["itl_p50_s"].value, estimates["ttft_p50_s"].value
    for name, what in {
        "decode_bandwidth_share": f"{format_bytes(step_bytes)} for each token, a token every {_seconds(gap)}",
        "prefill_compute_share": f"{operations:.3g} operations for a prompt, answered after {_seconds(first)}",
    }.items():
        share = found[name].value
        if share is None or share <= SLACK:
            continue
        if limits.is_disturbed:
            found[name] = Estimate.missing("the machine's limit could not be measured undisturbed")
        else:
            raise MeasureError(
                f"impossible at {point}: {what}, is {share:.1f} times what this machine can do",
                where=name,
                next_step="the clock, the token count or the graph's description is wrong: see the raw samples",
            )
    return found


def _share(work: float, time_s: Estimate, limit_per_second: float) -> Estimate:
    if not work:
        return Estimate.missing("the graph does not tell its size")
    if not time_s.value:
        return Estimate.missing("no time was measured")
    return time_s.map(lambda seconds: work / seconds / limit_per_second if seconds else float("inf"))


def _seconds(value: float | None) -> str:
    return format_value(Unit.SECONDS, value)


def _number(settings: Mapping[str, Any], name: str) -> int:
    value = settings.get(name, 0)
    return value if isinstance(value, int) else 0
