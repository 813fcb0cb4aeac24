"""What a measurement hands to the record and to the checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.metrics.catalogue import metric_named
from harness.stats.estimate import Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """Estimates by metric name, with what stands behind each.

    Raises:
        UnknownMetricError: a name is not in the catalogue.
    """

    estimates: Mapping[str, Estimate]
    """Of each metric that was measured, or that could not be: then the estimate is missing."""

    details: Mapping[str, str] = field(default_factory=dict)
    """Counts, the worst examples, the first difference: what a check shows beside its numbers."""

    more: Mapping[str, str] = field(default_factory=dict)
    """How many observations of a metric there could have been, and how to get them."""

    of_kinds: Mapping[str, Measurement] = field(default_factory=dict)
    """The same of the cases of each kind, for metrics that are measured by kind."""

    cut: frozenset[str] = frozenset()
    """Metrics that are known of a part of what was to be measured, because time ran out: their interval decides."""

    def __post_init__(self) -> None:
        for name in (*self.estimates, *self.details, *self.more, *self.cut):
            metric_named(name)

    def of(self, kind: str | None) -> Measurement:
        """What was measured of the cases of one kind, or of all."""
        return self if kind is None else self.of_kinds.get(kind, _NOTHING)

    def estimate(self, name: str, kind: str | None = None) -> Estimate:
        """The estimate of one metric, of all cases or of one kind; missing where it was not measured.

        Raises:
            UnknownMetricError: the catalogue has no such metric.
        """
        metric_named(name)
        return self.of(kind).estimates.get(name, Estimate.missing())


_NOTHING = Measurement(estimates={})


def criterion(name: str, *, is_met: bool, details: str = "") -> Measurement:
    """The measurement of one yes/no criterion."""
    return Measurement(estimates={name: Estimate.exact(float(is_met))}, details={name: details} if details else {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A measurement with all that the record keeps of it."""

    measurement: Measurement
    samples: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    """Raw samples by the name of their file: dataclasses, or what JSON can hold."""

    details: Mapping[str, Any] = field(default_factory=dict)
    """What is more than a number, by name: a table, facts of the deployment; made of JSON types."""

    latency: Mapping[int, Mapping[str, Estimate]] = field(default_factory=dict)
    """Latency metrics by prompt length in tokens."""

    of_source: Mapping[str, Estimate] = field(default_factory=dict)
    """What the same work tells of the source model, by metric name."""
