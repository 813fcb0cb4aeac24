"""What a served model says to many requests in a row, or for hours, and what the service keeps of them."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter

from harness.errors import MeasureError
from harness.foundry.opening import SessionSpec
from harness.metrics.measurement import Measured, Measurement
from harness.metrics.units import format_seconds
from harness.pack.choose import conversations_by_case
from harness.pack.schema import DomainPack
from harness.serving.endurance import run_endurance
from harness.serving.load import QUESTIONS
from harness.stats.estimate import Estimate
from harness.stats.proportions import proportion_of
from harness.system.progress import SILENT, Progress

SEGMENTS: Final = 8
"""Requests in a row are counted in so many parts, with a look at the memory after each."""

LOOKS: Final = 64
"""The same for a soak by time: a look for each such part of it, so that one which is broken off has some."""

_SHOWN: Final = 3
_LEAST_LOOKS: Final = 4
_SPARE_S: Final = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Soak:
    """What a serving process said to many requests in a row, and what it kept of them."""

    requests: int
    """Asked one after the other over HTTP, none of them repeated on failure."""

    errors: tuple[str, ...]
    """What requests were told instead of an answer; of a soak by time the first hundred."""

    wrong: tuple[str, ...]
    """Cases whose answer was not the first one, likewise."""

    memory_bytes: tuple[int, ...]
    """Before the first request and after each part of them."""

    error_count: int | None = None
    """All errors; None where `errors` has them all."""

    wrong_count: int | None = None
    """All wrong answers, likewise."""

    asked_s: float | None = None
    """How long it was to last; None where a number of requests was asked for."""

    lasted_s: float | None = None
    """How long it lasted."""

    request_s: tuple[float, ...] = ()
    """Median end-to-end time of the requests of each part."""

    @property
    def is_broken_off(self) -> bool:
        """Whether it ended before its time."""
        return self.asked_s is not None and self.lasted_s is not None and self.lasted_s < self.asked_s

    @property
    def growth_bytes(self) -> int | None:
        """Memory at the end against after the first eighth, in which caches fill; None where it was too short."""
        if self.asked_s is None:
            return self.memory_bytes[-1] - self.memory_bytes[1]
        if len(self.memory_bytes) < _LEAST_LOOKS:
            return None
        return self.memory_bytes[-1] - self.memory_bytes[math.ceil((len(self.memory_bytes) - 1) / SEGMENTS)]

    @property
    def slowdown_ratio(self) -> float | None:
        """Median time of the last eighth of the parts by that of the first; None where it was too short."""
        if len(self.request_s) < _LEAST_LOOKS:
            return None
        eighth = max(1, len(self.request_s) // SEGMENTS)
        first, last = sorted(self.request_s[:eighth]), sorted(self.request_s[-eighth:])
        return last[eighth // 2] / first[eighth // 2]

    @property
    def measured(self) -> Measured:
        """The share of requests that got the first answer again, how memory grew, and how times did."""
        errors = len(self.errors) if self.error_count is None else self.error_count
        others = len(self.wrong) if self.wrong_count is None else self.wrong_count
        same = self.requests - errors - others
        estimates = {
            "soak_same_answer_rate": proportion_of(same, self.requests),
            "soak_growth_bytes": _told(self.growth_bytes, self.requests),
        }
        if self.asked_s is not None:
            estimates["soak_slowdown_ratio"] = _told(self.slowdown_ratio, self.requests)
        details = "\n".join([self._headline(same), *self._examples()])
        return Measured(
            measurement=Measurement(estimates=estimates, details=dict.fromkeys(estimates, details)),
            samples={"soak": [self]},
        )

    def _headline(self, same: int) -> str:
        made = f"{self.requests} requests in a row, {same} with the first answer"
        if self.lasted_s is None or self.asked_s is None:
            return made
        lasted = f"{made}, in {format_seconds(self.lasted_s)}"
        return f"{lasted} of {format_seconds(self.asked_s)}: broken off" if self.is_broken_off else lasted

    def _examples(self) -> list[str]:
        return [*self.errors[:_SHOWN], *(f"{case}: another answer" for case in self.wrong[:_SHOWN])]


def _told(value: float | None, requests: int) -> Estimate:
    return Estimate.missing("broken off too early to tell") if value is None else Estimate.exact(value, n=requests)


def measure_soak(
    spec: SessionSpec,
    pack: DomainPack,
    *,
    requests: int,
    log: Path,
    duration_s: float | None = None,
    progress: Progress = SILENT,
) -> Soak:
    """Send requests in a row to a model in a Foundry Local of its own, questions of the pack in turn.

    So many `requests`; or, with `duration_s`, for that long: Ctrl-C then ends the soak, not the run, and it is judged
    by what it saw.

    Raises:
        MeasureError: too little is asked for to say anything, or the child did less than it was asked.
        ChildError: the process died, hung, or Foundry Local refused the model.
    """
    job: dict[str, Any] = {"conversations": conversations_by_case(pack, QUESTIONS)}
    if duration_s is not None:
        return _soak_for(job, spec, pack, duration_s, log, progress)
    if requests < SEGMENTS:
        raise MeasureError(
            f"{requests} requests in a row say nothing about growth; {SEGMENTS} are the least",
            where="gate.toml, [foundry] soak_requests",
        )
    job |= {"requests": requests, "segments": SEGMENTS}
    return read_soak(run_endurance(job, spec, pack, log, progress), requests=requests)


def _soak_for(
    job: dict[str, Any], spec: SessionSpec, pack: DomainPack, duration_s: float, log: Path, progress: Progress
) -> Soak:
    with tempfile.TemporaryDirectory(prefix="slm-gate-soak-") as folder:
        stop = Path(folder, "stop")

        def end() -> None:
            stop.touch()
            progress.line("the soak ends here and is judged by what it saw; Ctrl-C again stops the run")

        progress.line(f"soaking for {format_seconds(duration_s)}; Ctrl-C ends it and judges what it saw")
        job |= {"duration_s": duration_s, "looks": LOOKS, "stop_file": str(stop)}
        timeout_s = duration_s + _SPARE_S
        found = run_endurance(job, spec, pack, log, progress, timeout_s=timeout_s, on_interrupt=end)
    return read_soak(found, requests=None)


def read_soak(result: Mapping[str, Any], *, requests: int | None) -> Soak:
    """The child's result as values; `requests` is None for a soak by time.

    Raises:
        MeasureError: a request that was asked for is missing, or there is none at all.
    """
    found = TypeAdapter(Soak).validate_python(dict(result))
    if requests is None and not found.requests:
        raise MeasureError("the soak was broken off before its first request", next_step="let it last longer")
    if requests is not None and (found.requests, len(found.memory_bytes)) != (requests, SEGMENTS + 1):
        raise MeasureError(f"only {found.requests} of {requests} requests in a row were made")
    return found
