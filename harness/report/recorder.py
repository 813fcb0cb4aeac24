"""Writes what a run measures and judges, at once and in whole: events, and raw samples beside them."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.checks.check import Check
from harness.errors import ConfigError
from harness.metrics.measurement import Measured, Measurement
from harness.report.details import read_details
from harness.report.events import (
    SOURCE,
    CheckEvent,
    DetailsEvent,
    EventLog,
    LatencyEvent,
    MetricsEvent,
    ProblemEvent,
    RunEvent,
    SkippedEvent,
    StartedEvent,
)
from harness.report.jsonline import plain
from harness.report.samples import write_samples
from harness.stats.estimate import Estimate


def new_run_folder(results: Path) -> Path:
    """Make a folder for a run among the others in `results`, named by when it began.

    Raises:
        ConfigError: nothing can be written there.
    """
    folder = results / f"{datetime.now(UTC):%Y-%m-%dT%H-%M-%SZ}-{secrets.token_hex(4)}"
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise ConfigError(
            f"cannot write results: {error.strerror}", where=str(results), next_step="give --results-dir DIR"
        ) from error
    return folder


class Recorder:
    """The record of one process of a run, as it grows; several processes share a run folder."""

    def __init__(self, run_folder: Path, writer: str) -> None:
        self.run_folder = run_folder
        self._log = EventLog(run_folder, writer)

    def record(self, variant: str, found: Measured) -> Measurement:
        """Keep all that was measured of a variant, and return the measurement to be judged.

        What is recorded again replaces what was there under the same name.
        """
        for name, rows in found.samples.items():  # raw first: an estimate can be derived again
            self.samples(variant, name, rows)
        self.metrics(variant, found.measurement.estimates)
        for name, value in found.details.items():
            self.details(variant, name, value)
        for prompt_tokens, estimates in found.latency.items():
            self.latency(variant, prompt_tokens, estimates)
        self.metrics(SOURCE, found.of_source)
        return found.measurement

    def metrics(self, variant: str, estimates: Mapping[str, Estimate]) -> None:
        """Keep estimates by metric name."""
        if estimates:
            self._log.append(MetricsEvent(variant=variant, estimates=dict(estimates)))

    def latency(self, variant: str, prompt_tokens: int, estimates: Mapping[str, Estimate]) -> None:
        """Keep latency metrics at one prompt length."""
        self._log.append(LatencyEvent(variant=variant, prompt_tokens=prompt_tokens, estimates=dict(estimates)))

    def details(self, variant: str, name: str, value: object) -> None:
        """Keep what is more than a number; the same name again replaces it.

        Raises:
            ValueError: `VariantDetails` has no such field, or the value is not of its shape.
        """
        self._log.append(DetailsEvent(variant=variant, name=name, value=plain(read_details(name, value))))

    def check(self, check: Check) -> None:
        """Keep a judgement."""
        self._log.append(
            CheckEvent(
                variant=check.variant,
                metric=check.metric,
                estimate=check.estimate,
                limit=check.limit,
                outcome=check.outcome,
                details=check.details,
                kind=check.kind,
                more=check.more,
            )
        )

    def started(self, variant: str | None, test: str) -> None:
        """Keep that a test begins; `variant` is None for one of the whole run."""
        self._log.append(StartedEvent(variant=variant, test=test))

    def problem(self, variant: str | None, test: str, message: str) -> None:
        """Keep that a test failed or could not run outside of a check."""
        self._log.append(ProblemEvent(variant=variant, test=test, message=message))

    def skipped(self, variant: str | None, test: str, reason: str) -> None:
        """Keep that a test was asked for and did not run."""
        self._log.append(SkippedEvent(variant=variant, test=test, message=reason))

    def run(self, **facts: Any) -> None:
        """Keep facts about the whole run: the fields of `RunEvent`.

        Raises:
            ValueError: there is no such field, or a value is not of its shape.
        """
        self._log.append(RunEvent(**facts))

    def samples(self, variant: str, name: str, rows: Sequence[Any]) -> None:
        """Keep raw samples, one JSON line each, in `RUN/samples/<variant>/<name>.jsonl`.

        Raises:
            ValueError: no kind of samples has such a name, or a row is not of its type.
        """
        write_samples(self.run_folder, variant, name, rows)
