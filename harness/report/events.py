"""What happened in a run, one line per event, appended as it happens: nothing measured is lost by a crash."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness.checks.check import CheckResult


class EventLog:
    """Appends events of one process to `RUN/events/<writer>.jsonl`; several processes share a run folder."""

    def __init__(self, run_folder: Path, writer: str) -> None:
        self.run_folder = run_folder
        self._file = run_folder / "events" / f"{writer}.jsonl"

    def metrics(self, variant: str, values: dict[str, float | None]) -> None:
        """Numbers of a variant by metric name."""
        self._append({"event": "metrics", "variant": variant, "values": values})

    def details(self, variant: str, name: str, value: Any) -> None:
        """Evidence that is more than a number: a table by prompt length, facts of the graph."""
        self._append({"event": "details", "variant": variant, "name": name, "value": value})

    def latency(self, variant: str, prompt_tokens: int, values: dict[str, float | None]) -> None:
        """Latency metrics at one prompt length."""
        self._append({"event": "latency", "variant": variant, "prompt_tokens": prompt_tokens, "values": values})

    def check(self, result: CheckResult) -> None:
        """A judgement."""
        self._append(
            {
                "event": "check",
                "variant": result.variant,
                "metric": result.metric,
                "value": result.value,
                "limit": result.limit.model_dump(exclude_none=True),
                "outcome": result.outcome.value,
                "evidence": result.evidence,
            }
        )

    def problem(self, variant: str, test: str, message: str) -> None:
        """A test that failed or could not run."""
        self._append({"event": "problem", "variant": variant, "test": test, "message": message})

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


def _plain(row: Any) -> Any:
    return asdict(row) if hasattr(row, "__dataclass_fields__") else row
