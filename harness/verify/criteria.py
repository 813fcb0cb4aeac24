"""Whether what was measured of a graph shows that it is its source: limits, and a finding for each one broken.

A limit here is a fact about converters and runtimes, taken between what was measured of healthy graphs and of faulty
ones (docs/graphs.md); the limits of a domain stand in gate.toml.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.artifact.artifact import Artifact
from harness.artifact.facts import precision_of
from harness.verify.compare_weights import WeightComparison
from harness.verify.fidelity import Fidelity, GraphFidelity
from harness.verify.finding import FidelityFinding
from harness.verify.noise_criteria import noise_findings, probe_findings

EXACT_NATS = 1e-6
"""Most that an unquantised graph may diverge, on average; healthy ones stay below a millionth of it."""

SAME_WEIGHTS_NATS = 1e-9
"""Two sets of weights that diverge less are one."""

CONTINUED_NATS = 4e-3
"""Most that token by token and one prefill may differ in a quantised graph; seen were 1e-4, of faults 3e-2."""

_TABLE_TOLERANCE = 2e-3
"""Half precision keeps cosines to 5e-4; another theta differs by more than 1."""


def findings_of(fidelity: GraphFidelity) -> list[FidelityFinding]:
    """Every reason why a variant is not its source, the most telling one first; none for a healthy variant.

    The fp32 reference export must compute what the source does, the variant must be the reference export rounded, and
    it must be the fine-tuned model rather than its base.
    """
    artifact, where = fidelity.artifact, str(fidelity.artifact.path)
    findings: list[FidelityFinding] = []
    if precision_of(artifact.facts) == "fp32":
        findings += function_findings(fidelity.found, where)
    findings += continuity_findings(fidelity.found, where, CONTINUED_NATS)
    if fidelity.reference_export is not None:
        findings += function_findings(fidelity.reference_export.found, str(fidelity.reference_export.path))
        findings += weight_findings(artifact, fidelity.reference_export.weight_comparison)
    if fidelity.probe_comparison is not None:
        findings += probe_findings(artifact, fidelity.probe_comparison, is_transformed=fidelity.is_transformed)
    else:
        findings += noise_findings(artifact, fidelity.found, is_transformed=fidelity.is_transformed)
    return findings + fine_tune_findings(fidelity.found, artifact)


def require_fidelity(fidelity: GraphFidelity) -> None:
    """Raise if a variant is not its source.

    Raises:
        FidelityError: the first of its findings.
    """
    require_none(findings_of(fidelity))


def require_none(findings: Sequence[FidelityFinding]) -> None:
    """Raise if there is a finding.

    Raises:
        FidelityError: the first one.
    """
    if findings:
        raise findings[0].as_error()


def function_findings(found: Fidelity, where: str) -> list[FidelityFinding]:
    """A graph that diverges from the source although nothing in it is quantised, with what its positions hint at."""
    if found.short_kld_nats <= EXACT_NATS and found.long_kld_nats <= EXACT_NATS:
        return continuity_findings(found, where, EXACT_NATS)
    is_exact_alone = found.first_kld_nats <= EXACT_NATS
    positions = "positions are encoded otherwise (rope theta or scaling), or attention is (its window or scale)"
    hint = positions if is_exact_alone else "the graph is another one"
    return [
        FidelityFinding(
            what=f"unquantised, the converted graph is {found.short_kld_nats:.1e} nats from the source at short and "
            f"{found.long_kld_nats:.1e} at long positions, where {EXACT_NATS:.0e} is the most: {hint}",
            where=where,
            next_step="this toolchain does not convert this architecture correctly: see docs/conversion.md",
        )
    ]


def continuity_findings(found: Fidelity, where: str, limit_nats: float) -> list[FidelityFinding]:
    """A graph whose answers depend on whether their tokens come one by one."""
    if found.continued_kld_nats <= limit_nats:
        return []
    return [
        FidelityFinding(
            what=f"an answer made token by token is {found.continued_kld_nats:.1e} nats from what the same graph says "
            f"of its tokens at once, where {limit_nats:.0e} is the most: its key-value cache is not carried on "
            "correctly",
            where=where,
            next_step="for a model with longrope scaling see docs/conversion.md, Stretched contexts; "
            "else this graph needs another runtime or converter",
        )
    ]


def weight_findings(artifact: Artifact, comparison: WeightComparison) -> list[FidelityFinding]:
    """Rotary tables, weights or settings that differ from the fp32 reference export beyond rounding error."""
    findings = []
    difference = comparison.rotary_difference
    if difference is not None and not difference <= _TABLE_TOLERANCE:
        findings.append(
            FidelityFinding(
                what=f"{artifact.variant} encodes positions otherwise than its source: its rotary tables differ by up "
                f"to {difference:.2g} (another rope theta or scaling)",
                where=str(artifact.path),
                next_step="convert it again from the source as it is now",
            )
        )
    if comparison.differences:
        findings.append(
            FidelityFinding(
                what=f"{artifact.variant} is not its source rounded: {'; '.join(comparison.differences)}",
                where=str(artifact.path),
                next_step=_way_out(artifact),
            )
        )
    return findings


def _way_out(artifact: Artifact) -> str:
    if artifact.is_adopted:
        return (
            "convert it again from the source as it is now; if its weights were rescaled or trained on while they "
            "were quantised (AWQ, QAT), say so: transformed = true in gate.toml, --transformed here"
        )
    return "remove this folder and convert again; if the difference stays, the recipe does not suit the model"


def fine_tune_findings(found: Fidelity, artifact: Artifact) -> list[FidelityFinding]:
    """A variant that is not made of the fine-tuned weights; none without a base model to compare with."""
    if found.base_kld_nats is None or found.base_from_source_nats is None:
        return []
    where = str(artifact.path)
    if found.base_from_source_nats <= SAME_WEIGHTS_NATS:
        return [
            FidelityFinding(
                what="the fine-tuned model says exactly what its base model says: the fine-tuning, or its adapter, "
                "is not in it",
                where=where,
                next_step="merge the adapter into the model, or name the right base",
            )
        ]
    if found.kld_nats < found.base_kld_nats:
        return []
    return [
        FidelityFinding(
            what=f"{artifact.variant} ({precision_of(artifact.facts)}) is nearer to the base model "
            f"({found.base_kld_nats:.2g} nats) than to the fine-tuned one ({found.kld_nats:.2g} nats)",
            where=where,
            next_step="convert the fine-tuned model; with an adapter, merge it first",
        )
    ]
