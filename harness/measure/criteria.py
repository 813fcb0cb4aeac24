"""Yes/no criteria: each is met, or its details say what stands in the way."""

from __future__ import annotations

from collections.abc import Sequence

from harness.errors import GateError
from harness.metrics.measurement import Measurement, criterion
from harness.verify.fidelity import GraphFidelity


def graph_matches_source(found: GraphFidelity) -> Measurement:
    """Whether the variant's graph is the source, rounded, and nothing more."""
    try:
        found.require()
    except GateError as error:
        return criterion("graph_matches_source", is_met=False, details=str(error))
    return criterion("graph_matches_source", is_met=True)


def without_differences(name: str, differences: Sequence[str], most: int = 3) -> Measurement:
    """A criterion that is met where nothing differs; the first differences are its details."""
    return criterion(name, is_met=not differences, details="\n".join(differences[:most]))
