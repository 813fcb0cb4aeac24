"""Yes/no criteria: each is met, or its details say what stands in the way."""

from __future__ import annotations

from collections.abc import Sequence

from harness.metrics.measurement import Measurement, criterion
from harness.verify.criteria import findings_of
from harness.verify.fidelity import GraphFidelity


def graph_matches_source(found: GraphFidelity) -> Measurement:
    """Whether the variant's graph is the source, rounded, and nothing more."""
    findings = findings_of(found)
    details = "\n".join(str(finding.as_error()) for finding in findings)
    return criterion("graph_matches_source", is_met=not findings, details=details)


def without_differences(name: str, differences: Sequence[str], most: int = 3) -> Measurement:
    """A criterion that is met where nothing differs; the first differences are its details."""
    return criterion(name, is_met=not differences, details="\n".join(differences[:most]))
