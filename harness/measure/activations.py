"""What of a quantised variant's divergence comes from its weights, and what from its activations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import psutil

from harness.artifact.artifact import Artifact
from harness.artifact.exact_activations import has_rounded_activations, with_exact_activations
from harness.errors import GateError, MeasureError
from harness.measure.divergence import compare_with_reference
from harness.measure.reference_scores import ReferenceScores
from harness.measure.verified_session import verified_session
from harness.metrics.measurement import Measured, Measurement
from harness.metrics.units import format_bytes
from harness.runtime.genai import GenaiSession
from harness.runtime.verified import SteppingSession
from harness.stats.divergence import Divergence
from harness.stats.estimate import Estimate
from harness.stats.means import clustered_mean
from harness.system.cpu import compute_cores
from harness.system.hashing import digest_of
from harness.system.progress import Progress
from harness.toolchain.workspace import Workspace

MOST_TOKENS = 1024
"""As many tokens of right answers with their prompts are read, and of texts: by a graph that is half as fast."""

_OF_SIZE = 2.0
"""Memory of a loaded model / its size on disk, of int4 and int8 with room to spare."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DivergenceParts:
    """Mean D_KL(source || variant), in nats, of the same positions twice."""

    as_shipped: Estimate
    """With the activations that the variant has."""

    weights_alone: Estimate
    """With activations that are not rounded."""

    activations: Estimate
    """What rounding them adds, position by position; below 0 where it happens to help."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivationCost:
    """The two parts of a quantised variant's divergence."""

    accuracy_levels: tuple[int, ...]
    """Of its quantised products: 4 rounds activations to 8 bits."""

    answers: DivergenceParts | None = None
    """Of the tokens of right answers; None where the source model gives none."""

    texts: DivergenceParts | None = None
    """Of running text; None where the pack has none."""

    problem: str = ""
    """Why they could not be told apart; empty where they were."""


def measure_activation_cost(
    session: SteppingSession, artifact: Artifact, reference: ReferenceScores, workspace: Workspace, progress: Progress
) -> Measured:
    """Divergence with and without rounded activations, beside each other; nothing where no product rounds them.

    Nothing is judged by it, so that a copy that cannot run is told and no error.
    """
    if not has_rounded_activations(artifact):
        return Measured(measurement=Measurement(estimates={}))
    levels, some = artifact.facts.accuracy_levels, reference.some(MOST_TOKENS)
    try:
        shipped = compare_with_reference(session, some)
        exact = _with_exact_activations(artifact, some, workspace, progress)
    except GateError as error:
        cost = ActivationCost(accuracy_levels=levels, problem=error.what)
    else:
        cost = _cost(levels, shipped, exact)
    return Measured(measurement=Measurement(estimates={}), details={"activations": asdict(cost)})


def require_room_beside(size_bytes: int, available_bytes: float) -> None:
    """Raise if a second model of this size does not fit beside the one that is loaded.

    Raises:
        MeasureError: with both figures.
    """
    needed_bytes = _OF_SIZE * size_bytes
    if needed_bytes > available_bytes:
        raise MeasureError(
            f"a copy beside it needs about {format_bytes(needed_bytes)} of memory, {format_bytes(available_bytes)} "
            "are free"
        )


def _with_exact_activations(
    artifact: Artifact, reference: ReferenceScores, workspace: Workspace, progress: Progress
) -> Divergence:
    require_room_beside(artifact.size_bytes, psutil.virtual_memory().available)
    digest = digest_of([artifact.digest, "exact activations"])
    with with_exact_activations(artifact, workspace.cache / "exact_activations") as folder:
        name = f"{artifact.variant} with exact activations"
        session = GenaiSession(folder, target=artifact.target, name=name, threads=compute_cores())
        try:
            asking = verified_session(session, digest, {}, cache=workspace.cache)
            return compare_with_reference(asking, reference, progress.step("divergence without rounded activations"))
        finally:
            session.close()


def _cost(levels: Sequence[int], shipped: Divergence, exact: Divergence) -> ActivationCost:
    answers, texts = (
        _parts(shipped.where(kind), exact.where(kind)) if kind.any() else None
        for kind in (shipped.is_answer, ~shipped.is_answer)
    )
    return ActivationCost(accuracy_levels=tuple(levels), answers=answers, texts=texts)


def _parts(shipped: Divergence, exact: Divergence) -> DivergenceParts:
    return DivergenceParts(
        as_shipped=clustered_mean(shipped.kld_nats, shipped.cluster),
        weights_alone=clustered_mean(exact.kld_nats, exact.cluster),
        activations=clustered_mean(shipped.kld_nats - exact.kld_nats, shipped.cluster),
    )
