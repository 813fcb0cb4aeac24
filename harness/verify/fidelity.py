"""How far a converted graph's logits lie from its source model's, at short and at long positions.

Random tokens reach every part of a graph, and the first positions are asked without what follows them: some models
encode positions otherwise in long sequences. An answer is generated token by token, too, and compared with one prefill
of the same tokens, which shows what the key-value cache does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.artifact.artifact import Artifact
from harness.errors import MeasureError
from harness.runtime.genai import GenaiSession
from harness.source.reference_logits import ReferenceLogits
from harness.stats.divergence import diverge
from harness.stats.logit_noise import logit_noise
from harness.verify.compare_weights import WeightComparison
from harness.verify.probes import ProbeComparison


@dataclass(frozen=True, slots=True, kw_only=True)
class Fidelity:
    """A candidate's divergence from the source on random tokens, at the first and the last positions of a sequence."""

    first_kld_nats: float
    """D_KL(source || candidate) at the first token, which attends to itself only, whatever its position."""

    short_kld_nats: float
    """Mean D_KL(source || candidate) over the first positions."""

    long_kld_nats: float
    """Mean D_KL(source || candidate) over the last positions of a long sequence."""

    continued_kld_nats: float
    """Mean D_KL(one prefill || token by token) of the candidate and itself, over the second half of an answer.

    Where a model changes to another rotary table, or a sliding window begins to slide, this half comes right after it.
    """

    sequence_tokens: int
    """Length of the long sequence."""

    base_kld_nats: float | None
    """Mean D_KL(base || candidate) over all of these positions; None without a base model."""

    base_from_source_nats: float | None
    """Mean D_KL(source || base): how much fine-tuning changed; None without a base model."""

    short_noise: float | None = None
    """Median over the first positions of the error of the logits, as a share of their spread."""

    long_noise: float | None = None
    """The same over the last positions; None in records from before it was measured, as above."""

    @property
    def kld_nats(self) -> float:
        """Mean over short and long positions."""
        return (self.short_kld_nats + self.long_kld_nats) / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceExport:
    """The fp32 reference export of a variant, and how the variant compares with it."""

    path: Path
    """Its folder."""

    found: Fidelity
    """Its own divergence from the source."""

    weight_comparison: WeightComparison
    """The variant's weights and settings beside its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphFidelity:
    """A variant's fidelity beside that of its fp32 reference export."""

    artifact: Artifact
    """The variant."""

    found: Fidelity
    """Its divergence from the source."""

    reference_export: ReferenceExport | None
    """None for an artifact that was converted elsewhere, of a model that cannot be converted correctly here."""

    no_reference_export: str | None = None
    """Why there is no reference export."""

    probe_comparison: ProbeComparison | None = None
    """What the variant says beside its reference export in many scripts and far into its context; None without one."""

    is_transformed: bool = False
    """Whether its weights were changed beyond rounding, by the user's own word."""

    def as_dict(self) -> dict[str, Any]:
        """All of it as plain JSON values, for the record."""
        export = self.reference_export
        return {
            "variant": asdict(self.found),
            "reference_export": asdict(export.found) if export else None,
            "no_reference_export": self.no_reference_export,
            "probe_comparison": asdict(self.probe_comparison) if self.probe_comparison else None,
            "rotary_difference": export.weight_comparison.rotary_difference if export else None,
        }


def compare_with_reference_logits(session: GenaiSession, reference_logits: ReferenceLogits) -> Fidelity:
    """Compare a short and a long prefill with the source's and the base's logits, and an answer with its own prefill.

    Raises:
        MeasureError: there are no reference logits, or a logit is NaN or infinite.
    """
    source, base = reference_logits.logits(), reference_logits.logits("base")
    if source is None:
        raise MeasureError("the source model's logits were not asked for", where=session.name)
    cut = reference_logits.short_count
    short, long = session.logits(reference_logits.sequence[:cut]), session.logits(reference_logits.sequence)
    ours = np.concatenate([short, long[list(reference_logits.positions[cut:])]])
    kld, noise = _kld(source, ours), logit_noise(source, ours)
    prompt = reference_logits.sequence[: reference_logits.answer_start]
    return Fidelity(
        first_kld_nats=float(kld[0]),
        short_kld_nats=float(kld[:cut].mean()),
        long_kld_nats=float(kld[cut:].mean()),
        short_noise=float(np.median(noise[:cut])),
        long_noise=float(np.median(noise[cut:])),
        continued_kld_nats=_continued_kld(session, prompt, reference_logits.answer_tokens),
        sequence_tokens=len(reference_logits.sequence),
        base_kld_nats=None if base is None else float(_kld(base, ours).mean()),
        base_from_source_nats=None if base is None else float(_kld(source, base).mean()),
    )


def _continued_kld(session: GenaiSession, prompt: Sequence[int], count: int) -> float:
    tokens, stepwise = session.continued(prompt, count)
    second_half = count // 2
    whole = session.logits([*prompt, *tokens[:-1]])[-second_half:].copy()
    stepwise = stepwise[-second_half:]
    barred = stepwise == np.finfo(np.float32).min
    whole[barred] = stepwise[barred]
    return float(_kld(whole, stepwise).mean())


def _kld(reference: npt.NDArray[np.float32], candidate: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    return diverge(reference, candidate, np.zeros(len(reference), dtype=np.int64)).kld_nats
