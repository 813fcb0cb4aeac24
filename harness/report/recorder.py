"""Writes what a run measures and judges, at once and in whole: events, and raw samples beside them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from harness.checks.check import Check
from harness.metrics.measurement import Measured, Measurement
from harness.report.events import SOURCE, EventLog
from harness.stats.estimate import Estimate


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
            self._log.append({"event": "metrics", "variant": variant, "estimates": _plain_estimates(estimates)})

    def details(self, variant: str, name: str, value: Any) -> None:
        """Keep what is more than a number; the same name again replaces it."""
        self._log.append({"event": "details", "variant": variant, "name": name, "value": _plain(value)})

    def latency(self, variant: str, prompt_tokens: int, estimates: Mapping[str, Estimate]) -> None:
        """Keep latency metrics at one prompt length."""
        plain = _plain_estimates(estimates)
        self._log.append({"event": "latency", "variant": variant, "prompt_tokens": prompt_tokens, "estimates": plain})

    def check(self, check: Check) -> None:
        """Keep a judgement."""
        self._log.append(
            {
                "event": "check",
                "variant": check.variant,
                "metric": check.metric,
                "estimate": asdict(check.estimate),
                "limit": check.limit.model_dump(exclude_none=True),
                "outcome": check.outcome.value,
                "details": check.details,
            }
        )

    def problem(self, variant: str | None, test: str, message: str) -> None:
        """Keep that a test failed or could not run outside of a check; `variant` is None for one of the whole run."""
        self._log.append({"event": "problem", "variant": variant, "test": test, "message": message})

    def skipped(self, variant: str | None, test: str, reason: str) -> None:
        """Keep that a test was asked for and did not run."""
        self._log.append({"event": "skipped", "variant": variant, "test": test, "message": reason})

    def run(self, **facts: Any) -> None:
        """Keep facts about the whole run."""
        self._log.append({"event": "run", **facts})

    def samples(self, variant: str, name: str, rows: Sequence[Any]) -> None:
        """Keep raw samples, one JSON line each, in `RUN/samples/<variant>/<name>.jsonl`."""
        file = self.run_folder / "samples" / variant / f"{name}.jsonl"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(json.dumps(_plain(row)) + "\n" for row in rows), encoding="utf-8")


def _plain_estimates(estimates: Mapping[str, Estimate]) -> dict[str, Any]:
    return {name: asdict(estimate) for name, estimate in estimates.items()}


def _plain(value: Any) -> Any:
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
