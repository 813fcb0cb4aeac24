"""What a measurement hands to the checks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """Numbers by metric name, with what stands behind each."""

    values: Mapping[str, float | None]
    """SI units, named at the ends of the names; None for what could not be measured."""

    evidence: Mapping[str, str] = field(default_factory=dict)
    """Counts, intervals, the worst examples: what a failing check shows."""
