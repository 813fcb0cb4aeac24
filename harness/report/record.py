"""`run.json`: the record of a run, derived from its events, readable without the gate."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from harness.checks.check import Check, Outcome
from harness.checks.verdict import ExitStatus, Verdict, exit_status, recommend, verdict_of
from harness.config.limits import Limit
from harness.errors import GateError
from harness.report.events import SOURCE, read_events
from harness.stats.estimate import Estimate
from harness.system.store import write_atomically

SCHEMA_VERSION = 2
"""1: first version. 2: estimates instead of bare numbers, limits and configuration of the run, its scope."""


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", ser_json_inf_nan="strings")


class CheckRecord(_Record):
    """A judgement as it was made."""

    metric: str
    estimate: Estimate
    limit: Limit
    outcome: Outcome
    details: str = ""

    def as_check(self, variant: str) -> Check:
        """The check itself, which explains its outcome."""
        return Check(
            variant=variant, metric=self.metric, estimate=self.estimate, limit=self.limit, details=self.details
        )


class ProblemRecord(_Record):
    """What made tests fail outside of a limit, or kept them from running."""

    message: str
    tests: list[str]
    """All that it stopped: one broken fixture stops every test that needs it."""


class VariantRecord(_Record):
    """Everything about one variant."""

    metrics: dict[str, Estimate] = {}
    """By metric name, SI units, the unit in the name."""

    limits: dict[str, Limit] = {}
    """What it was, or had to be, judged by."""

    details: dict[str, Any] = {}
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
        """Metrics that have a limit and were not judged."""
        judged = {check.metric for check in self.checks}
        return [metric for metric in self.limits if metric not in judged]


class RunRecord(_Record):
    """A run of the gate."""

    schema_version: int = SCHEMA_VERSION
    run_id: str
    started_at: str
    """ISO 8601, UTC."""

    duration_s: float | None = None
    environment: dict[str, Any] = {}
    model: dict[str, Any] = {}
    domain: dict[str, Any] = {}
    config: dict[str, Any] = {}
    """The effective configuration: gate.toml with what the command line replaced."""

    part: str | None = None
    """What of the suites was asked for (`-k`, paths); None for all of them."""

    unusable: str | None = None
    """Why nothing could be gated: the model or another input cannot be used; None where something was."""

    problems: list[ProblemRecord] = []
    """What went wrong outside of any variant."""

    source: dict[str, Estimate] = {}
    """Metrics of the source model itself, where they were measured."""

    variants: dict[str, VariantRecord] = {}
    recommended: str | None = None
    """The smallest variant that passes; None when none does."""


def build_record(run_folder: Path, limits: Mapping[str, Mapping[str, Limit]], *, part: str | None = None) -> RunRecord:
    """Derive the record from a run's events.

    Args:
        run_folder: the folder that holds `events/`.
        limits: of each variant; in a whole run every one of them must have been judged.
        part: what of the suites was asked for; what ran is then all that is judged.
    """
    run: dict[str, Any] = {"run_id": run_folder.name, "started_at": "", "part": part}
    variants = {name: VariantRecord(limits=dict(own)) for name, own in limits.items()}
    source: dict[str, Estimate] = {}
    problems: list[ProblemRecord] = []
    for event in read_events(run_folder):
        if event["event"] == "run":
            run.update({key: value for key, value in event.items() if key != "event"})
        elif event["variant"] is None:
            _add_problem(problems, event["test"], event["message"])
        elif event["variant"] == SOURCE:
            source.update(_estimates(event.get("estimates", {})))
        elif event["variant"] in variants:
            _add(variants[event["variant"]], event)
    for variant in variants.values():
        variant.verdict = _verdict(variant, is_whole=part is None)
    recommended = None
    if part is None:
        verdicts = {name: variant.verdict for name, variant in variants.items()}
        recommended = recommend(verdicts, {name: variant.value("size_bytes") for name, variant in variants.items()})
    return RunRecord(**run, source=source, variants=variants, problems=problems, recommended=recommended)


def _verdict(variant: VariantRecord, *, is_whole: bool) -> Verdict:
    outcomes = {check.metric: check.outcome for check in variant.checks}
    required = set(variant.limits) if is_whole else set()
    verdict = verdict_of(outcomes, required, [problem.message for problem in variant.problems])
    is_undecided = verdict in (Verdict.PASS, Verdict.INCONCLUSIVE)
    return Verdict.INCOMPLETE if variant.skipped and is_undecided else verdict


def status_of(record: RunRecord, inconclusive: Literal["red", "green"] = "red") -> ExitStatus:
    """The exit status of the run that a record tells of."""
    if record.unusable is not None:
        return ExitStatus.UNUSABLE_INPUT
    verdicts = [variant.verdict for variant in record.variants.values()]
    return exit_status(verdicts, [problem.message for problem in record.problems], inconclusive)


def _estimates(plain: Mapping[str, Mapping[str, Any]]) -> dict[str, Estimate]:
    return {name: Estimate(**fields) for name, fields in plain.items()}


def _add(variant: VariantRecord, event: dict[str, Any]) -> None:
    match event["event"]:
        case "metrics":
            variant.metrics.update(_estimates(event["estimates"]))
        case "details":
            variant.details[event["name"]] = event["value"]
        case "latency":
            variant.latency_by_prompt_tokens[event["prompt_tokens"]] = _estimates(event["estimates"])
        case "check":
            fields = {key: event[key] for key in ("metric", "estimate", "limit", "outcome", "details")}
            variant.checks.append(CheckRecord.model_validate(fields))
        case "problem":
            _add_problem(variant.problems, event["test"], event["message"])
        case "skipped":
            _add_problem(variant.skipped, event["test"], event["message"])


def _add_problem(problems: list[ProblemRecord], test: str, message: str) -> None:
    for problem in problems:
        if problem.message == message:
            problem.tests.append(test)
            return
    problems.append(ProblemRecord(message=message, tests=[test]))


def save_record(record: RunRecord, run_folder: Path) -> None:
    """Write `run.json` as a whole."""
    write_atomically(run_folder / "run.json", record.model_dump_json(indent=1) + "\n")


def load_record(run_folder: Path) -> RunRecord:
    """Read a run back.

    Raises:
        GateError: there is no record, or it is of another version.
    """
    file = run_folder / "run.json"
    try:
        plain = json.loads(file.read_text(encoding="utf-8"))
        version = plain.get("schema_version") if isinstance(plain, dict) else None
        if version != SCHEMA_VERSION:
            raise GateError(
                f"a run record of schema_version {version}; this slm-gate reads {SCHEMA_VERSION}",
                where=str(file),
                next_step="use the slm-gate that wrote it" if version else "give a folder under results/",
            )
        return RunRecord.model_validate(plain)
    except OSError as error:
        raise GateError("no run here", where=str(file), next_step="give a folder under results/") from error
    except (ValueError, ValidationError) as error:
        raise GateError(f"not a run record: {str(error).splitlines()[0]}", where=str(file)) from error


def point_latest(results: Path, run_id: str) -> None:
    """Let `results/latest` lead to the newest run: a symbolic link, or a file with its name where links are refused."""
    latest, aside = results / "latest", results / f".latest-{run_id}"
    try:
        aside.symlink_to(run_id, target_is_directory=True)
    except OSError:  # Windows without developer mode
        aside.write_text(run_id, encoding="utf-8")
    aside.replace(latest)
