"""What the conversion made of a variant: its size, and whether its graph is the source, rounded."""

from __future__ import annotations

from harness.artifact.artifact import Artifact
from harness.metrics.measurement import Measured, Measurement, criterion
from harness.stats.estimate import Estimate
from harness.verify.criteria import findings_of
from harness.verify.fidelity import GraphFidelity


def measure_conversion(artifact: Artifact) -> Measured:
    """Size and facts of an artifact that was inspected against its request: otherwise there is none."""
    return Measured(
        measurement=Measurement(
            estimates={
                "artifact_matches_request": Estimate.exact(1.0),
                "size_bytes": Estimate.exact(artifact.size_bytes),
            }
        ),
        details={
            "conversion": {
                "recipe": artifact.recipe.as_dict(),
                "graph": artifact.facts.as_dict(),
                "digest": artifact.digest,
                "conversion_s": artifact.conversion_s,
                "was_reused": artifact.was_reused,
            }
        },
    )


def measure_graph_match(found: GraphFidelity) -> Measured:
    """Whether the variant's graph is the source, rounded, and nothing more.

    The details have what speaks against it, or else how far was looked.
    """
    findings = findings_of(found)
    told = "\n".join(str(finding.as_error()) for finding in findings)
    unproven = f"not compared with an fp32 reference export: {found.no_reference_export}"
    looked = found.probe_comparison.summary if found.probe_comparison else ""
    details = told or (unproven if found.no_reference_export else looked)
    return Measured(
        measurement=criterion("graph_matches_source", is_met=not findings, details=details),
        details={"fidelity": found.as_dict()},
    )
