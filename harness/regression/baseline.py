"""A stored run that later ones are held against: what it measured, on which machine, and what was accepted since."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, ValidationError

from harness.config.diagnosis import did_you_mean
from harness.config.limits import Limit
from harness.config.regression_limits import REGRESSION_LIMITS
from harness.config.settings import GateConfig
from harness.errors import ConfigError
from harness.machine.fingerprint import Fingerprint, fingerprint
from harness.metrics.catalogue import METRICS, Group, metric_named
from harness.report.jsonline import reading_error, to_json
from harness.report.record import RunRecord
from harness.report.samples import ANSWERS, read_samples
from harness.stats.estimate import Estimate
from harness.system.store import write_atomically

FILE: Final = "baseline.json"
SCHEMA: Final = 1


class _Stored(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Acceptance(_Stored):
    """A regression that somebody took, and why."""

    metric: str
    limit: float
    """What the metric may be from then on, against this baseline."""

    reason: str
    accepted_at: datetime
    """UTC."""


class BaselineVariant(_Stored):
    """What is kept of one variant."""

    digest: str | None
    """Of its artifact, which is kept under that name in the cache; None where the run did not say."""

    metrics: dict[str, Estimate]
    right: dict[str, bool]
    """Case id -> whether the answer was right; empty where no cases were asked."""


class Baseline(_Stored):
    """`baseline.json`."""

    schema_version: int = SCHEMA
    run_id: str
    saved_at: datetime
    """UTC."""

    pack_digest: str | None
    fingerprint: dict[str, Any]
    variants: dict[str, BaselineVariant]
    accepted: tuple[Acceptance, ...] = ()

    @property
    def machine(self) -> Fingerprint:
        """Where it was measured."""
        return Fingerprint.from_dict(self.fingerprint)

    def widened(self, limits: Mapping[str, Limit]) -> dict[str, Limit]:
        """Of the limits those that an accepted regression widens; the reason is then its own."""
        found: dict[str, Limit] = {}
        for one in self.accepted:
            limit = found.get(one.metric) or limits.get(one.metric)
            if limit is not None and one.limit > limit.edge:
                reason = f"accepted on {one.accepted_at:%Y-%m-%d}: {one.reason}"
                found[one.metric] = limit.model_copy(update={"max": one.limit, "reason": reason})
        return found

    def accept(self, metric: str, limit: float, reason: str) -> Baseline:
        """The same, with a regression accepted.

        Raises:
            ConfigError: the metric is none that is held against a baseline, or the reason says nothing.
        """
        if metric_named(metric).group is not Group.REGRESSION:
            names = [name for name, one in METRICS.items() if one.group is Group.REGRESSION]
            raise ConfigError(
                f"{metric} is not held against a baseline{did_you_mean(metric, names)}",
                where="--metric",
                next_step=f"name one of {', '.join(names)}",
            )
        if len(reason.split()) < 2:
            raise ConfigError("the reason says nothing", where="--reason", next_step="say why in a few words")
        one = Acceptance(metric=metric, limit=limit, reason=reason, accepted_at=datetime.now(UTC))
        return self.model_copy(update={"accepted": (*self.accepted, one)})


def baseline_of(record: RunRecord, run_folder: Path) -> Baseline:
    """What is kept of a run, with this machine's fingerprint."""
    return Baseline(
        run_id=record.run_id,
        saved_at=datetime.now(UTC),
        pack_digest=record.domain.digest,
        fingerprint=fingerprint().as_dict(),
        variants={
            name: BaselineVariant(
                digest=variant.details.conversion.digest if variant.details.conversion else None,
                metrics={metric: found for metric, found in variant.metrics.items() if not found.is_missing},
                right=right_answers(run_folder, name),
            )
            for name, variant in record.variants.items()
        },
    )


def right_answers(run_folder: Path, variant: str) -> dict[str, bool]:
    """Case id -> whether the answer was right, of a run's samples; empty where it asked none."""
    if not (run_folder / "samples" / variant / f"{ANSWERS.name}.jsonl").exists():
        return {}
    return {answer.case_id: answer.is_exact for answer in read_samples(run_folder, variant, ANSWERS)}


def save_baseline(baseline: Baseline, folder: Path) -> None:
    """Write it as a whole."""
    write_atomically(folder / FILE, to_json(baseline, indent=1) + "\n")


def load_baseline(folder: Path) -> Baseline:
    """Read a baseline.

    Raises:
        ConfigError: there is none, it is of a newer version, or it is something else.
    """
    file = folder / FILE
    try:
        plain = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        there = sorted(one.parent.name for one in folder.parent.glob(f"*/{FILE}"))
        raise ConfigError(
            f"no baseline is here{did_you_mean(folder.name, there)}",
            where=str(file),
            next_step=f"there are {', '.join(there)}" if there else "save one with --save-baseline NAME",
        ) from error
    except ValueError as error:
        raise _unreadable(file, error) from error
    version = plain.get("schema_version") if isinstance(plain, dict) else None
    if isinstance(version, int) and version > SCHEMA:
        raise ConfigError(f"the baseline is of a newer version ({version})", where=str(file), next_step="update")
    try:
        found = Baseline.model_validate(plain)
        found.machine  # noqa: B018 (a fingerprint of another shape is told here)
    except (ValidationError, TypeError) as error:
        raise _unreadable(file, error) from error
    return found


def require_variants(baseline: Baseline, names: Iterable[str], folder: Path) -> Baseline:
    """The baseline, if it has all these variants.

    Raises:
        ConfigError: it lacks one.
    """
    lacking = [name for name in names if name not in baseline.variants]
    if lacking:
        raise ConfigError(
            f"the baseline has no {', '.join(lacking)}",
            where=str(folder / FILE),
            next_step=f"say --variants {','.join(baseline.variants)}, or save a baseline anew",
        )
    return baseline


def new_baseline_folder(name: str, results: Path) -> Path:
    """Where a run is kept under a name.

    Raises:
        ConfigError: the name would lead elsewhere.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise ConfigError(
            f"{name!r} is no name for a baseline",
            where="--save-baseline",
            next_step="use letters, digits, '.', '_', '-'",
        )
    return results / "baselines" / name


def with_accepted(settings: GateConfig, baseline: Baseline) -> GateConfig:
    """The configuration with its limits widened by what was accepted; a variant's own limits stay as they are."""
    widened = baseline.widened({**REGRESSION_LIMITS, **settings.limits})
    return settings.model_copy(update={"limits": {**settings.limits, **widened}})


def _unreadable(file: Path, error: Exception) -> ConfigError:
    return ConfigError(
        f"not a baseline: {reading_error(error)}", where=str(file), next_step="save it anew with --save-baseline NAME"
    )


def baseline_folder(named: str, results: Path, here: Path) -> Path:
    """Where a baseline is: a folder if it holds one, or the one of that name below results/baselines/."""
    given = here / Path(named).expanduser()
    return given if (given / FILE).is_file() else results / "baselines" / named
