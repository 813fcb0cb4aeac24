"""What happened in a run, one line per event, appended as it happens: nothing measured is lost by a crash.

Each process appends to a file of its own, `RUN/events/<run>.<host>.<writer>.jsonl`, which opens with a `Header`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from harness.checks.check import Outcome
from harness.config.limits import Limit
from harness.config.settings import GateConfig
from harness.errors import GateError
from harness.report.details import TargetDetails
from harness.report.environment import Environment, describe_environment, host_id
from harness.report.jsonline import to_json
from harness.report.migrations import SCHEMA_VERSION, require_known_version
from harness.stats.estimate import Estimate

SOURCE = "source"
"""The pseudo-variant under which events of the source model stand."""


class _Facts(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelFacts(_Facts):
    """The fine-tuned model."""

    spec: str | None = None
    """As it was asked for: a folder or a hub id."""

    architecture: str | None = None
    digest: str | None = None
    """SHA-256 over its files; None where it could not be obtained."""

    remarks: tuple[str, ...] = ()
    """What the user should know of it."""


class DomainFacts(_Facts):
    """The domain pack."""

    name: str | None = None
    digest: str | None = None
    """SHA-256 over its files."""

    reading: tuple[str, ...] = ()
    """How a test split was understood: which column is what."""

    remarks: tuple[str, ...] = ()
    """What the user should know of it."""


class FileFacts(_Facts):
    """A file that shaped the run."""

    path: str
    sha256: str


Config = Annotated[GateConfig | dict[str, Any], Field(union_mode="left_to_right")]
"""A configuration; plain where it is of another version and this one cannot read it."""


class Event(_Facts):
    """One line."""

    time: datetime = Field(default_factory=lambda: datetime.now(UTC))
    """UTC."""


class Header(Event):
    """The first line of a file: who writes, where, under which circumstances."""

    event: Literal["header"] = "header"
    schema_version: int
    run_id: str
    host: str
    """`harness.report.environment.host_id` of the machine."""

    writer: str
    """`main`, or the name of an xdist worker."""

    process_id: int
    environment: Environment


class RunEvent(Event):
    """Facts about the whole run; a later one adds to those before it."""

    event: Literal["run"] = "run"
    config: Config | None = None
    """The effective configuration: gate.toml with what the command line replaced."""

    config_file: FileFacts | None = None
    limits: dict[str, dict[str, Limit]] | None = None
    """All that each variant is judged by."""

    targets: dict[str, TargetDetails] | None = None
    """What each variant runs on."""

    plan: str | None = None
    """How much of the pack is asked."""

    part: str | None = None
    """What of the suites was asked for; None for all of them."""

    model: ModelFacts | None = None
    domain: DomainFacts | None = None
    unusable: str | None = None
    """Why nothing can be gated."""

    interrupted: str | None = None
    """Why the run stopped before its end."""

    duration_s: float | None = None
    """Told when the run ends."""


class StartedEvent(Event):
    """A test begins; `variant` is None for one of the whole run."""

    event: Literal["started"] = "started"
    variant: str | None
    test: str


class MetricsEvent(Event):
    """Estimates by metric name; a later one replaces those of the same name."""

    event: Literal["metrics"] = "metrics"
    variant: str
    estimates: dict[str, Estimate]


class LatencyEvent(Event):
    """Latency metrics at one prompt length."""

    event: Literal["latency"] = "latency"
    variant: str
    prompt_tokens: int
    estimates: dict[str, Estimate]


class DetailsEvent(Event):
    """One field of `harness.report.details.VariantDetails`; a later one replaces it."""

    event: Literal["details"] = "details"
    variant: str
    name: str
    value: Any


class CheckEvent(Event):
    """A judgement."""

    event: Literal["check"] = "check"
    variant: str
    metric: str
    estimate: Estimate
    limit: Limit
    outcome: Outcome
    details: str = ""
    kind: str | None = None
    """The kind of cases that it is about; None for all of them."""

    more: str = ""
    """How many observations there could be, and how to get them."""


class ProblemEvent(Event):
    """A test failed or could not run, outside of a check; `variant` is None for one of the whole run."""

    event: Literal["problem"] = "problem"
    variant: str | None
    test: str
    message: str


class SkippedEvent(Event):
    """A test was asked for and did not run."""

    event: Literal["skipped"] = "skipped"
    variant: str | None
    test: str
    message: str


OfVariant = StartedEvent | MetricsEvent | LatencyEvent | DetailsEvent | CheckEvent | ProblemEvent | SkippedEvent
_EVENT: Final[TypeAdapter[Header | RunEvent | OfVariant]] = TypeAdapter(
    Annotated[Header | RunEvent | OfVariant, Field(discriminator="event")]
)


class EventLog:
    """Appends the events of one process of a run."""

    def __init__(self, run_folder: Path, writer: str) -> None:
        self._run_folder = run_folder
        self._writer = writer
        self._file: Path | None = None

    def append(self, event: RunEvent | OfVariant) -> None:
        """Write one event; it is on the disk when this returns."""
        if self._file is None:
            self._file = self._open()
        _append(self._file, event)

    def _open(self) -> Path:
        host, run_id = host_id(), self._run_folder.name
        file = self._run_folder / "events" / f"{run_id}.{host}.{self._writer}.jsonl"
        file.parent.mkdir(parents=True, exist_ok=True)
        if not file.exists():
            header = Header(
                schema_version=SCHEMA_VERSION,
                run_id=run_id,
                host=host,
                writer=self._writer,
                process_id=os.getpid(),
                environment=describe_environment(),
            )
            _append(file, header)
        return file


def _append(file: Path, event: Event) -> None:
    with file.open("a", encoding="ascii", newline="\n") as stream:
        stream.write(to_json(event) + "\n")
        stream.flush()
        os.fsync(stream.fileno())


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenEvent:
    """An event and the file that it stands in."""

    header: Header
    event: RunEvent | OfVariant


def read_events(run_folder: Path) -> list[WrittenEvent]:
    """All events of a run in the order of their times.

    A last line that was cut by a crash is left out. Another line that cannot be read is a problem of the run: nobody
    knows what it said.

    Raises:
        GateError: the events are of a newer version, or of the first, which has no headers.
    """
    found = [one for file in sorted((run_folder / "events").glob("*.jsonl")) for one in _read_file(file)]
    return sorted(found, key=lambda one: one.event.time)  # stable: lines of one moment keep their order


def _read_file(file: Path) -> Iterator[WrittenEvent]:
    lines = file.read_text(encoding="utf-8", errors="replace").split("\n")
    if len(lines) < 2:
        return  # killed while it wrote its header
    header = _header(lines[0], str(file))
    for number, line in enumerate(lines[1:-1], start=2):  # behind the last line break is what was cut
        try:
            event = _EVENT.validate_python(json.loads(line))
        except ValueError:
            what = f"line {number} cannot be read, so something that was measured or judged is missing"
            event = ProblemEvent(variant=None, test=f"events/{file.name}", message=what, time=header.time)
        if not isinstance(event, Header):
            yield WrittenEvent(header=header, event=event)


def _header(line: str, where: str) -> Header:
    try:
        plain = json.loads(line)
        require_known_version(plain.get("schema_version", 1), where)
        return Header.model_validate(plain)
    except (ValueError, AttributeError) as error:
        raise GateError("no events of a run that this slm-gate can read", where=where, next_step=_NO_HEADER) from error


_NO_HEADER: Final = "an interrupted run of an earlier version can only be shown by the slm-gate that wrote it"
