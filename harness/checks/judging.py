"""What of a measurement is judged, by which limits, on a given domain pack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.checks.check import Check
from harness.config.limits import Limit
from harness.measure.applicable import not_asked
from harness.metrics.catalogue import metric_named
from harness.metrics.measurement import Measurement
from harness.pack.schema import DomainPack


def applicable(limits: Mapping[str, Limit], pack: DomainPack) -> dict[str, Limit]:
    """The limits that a variant must be judged by; without defaults, and those on what the pack does not ask for."""
    absent = not_asked(pack)
    return {metric: limit for metric, limit in limits.items() if metric not in absent and not limit.is_default}


def checks_of(
    variant: str, measurement: Measurement, metrics: Sequence[str], limits: Mapping[str, Limit], pack: DomainPack
) -> list[Check]:
    """A check for each of the metrics that has a limit.

    A metric that is missing because the pack does not ask for it, or that has a default limit only, has none; any other
    missing one has, and fails.

    Raises:
        UnknownMetricError: the catalogue has no such metric.
    """
    required = applicable(limits, pack)
    return [
        Check(
            variant=variant,
            metric=metric,
            estimate=measurement.estimate(metric),
            limit=limits[metric],
            details=measurement.details.get(metric, ""),
        )
        for metric in metrics
        if metric_named(metric).name in limits  # without one, the number only stands in the record
        and (metric in required or measurement.estimate(metric).value is not None)
    ]
