"""Yes/no criteria: each is met, or its details say what stands in the way."""

from __future__ import annotations

from collections.abc import Sequence

from harness.errors import GateError
from harness.metrics.measurement import Measured, Measurement, criterion
from harness.verify.tokenizer import TokenizerComparison


def tokenizer_matches_source(found: TokenizerComparison) -> Measured:
    """Whether tokenizer.json is the source's and the runtime can use it; what the corpus shows is told either way."""
    told = "\n".join(found.remarks())
    try:
        found.require()
    except GateError as error:
        is_met, told = False, f"{error}\n{told}".strip()
    else:
        is_met = True
    judged = criterion("tokenizer_matches_source", is_met=is_met, details=told)
    return Measured(measurement=judged, details={"tokenizer": found.as_dict()})


def without_differences(name: str, differences: Sequence[str], most: int = 3) -> Measurement:
    """A criterion that is met where nothing differs; the first differences are its details."""
    return criterion(name, is_met=not differences, details="\n".join(differences[:most]))
