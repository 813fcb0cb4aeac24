"""What of a measurement is judged, by which limits, on a given domain pack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.checks.check import Check
from harness.config.diagnosis import did_you_mean, toml_line
from harness.config.limits import Limit
from harness.config.settings import GateConfig
from harness.errors import ConfigError
from harness.measure.applicable import kinds_of, not_asked
from harness.metrics.catalogue import metric_named
from harness.metrics.measurement import Measurement
from harness.pack.schema import DomainPack
from harness.system.text_files import read_text


def applicable(limits: Mapping[str, Limit], pack: DomainPack) -> dict[str, Limit]:
    """The limits that a variant must be judged by; without defaults, and those on what the pack does not ask for."""
    absent = not_asked(pack)
    return {metric: limit for metric, limit in limits.items() if metric not in absent and not limit.is_default}


def _limit(limit: Limit, kind: str | None, *, is_cut: bool) -> Limit:
    """The limit on all cases or on a kind; held against the worse end of the interval where not all was measured."""
    own = limit if kind is None else limit.of_kind(kind)
    return own.model_copy(update={"judge": "bound"}) if is_cut else own


def checks_of(
    variant: str, measurement: Measurement, metrics: Sequence[str], limits: Mapping[str, Limit], pack: DomainPack
) -> list[Check]:
    """A check for each of the metrics that has a limit.

    A metric that is missing because the pack does not ask for it, or that has a default limit only, has none; any other
    missing one has, and fails. A kind of cases that has a limit of its own has a check of its own.

    Raises:
        UnknownMetricError: the catalogue has no such metric.
    """
    required = applicable(limits, pack)
    return [
        Check(
            variant=variant,
            metric=metric,
            kind=kind,
            estimate=measurement.estimate(metric, kind),
            limit=_limit(limits[metric], kind, is_cut=metric in measurement.cut),
            details=measurement.of(kind).details.get(metric, ""),
            more=measurement.of(kind).more.get(metric, ""),
        )
        for metric in metrics
        if metric_named(metric).name in limits  # without one, the number only stands in the record
        and (metric in required or measurement.estimate(metric).value is not None)
        for kind in (None, *limits[metric].kinds)
    ]


def require_known_kinds(config: GateConfig, pack: DomainPack, file: Path) -> None:
    """Check that the pack has cases of every kind that has a limit of its own.

    Args:
        config: with the limits.
        pack: the questions.
        file: where the limits stand, for the message.

    Raises:
        ConfigError: a limit is on a kind that no case which counts is of; the message has the kinds of the pack.
    """
    for location, limits in config.limit_tables():
        for metric, limit in limits.items():
            known = kinds_of(metric, pack)
            for kind in limit.kinds:
                if kind not in known:
                    field = (*location, metric, "kinds", kind)
                    raise ConfigError(
                        f"{'.'.join(field)}: {metric} counts no case of this kind{did_you_mean(kind, known)}",
                        where=f"{file}, line {toml_line(read_text(file, ConfigError), field)}",
                        next_step=f"it counts the kinds {', '.join(known) or 'of no case'} of {pack.folder}",
                    )
