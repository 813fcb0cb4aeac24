"""What happened in a run, one line per event, appended as it happens: nothing measured is lost by a crash."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness.checks.check import Check
from harness.stats.estimate import Estimate


class EventLog:
    """Appends events of one process to `RUN/events/<writer>.jsonl`; several processes share a run folder."""

    def __init__(self, run_folder: Path, writer: str) -> None:
        self.run_folder = run_folder
        self._file = run_folder / "events" / f"{writer}.jsonl"

    def metrics(self, variant: str, estimates: Mapping[str, Estimate]) -> None:
        """Estimates of a variant by metric name."""
        self._append({"event": "metrics", "variant": variant, "estimates": _plain_estimates(estimates)})

    def details(self, variant: str, name: str, value: Any) -> None:
        """What is more than a number: a table by prompt length, facts of the graph."""
        self._append({"event": "details", "variant": variant, "name": name, "value": value})

    def latency(self, variant: str, prompt_tokens: int, estimates: Mapping[str, Estimate]) -> None:
        """Latency metrics at one prompt length."""
        plain = _plain_estimates(estimates)
        self._append({"event": "latency", "variant": variant, "prompt_tokens": prompt_tokens, "estimates": plain})

    def check(self, check: Check) -> None:
        """A judgement."""
        self._append(
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
        """A test that failed or could not run outside of a check; `variant` is None for one of the whole run."""
        self._append({"event": "problem", "variant": variant, "test": test, "message": message})

    def skipped(self, variant: str | None, test: str, reason: str) -> None:
        """A test that was asked for and did not run."""
        self._append({"event": "skipped", "variant": variant, "test": test, "message": reason})

    def run(self, **facts: Any) -> None:
        """Facts about the whole run."""
        self._append({"event": "run", **facts})

    def samples(self, variant: str, name: str, rows: Sequence[Any]) -> None:
        """Raw samples, one JSON line each, in `RUN/samples/<variant>/<name>.jsonl`."""
        file = self.run_folder / "samples" / variant / f"{name}.jsonl"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(json.dumps(_plain(row)) + "\n" for row in rows), encoding="utf-8")

    def _append(self, event: dict[str, Any]) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(event) + "\n")
            stream.flush()
            os.fsync(stream.fileno())


def read_events(run_folder: Path) -> Iterator[dict[str, Any]]:
    """All events of a run; a last line that was cut by a crash is left out."""
    for file in sorted((run_folder / "events").glob("*.jsonl")):
        for line in file.read_text(encoding="utf-8").splitlines():
            try:
                yield json.loads(line)
            except ValueError:
                continue


def _plain_estimates(estimates: Mapping[str, Estimate]) -> dict[str, Any]:
    return {name: asdict(estimate) for name, estimate in estimates.items()}


def _plain(row: Any) -> Any:
    return asdict(row) if hasattr(row, "__dataclass_fields__") else row
