"""What happened in a run, one line per event, appended as it happens: nothing measured is lost by a crash."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

SOURCE = "source"
"""The pseudo-variant under which events of the source model stand."""


class EventLog:
    """Appends events of one process to `RUN/events/<writer>.jsonl`; several processes share a run folder."""

    def __init__(self, run_folder: Path, writer: str) -> None:
        self._file = run_folder / "events" / f"{writer}.jsonl"

    def append(self, event: Mapping[str, Any]) -> None:
        """Write one event; it is on the disk when this returns."""
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
