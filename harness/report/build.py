"""Derives the record of a run from its events: of one that ended, and of one that was interrupted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from harness.checks.check import Outcome
from harness.checks.verdict import ExitStatus, Verdict, exit_status, recommend, verdict_of
from harness.config.limits import checked_names
from harness.config.settings import GateConfig
from harness.errors import GateError
from harness.report.details import TOLD_IN_PARTS, details_of
from harness.report.events import (
    SOURCE,
    CheckEvent,
    DetailsEvent,
    LatencyEvent,
    MetricsEvent,
    OfVariant,
    ProblemEvent,
    RunEvent,
    SkippedEvent,
    StartedEvent,
    WrittenEvent,
    read_events,
)
from harness.report.record import CheckRecord, ProblemRecord, RunRecord, VariantRecord, load_record
from harness.stats.estimate import Estimate


def read_run(run_folder: Path) -> RunRecord:
    """The record of a run: its `run.json`, or what its events tell where the run did not come to its end.

    Raises:
        GateError: there is neither, or they are of a version that cannot be read.
    """
    is_interrupted = not (run_folder / "run.json").exists() and any((run_folder / "events").glob("*.jsonl"))
    return build_record(run_folder) if is_interrupted else load_record(run_folder)


def build_record(run_folder: Path) -> RunRecord:
    """Derive the record from a run's events; a whole run must have judged every limit of every variant.

    Raises:
        GateError: there are no events, or they are of a version that cannot be read.
    """
    written = read_events(run_folder)
    if not written:
        raise GateError("no run here", where=str(run_folder), next_step="give the folder of a run, under results/")
    facts = _facts(one.event for one in written if isinstance(one.event, RunEvent))
    limits, targets = facts.pop("limits", {}), facts.pop("targets", {})
    interrupted = facts.pop("interrupted", None)
    if "duration_s" not in facts:
        interrupted = interrupted or _where_it_ended(written)
    is_whole = facts.get("part") is None
    variants = {name: _variant(name, own, written, is_whole=is_whole) for name, own in limits.items()}
    for name, variant in variants.items():
        variant.target = targets.get(name)
    record = RunRecord(
        run_id=written[0].header.run_id,
        started_at=min(one.event.time for one in written),
        environments={one.header.host: one.header.environment for one in written},
        interrupted=interrupted,
        source=_source(written),
        variants=variants,
        problems=_gathered(written, None, ProblemEvent),
        skipped=_gathered(written, None, SkippedEvent),
        **facts,
    )
    if is_whole and not interrupted and not record.skipped:
        record.recommended = recommend(
            {name: variant.verdict for name, variant in variants.items()},
            {name: variant.value("size_bytes") for name, variant in variants.items()},
        )
    return record


def status_of(record: RunRecord) -> ExitStatus:
    """The exit status of the run that a record tells of."""
    if record.unusable is not None:
        return ExitStatus.UNUSABLE_INPUT
    policy = record.config.gate.inconclusive if isinstance(record.config, GateConfig) else "red"
    verdicts = [variant.verdict for variant in record.variants.values() if _was_asked_for(variant, record)]
    if record.interrupted or record.skipped:
        verdicts.append(Verdict.INCOMPLETE)
    return exit_status(verdicts, [problem.message for problem in record.problems], policy)


def _was_asked_for(variant: VariantRecord, record: RunRecord) -> bool:
    """Whether a variant counts: in a part of the gate only those of which something was to run."""
    return record.part is None or bool(variant.checks or variant.problems or variant.skipped)


def _facts(events: Iterable[RunEvent]) -> dict[str, Any]:
    """The last thing that was told of each."""
    told: dict[str, Any] = {}
    for event in events:
        for name in RunEvent.model_fields:
            value = getattr(event, name)
            if value is not None and name not in ("event", "time"):
                told[name] = value
    return told


def _where_it_ended(written: Iterable[WrittenEvent]) -> str:
    """What each process began last."""
    last = {one.header.writer: one.event.test for one in written if isinstance(one.event, StartedEvent)}
    place = f"the last test that began is {', '.join(last.values())}" if last else "no test began"
    return f"the run did not come to its end; {place}"


def _source(written: Iterable[WrittenEvent]) -> dict[str, Estimate]:
    found: dict[str, Estimate] = {}
    for one in written:
        if isinstance(one.event, MetricsEvent) and one.event.variant == SOURCE:
            found.update(one.event.estimates)
    return found


def _variant(name: str, limits: Mapping[str, Any], written: Iterable[WrittenEvent], *, is_whole: bool) -> VariantRecord:
    own = [one for one in written if not isinstance(one.event, RunEvent) and one.event.variant == name]
    variant = VariantRecord(
        limits=dict(limits),
        problems=_gathered(own, name, ProblemEvent),
        skipped=_gathered(own, name, SkippedEvent),
    )
    if own:
        variant.host = own[0].header.host
        variant.started_at, variant.ended_at = own[0].event.time, own[-1].event.time
    details: dict[str, object] = {}
    for one in own:
        assert not isinstance(one.event, RunEvent)
        _add(variant, details, one.event)
    variant.details = details_of(details)
    variant.verdict = _verdict(variant, is_whole=is_whole)
    return variant


def _add(variant: VariantRecord, details: dict[str, object], event: OfVariant) -> None:
    if isinstance(event, MetricsEvent):
        variant.metrics.update(event.estimates)
    elif isinstance(event, LatencyEvent):
        variant.latency_by_prompt_tokens[event.prompt_tokens] = event.estimates
    elif isinstance(event, DetailsEvent):
        known = details.get(event.name)
        is_part = event.name in TOLD_IN_PARTS and isinstance(known, dict)
        details[event.name] = {**known, **event.value} if is_part else event.value  # type: ignore[dict-item]
    elif isinstance(event, CheckEvent):
        variant.checks.append(
            CheckRecord(
                metric=event.metric,
                estimate=event.estimate,
                limit=event.limit,
                outcome=event.outcome,
                details=event.details,
                kind=event.kind,
                more=event.more,
            )
        )


def _gathered(
    written: Iterable[WrittenEvent], variant: str | None, kind: type[ProblemEvent] | type[SkippedEvent]
) -> list[ProblemRecord]:
    """Messages with all tests that they are about."""
    tests: dict[str, list[str]] = {}
    for one in written:
        if isinstance(one.event, kind) and one.event.variant == variant:
            tests.setdefault(one.event.message, []).append(one.event.test)
    return [ProblemRecord(message=message, tests=list(dict.fromkeys(names))) for message, names in tests.items()]


_WORST_FIRST: Final = (Outcome.FAIL, Outcome.NO_DATA, Outcome.INCONCLUSIVE, Outcome.PASS)


def _verdict(variant: VariantRecord, *, is_whole: bool) -> Verdict:
    """By the worst outcome of each metric: one that is judged twice must pass twice."""
    outcomes: dict[str, Outcome] = {}
    for check in variant.checks:
        known = outcomes.get(check.name, check.outcome)
        outcomes[check.name] = min(known, check.outcome, key=_WORST_FIRST.index)
    required = set(checked_names(variant.limits)) if is_whole else set()
    verdict = verdict_of(outcomes, required, [problem.message for problem in variant.problems])
    is_undecided = verdict in (Verdict.PASS, Verdict.INCONCLUSIVE)
    return Verdict.INCOMPLETE if variant.skipped and is_undecided else verdict
