"""`run.json`: the record of a run, derived from its events, readable without the gate."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from harness.checks.check import Outcome
from harness.checks.verdict import Verdict, recommend, verdict_of
from harness.config.settings import Limit
from harness.errors import GateError
from harness.report.events import read_events
from harness.system.store import write_atomically

SCHEMA_VERSION = 1
"""1: first version."""


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid")


class CheckRecord(_Record):
    """A judgement as it was made."""

    metric: str
    value: float | None
    limit: Limit
    outcome: Outcome
    evidence: str = ""


class ProblemRecord(_Record):
    """What made tests fail outside of a limit, or kept them from running."""

    message: str
    tests: list[str]
    """All that it stopped: one broken fixture stops every test that needs it."""


class VariantRecord(_Record):
    """Everything about one variant."""

    metrics: dict[str, float | None] = {}
    """By metric name, SI units, the unit in the name."""

    details: dict[str, Any] = {}
    """Evidence that is more than a number."""

    latency_by_prompt_tokens: dict[int, dict[str, float | None]] = {}
    """The latency metrics at every prompt length that was timed."""

    checks: list[CheckRecord] = []
    problems: list[ProblemRecord] = []
    verdict: Verdict = Verdict.INCOMPLETE


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
    source: dict[str, float | None] = {}
    """Metrics of the source model itself, where they were measured."""

    variants: dict[str, VariantRecord] = {}
    recommended: str | None = None
    """The smallest variant that passes; None when none does."""


SOURCE = "source"
"""The pseudo-variant under which events of the source model stand."""


def build_record(run_folder: Path, required: Mapping[str, Mapping[str, Limit]]) -> RunRecord:
    """Derive the record from a run's events; `required` maps each variant to its limits."""
    run: dict[str, Any] = {"run_id": run_folder.name, "started_at": ""}
    variants = {name: VariantRecord() for name in required}
    source: dict[str, float | None] = {}
    for event in read_events(run_folder):
        if event["event"] == "run":
            run.update({key: value for key, value in event.items() if key != "event"})
        elif event["variant"] == SOURCE:
            source.update(event.get("values", {}))
        elif event["variant"] in variants:
            _add(variants[event["variant"]], event)
    for name, variant in variants.items():
        outcomes = {check.metric: check.outcome for check in variant.checks}
        variant.verdict = verdict_of(outcomes, set(required[name]), [p.message for p in variant.problems])
    recommended = recommend(
        {name: variant.verdict for name, variant in variants.items()},
        {name: variant.metrics.get("size_bytes") for name, variant in variants.items()},
    )
    return RunRecord(**run, source=source, variants=variants, recommended=recommended)


def _add(variant: VariantRecord, event: dict[str, Any]) -> None:
    match event["event"]:
        case "metrics":
            variant.metrics.update(event["values"])
        case "details":
            variant.details[event["name"]] = event["value"]
        case "latency":
            variant.latency_by_prompt_tokens[event["prompt_tokens"]] = event["values"]
        case "check":
            fields = {key: event[key] for key in ("metric", "value", "limit", "outcome", "evidence")}
            variant.checks.append(CheckRecord.model_validate(fields))
        case "problem":
            _add_problem(variant, event["test"], event["message"])


def _add_problem(variant: VariantRecord, test: str, message: str) -> None:
    for problem in variant.problems:
        if problem.message == message:
            problem.tests.append(test)
            return
    variant.problems.append(ProblemRecord(message=message, tests=[test]))


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
        return RunRecord.model_validate(json.loads(file.read_text(encoding="utf-8")))
    except OSError as error:
        raise GateError("no run here", where=str(file), next_step="give a folder under results/") from error
    except (ValueError, ValidationError) as error:
        raise GateError(
            f"not a run record of schema_version {SCHEMA_VERSION}: {str(error).splitlines()[0]}", where=str(file)
        ) from error


def point_latest(results: Path, run_id: str) -> None:
    """Let `results/latest` lead to the newest run: a symbolic link, or a file with its name where links are refused."""
    latest, aside = results / "latest", results / f".latest-{run_id}"
    try:
        aside.symlink_to(run_id, target_is_directory=True)
    except OSError:  # Windows without developer mode
        aside.write_text(run_id, encoding="utf-8")
    aside.replace(latest)
