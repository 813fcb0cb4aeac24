"""`run.json`: the record of a run, derived from its events, readable without the gate."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict

from harness.checks.check import Check, Outcome
from harness.checks.verdict import Verdict
from harness.config.limits import Limit, checked_names, name_of
from harness.errors import GateError
from harness.metrics.catalogue import METRICS
from harness.report.details import TargetDetails, VariantDetails, details_of
from harness.report.environment import Environment
from harness.report.events import Config, DomainFacts, FileFacts, ModelFacts
from harness.report.jsonline import reading_error, to_json
from harness.report.migrations import SCHEMA_VERSION, migrate
from harness.stats.estimate import Estimate
from harness.system.store import write_atomically


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid")


class CheckRecord(_Record):
    """A judgement as it was made."""

    metric: str
    estimate: Estimate
    limit: Limit
    outcome: Outcome
    details: str = ""
    kind: str | None = None
    """The kind of cases that it is about; None for all of them."""

    more: str = ""
    """How many observations there could be, and how to get them; empty in older records."""

    @property
    def name(self) -> str:
        """The metric, with the kind in brackets where it is about one."""
        return name_of(self.metric, self.kind)

    @property
    def is_criterion(self) -> bool:
        """Whether a yes/no criterion was judged."""
        return self.metric in METRICS and METRICS[self.metric].is_criterion

    @property
    def cause(self) -> str:
        """Why there is no data, as the estimate says it."""
        return "not a number" if self.estimate.value is not None else self.estimate.method

    def headline(self, variant: str) -> str:
        """One line that says what was judged and how it came out, with what would decide where nothing did."""
        if self.metric not in METRICS:  # of another version
            sign = "at least" if self.limit.min is not None else "at most"
            said = f"{variant}: {self.name} = {self.estimate.value}, must be {sign} {self.limit.edge:g}"
            return said if self.outcome is not Outcome.INCONCLUSIVE else f"{said}: inconclusive"
        check = Check(
            variant=variant,
            metric=self.metric,
            kind=self.kind,
            estimate=self.estimate,
            limit=self.limit,
            details=self.details,
            more=self.more,
        )
        decide = check.what_would_decide
        wanted = [f"{decide}, would decide", self.more] if decide else []
        return "; ".join(filter(None, [check.headline, *wanted]))


class ProblemRecord(_Record):
    """What made tests fail outside of a limit, or kept them from running."""

    message: str
    tests: list[str]
    """All that it stopped: one broken fixture stops every test that needs it."""


def _readable(found: object) -> object:
    return details_of(found) if isinstance(found, Mapping) else found


class VariantRecord(_Record):
    """Everything about one variant."""

    target: TargetDetails | None = None
    """What it ran on; None in the oldest records."""

    host: str | None = None
    """Whose environment is the one in `RunRecord.environments`; None for a variant that no test came to."""

    started_at: datetime | None = None
    """When its first test began, UTC."""

    ended_at: datetime | None = None
    """When its last event was written, UTC."""

    metrics: dict[str, Estimate] = {}
    """By metric name, SI units, the unit in the name."""

    limits: dict[str, Limit] = {}
    """What it was, or had to be, judged by."""

    details: Annotated[VariantDetails, BeforeValidator(_readable)] = VariantDetails()
    """What is more than a number."""

    latency_by_prompt_tokens: dict[int, dict[str, Estimate]] = {}
    """The latency metrics at every prompt length that was timed."""

    checks: list[CheckRecord] = []
    problems: list[ProblemRecord] = []
    skipped: list[ProblemRecord] = []
    """Tests that were asked for and did not run, by reason."""

    verdict: Verdict = Verdict.INCOMPLETE

    def value(self, metric: str) -> float | None:
        """The value of a metric; None where it was not measured."""
        found = self.metrics.get(metric)
        return found.value if found else None

    @property
    def unjudged(self) -> list[str]:
        """Metrics that have a limit and were not judged, and kinds of them that have their own."""
        judged = {check.name for check in self.checks}
        return [name for name in checked_names(self.limits) if name not in judged]


class RunRecord(_Record):
    """A run of the gate."""

    schema_version: int = SCHEMA_VERSION
    run_id: str
    started_at: datetime
    """UTC."""

    duration_s: float | None = None
    """None for a run that did not come to its end."""

    interrupted: str | None = None
    """Why it did not come to its end; None where it did."""

    environments: dict[str, Environment] = {}
    """By host."""

    model: ModelFacts = ModelFacts()
    domain: DomainFacts = DomainFacts()
    config: Config | None = None
    """The effective configuration: gate.toml with what the command line replaced; None in the oldest records."""

    config_file: FileFacts | None = None
    """The gate.toml that it was read from."""

    plan: str | None = None
    """How much of the pack was asked; None in older records, which asked all."""

    part: str | None = None
    """What of the suites was asked for (`-k`, paths); None for all of them."""

    unusable: str | None = None
    """Why nothing could be gated: the model or another input cannot be used; None where something was."""

    problems: list[ProblemRecord] = []
    """What went wrong outside of any variant."""

    skipped: list[ProblemRecord] = []
    """Tests outside of any variant that were asked for and did not run."""

    source: dict[str, Estimate] = {}
    """Metrics of the source model itself, where they were measured."""

    variants: dict[str, VariantRecord] = {}
    recommended: str | None = None
    """The smallest variant that passes; None when none does, or when not all was judged."""


def save_record(record: RunRecord, run_folder: Path) -> None:
    """Write `run.json` as a whole."""
    write_atomically(run_folder / "run.json", to_json(record, indent=1) + "\n")


def load_record(run_folder: Path) -> RunRecord:
    """Read a run's `run.json`, of this version or an earlier one.

    Raises:
        GateError: there is no record, it is of a newer version, or it is something else.
    """
    file = run_folder / "run.json"
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise GateError("no run here", where=str(file), next_step="give a folder under results/") from error
    try:
        return RunRecord.model_validate(migrate(_object(text), str(file)))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise GateError(f"not a run record: {reading_error(error)}", where=str(file), next_step=_GIVE) from error


_GIVE = "give the folder of a run, under results/"


def _object(text: str) -> dict[str, Any]:
    plain = json.loads(text)
    return plain if isinstance(plain, dict) else {}


def point_latest(results: Path, run_id: str) -> None:
    """Let `results/latest` lead to the newest run: a symbolic link, or a file with its name where links are refused."""
    latest, staging = results / "latest", results / f".latest-{run_id}"
    try:
        staging.symlink_to(run_id, target_is_directory=True)
    except OSError:  # Windows without developer mode
        staging.write_text(run_id, encoding="utf-8")
    staging.replace(latest)
