"""Memory, CPU and loading of one model, measured in a fresh process that holds nothing else.

A fresh process, because pytest, another model or the conversion toolchain would be counted too; and because on Linux
a child's `ru_maxrss` starts from its parent's peak. The child reads its own high-water mark instead (`VmHWM`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from harness.errors import MeasureError
from harness.metrics.measurement import Measured, Measurement
from harness.metrics.units import format_bytes, format_seconds
from harness.pack.choose import conversations
from harness.pack.schema import DomainPack
from harness.runtime.session import Message
from harness.stats.estimate import Estimate
from harness.system.child import harness_module, run_job
from harness.system.progress import SILENT, Progress

_QUESTIONS: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceSample:
    """The state of the process after one answer."""

    wall_s: float
    """`time.perf_counter()` since the answering began."""

    cpu_s: float
    """CPU seconds of all threads, user and system, since the answering began."""

    rss_bytes: int
    """Resident memory at this moment."""

    tokens: int
    """Tokens of this answer, its end-of-sequence token included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceResult:
    """What loading one model and answering with it took; the numbers derive from `samples`."""

    import_s: float
    """Importing the runtime's packages; they are not part of `load_s`."""

    load_s: float
    """Opening the session until it is ready to answer."""

    baseline_rss_bytes: int
    """Resident memory with the runtime imported and no model loaded."""

    rss_after_load_bytes: int
    """Resident memory when the session was ready."""

    peak_rss_bytes: int
    """High-water mark of the whole process: VmHWM (Linux), `ru_maxrss` (macOS), peak working set (Windows).

    Pages of mapped weight files count.
    """

    threads: int
    """Threads of the process after the last answer."""

    logical_cpus: int
    """Logical CPUs that the process may run on."""

    samples: tuple[ResourceSample, ...]
    """One per answer, in order."""

    @property
    def wall_s(self) -> float:
        """Seconds from the first request to the end of the last answer."""
        return self.samples[-1].wall_s

    @property
    def cpu_s(self) -> float:
        """CPU seconds of all threads while answering."""
        return self.samples[-1].cpu_s

    @property
    def tokens(self) -> int:
        """Tokens that were generated."""
        return sum(sample.tokens for sample in self.samples)

    @property
    def cpu_utilization(self) -> float:
        """Share of the available CPUs used while answering, 0 to 1: CPU s / (wall s x logical CPUs)."""
        return self.cpu_s / (self.wall_s * self.logical_cpus)

    @property
    def cpu_seconds_per_token(self) -> float:
        """CPU seconds of prefill and decoding together, per generated token."""
        return self.cpu_s / self.tokens

    @property
    def measured(self) -> Measured:
        """Load time, peak memory and CPU use: readings of one process, which have no interval."""
        answers, before, after = len(self.samples), self.baseline_rss_bytes, self.rss_after_load_bytes
        cpu = f"{self.cpu_s:.3g} CPU s in {self.wall_s:.3g} s on {self.logical_cpus} CPUs"
        cpu = f"{cpu}; {answers} answers, {self.tokens} tokens"
        memory = f"{format_bytes(before)} before the model was loaded, {format_bytes(after)} after"
        return Measured(
            measurement=Measurement(
                estimates={
                    "load_s": Estimate.exact(self.load_s, n=1),
                    "peak_rss_bytes": Estimate.exact(self.peak_rss_bytes, n=1),
                    "cpu_utilization": Estimate.exact(self.cpu_utilization, n=answers),
                    "cpu_seconds_per_token": Estimate.exact(self.cpu_seconds_per_token, n=self.tokens),
                },
                details={
                    "load_s": f"imports took {format_seconds(self.import_s)} before it",
                    "peak_rss_bytes": memory,
                    "cpu_utilization": cpu,
                    "cpu_seconds_per_token": cpu,
                },
            ),
            samples={"resources": [self]},
        )

    @property
    def model_rss_bytes(self) -> int:
        """What loading the model added to resident memory."""
        return self.rss_after_load_bytes - self.baseline_rss_bytes


def measure_pack_resources(
    session_spec: Mapping[str, Any], pack: DomainPack, *, log: Path, progress: Progress = SILENT
) -> Measured:
    """Load time, peak memory and CPU use of a model on questions of the pack.

    Raises:
        MeasureError: the pack has no case, no token was generated, or a number that cannot be.
        ChildError: the process died, also at its very end, or the model did not load or answer.
    """
    limit = pack.domain.max_new_tokens
    questions = conversations(pack, _QUESTIONS)
    return measure_resources(session_spec, questions, max_new_tokens=limit, log=log, progress=progress).measured


def measure_resources(
    session_spec: Mapping[str, Any],
    questions: Sequence[Sequence[Message]],
    *,
    max_new_tokens: int,
    log: Path,
    progress: Progress = SILENT,
    timeout_s: float = 1800.0,
) -> ResourceResult:
    """Load the described session in a fresh process, answer every question once, and end the process.

    Raises:
        MeasureError: no question, no generated token, or a number that cannot be.
        ChildError: the process died, also at its very end, or the model did not load or answer.
    """
    if not questions:
        raise MeasureError("resources cannot be measured without a conversation", next_step="give prompts")
    job = {
        "session": dict(session_spec),
        "conversations": [[dict(message) for message in question] for question in questions],
        "max_new_tokens": max_new_tokens,
    }
    result = run_job(
        harness_module("harness.measure.children.resource_child"),
        job,
        log=log,
        timeout_s=timeout_s,
        progress=progress,
        env={"ORT_DISABLE_TELEMETRY": "1"},
    )
    return read_resources(result, answers=len(questions))


def read_resources(result: Mapping[str, Any], *, answers: int) -> ResourceResult:
    """The child's result as values; anything that would make a number meaningless is refused.

    Raises:
        MeasureError: a sample is missing, no token was generated, or a number is not finite and positive.
    """
    samples = tuple(ResourceSample(**sample) for sample in result["samples"])
    numbers = {name: result[name] for name in result if name != "samples"}
    if not samples or len(samples) != answers:
        raise MeasureError(f"{len(samples)} of {answers} answers were sampled")
    last = {"wall_s": samples[-1].wall_s, "cpu_s": samples[-1].cpu_s, "rss_bytes": samples[-1].rss_bytes}
    for name, value in {**numbers, **last}.items():
        if not (math.isfinite(value) and value > 0):
            raise MeasureError(f"{name} was measured as {value}", next_step="give more or longer conversations")
    if not any(sample.tokens for sample in samples):
        raise MeasureError("the model generated no token, so its cost per token is unknown")
    return ResourceResult(**numbers, samples=samples)
