"""Measures a variant's fidelity and that of its fp32 reference export, or reads them from the cache."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from harness.artifact.artifact import Artifact
from harness.convert.room import DoesNotFitError
from harness.errors import GateError, SessionError
from harness.runtime.genai import GenaiSession
from harness.runtime.smoke_test import runtime_version
from harness.source.reference_logits import ReferenceLogits
from harness.system.cpu import compute_cores
from harness.system.hashing import digest_of
from harness.system.store import cached_json
from harness.toolchain.workspace import Workspace
from harness.verify.compare_weights import WeightComparison, compare_with_reference_export
from harness.verify.criteria import function_findings, require_none, weight_findings
from harness.verify.fidelity import Fidelity, GraphFidelity, ReferenceExport, compare_with_reference_logits
from harness.verify.measure_probes import measure_probes

_FORMAT = 8
_COMPARISON_FORMAT = 8
"""Both count up when cached values must be measured again."""


def measure_graph(
    artifact: Artifact,
    export: Artifact | GateError,
    reference_logits: ReferenceLogits,
    workspace: Workspace,
    *,
    is_transformed: bool = False,
) -> GraphFidelity:
    """An artifact's fidelity beside that of its fp32 reference export, from the cache or measured now.

    An artifact that was converted elsewhere is measured without a reference export where there is none, or where the
    one that this toolchain makes is wrong; any artifact is where the reference export does not fit on this machine.

    Raises:
        GateError: the source cannot be asked, the artifact cannot be measured, or an artifact that was converted here
            has no reference export.
        FidelityError: the artifact does not load, and its weights are not those of its reference export.
    """
    reference_logits.ensure()
    reference_export, reason, probe_comparison = None, None, None
    try:
        made, export_found = _measure_export(export, reference_logits, workspace)
        if artifact.is_adopted:
            require_none(function_findings(export_found, str(made.path)))
    except GateError as error:
        if not (artifact.is_adopted or isinstance(error, DoesNotFitError)):
            raise
        reason = error.what
    else:
        comparison = compare_weights(artifact, made, workspace, is_transformed=is_transformed)
        reference_export = ReferenceExport(path=made.path, found=export_found, weight_comparison=comparison)
    try:
        found = measure_fidelity(artifact, reference_logits, workspace)
    except SessionError:
        if reference_export is not None:  # other weights may be why it does not load
            require_none(weight_findings(artifact, reference_export.weight_comparison))
        raise
    if reference_export is not None and not function_findings(reference_export.found, str(reference_export.path)):
        probe_comparison = measure_probes(artifact, made, workspace)
    return GraphFidelity(
        artifact=artifact,
        found=found,
        reference_export=reference_export,
        no_reference_export=reason,
        probe_comparison=probe_comparison,
        is_transformed=is_transformed,
    )


def _measure_export(
    export: Artifact | GateError, reference_logits: ReferenceLogits, workspace: Workspace
) -> tuple[Artifact, Fidelity]:
    if isinstance(export, GateError):
        raise export
    return export, measure_fidelity(export, reference_logits, workspace)


def measure_fidelity(artifact: Artifact, reference_logits: ReferenceLogits, workspace: Workspace) -> Fidelity:
    """The fidelity of an artifact, from the cache or measured now.

    Raises:
        SessionError: it does not load or run.
        MeasureError: a logit is NaN or infinite.
    """
    key = digest_of([_FORMAT, artifact.digest, artifact.target.as_dict(), reference_logits.digest, runtime_version()])

    def measure() -> dict[str, Any]:
        workspace.notify(f"{artifact.variant}: measuring its divergence from the source")
        session = GenaiSession(artifact.path, target=artifact.target, name=artifact.variant, threads=compute_cores())
        try:
            return asdict(compare_with_reference_logits(session, reference_logits))
        finally:
            session.close()

    return Fidelity(**cached_json(workspace.cache / "fidelity" / key, measure))


def compare_weights(
    artifact: Artifact, export: Artifact, workspace: Workspace, *, is_transformed: bool = False
) -> WeightComparison:
    """How an artifact compares with its fp32 reference export, from the cache or compared now.

    Passes of the user's own may do more to weights than round them, and set what the runtime is told.
    """
    is_bound = artifact.recipe.olive_config is None
    parts = [_COMPARISON_FORMAT, artifact.digest, export.digest, is_transformed, is_bound]

    def compare() -> dict[str, Any]:
        workspace.notify(f"{artifact.variant}: comparing its weights with the source's")
        found = compare_with_reference_export(artifact, export, is_transformed=is_transformed, is_bound=is_bound)
        return asdict(found)

    cached = cached_json(workspace.cache / "weight_comparison" / digest_of(parts), compare)
    return WeightComparison(**{**cached, "differences": tuple(cached["differences"])})
