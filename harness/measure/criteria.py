"""Yes/no criteria: each is met, or its details say what stands in the way."""

from __future__ import annotations

from collections.abc import Sequence

from harness.metrics.measurement import Measurement, criterion


def without_differences(name: str, differences: Sequence[str], most: int = 3) -> Measurement:
    """A criterion that is met where nothing differs; the first differences are its details."""
    return criterion(name, is_met=not differences, details="\n".join(differences[:most]))
