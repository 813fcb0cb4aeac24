"""Memory, CPU and loading of one model, read in a fresh process that holds nothing else.

A fresh process, because pytest, another model or the conversion toolchain would be counted too; and because on Linux
a child's `ru_maxrss` starts from its parent's peak. The child reads its own high-water mark instead (`VmHWM`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter

from harness.errors import MeasureError
from harness.measure.children.process_memory import MemoryState
from harness.pack.choose import conversations
from harness.pack.schema import DomainPack, Turn
from harness.runtime.session import Message
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
class LengthMemory:
    """What a prompt of one length needed."""

    asked_tokens: int
    """The configured length."""

    prompt_tokens: int
    """The length that it came to."""

    peak_rss_bytes: int
    """High-water mark of the kernel while it was answered."""

    is_own_peak: bool
    """Whether the mark was set back before it; else an earlier, larger peak hides it."""

    after: MemoryState
    """When it was answered."""


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

    cold_ttft_s: float | None = None
    """Time to first token of the very first request after loading; the file cache of the system may be warm."""

    compute_threads: int | None = None
    """Threads that compute: those that loading started, and the one that asks."""

    baseline: MemoryState | None = None
    """With the runtime imported and no model loaded."""

    loaded: MemoryState | None = None
    """When the session was ready."""

    lengths: tuple[LengthMemory, ...] = ()
    """At each prompt length that fits."""

    cache_bytes_per_token: float | None = None
    """Growth of the heap for each token that a generator may hold; None where the runtime does not let it be seen."""

    unloaded: MemoryState | None = None
    """After the model was let go."""

    trimmed: MemoryState | None = None
    """After the allocator gave its free pages back, too; None where it cannot be asked to."""

    joules: float | None = None
    """Energy of all processor packages while answering; None where the machine does not tell."""

    voluntary_switches: int | None = None
    """Times that a thread gave its processor away to wait for something, while answering."""

    involuntary_switches: int | None = None
    """Times that a thread lost its processor."""

    minor_faults: int | None = None
    """Pages that were mapped without reading a disk, while answering."""

    major_faults: int | None = None
    """Pages that were read from a disk."""

    load_disturbances: tuple[str, ...] = ()
    """What the machine did while the model was loaded."""

    disturbances: tuple[str, ...] = ()
    """What the machine did while questions were answered."""

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
    def model_rss_bytes(self) -> int:
        """What loading the model added to resident memory."""
        return self.rss_after_load_bytes - self.baseline_rss_bytes


def measure_pack_resources(
    session_spec: Mapping[str, Any],
    pack: DomainPack,
    *,
    lengths: Sequence[int],
    log: Path,
    progress: Progress = SILENT,
) -> ResourceResult:
    """What loading a model, questions of the pack and prompts of some lengths in tokens take.

    Raises:
        MeasureError: the pack has no case, no token was generated, or a number that cannot be.
        ChildError: the process died, also at its very end, or the model did not load or answer.
    """
    frame = pack.conversation([Turn(role="user", content="Read:")])
    return measure_resources(
        session_spec,
        conversations(pack, _QUESTIONS),
        max_new_tokens=pack.domain.max_new_tokens,
        log=log,
        progress=progress,
        more={"lengths": list(lengths), "padding": pack.padding, "frame": frame},
    )


def measure_resources(
    session_spec: Mapping[str, Any],
    questions: Sequence[Sequence[Message]],
    *,
    max_new_tokens: int,
    log: Path,
    progress: Progress = SILENT,
    timeout_s: float = 1800.0,
    more: Mapping[str, Any] | None = None,
) -> ResourceResult:
    """Load the described session in a fresh process, answer every question once, and end the process.

    `more` is added to the child's job: prompt `lengths`, the `padding` to make them of, the `frame` around it.

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
        **(more or {}),
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
    if not samples or len(samples) != answers:
        raise MeasureError(f"{len(samples)} of {answers} answers were sampled")
    last = {"wall_s": samples[-1].wall_s, "cpu_s": samples[-1].cpu_s, "rss_bytes": samples[-1].rss_bytes}
    for name, value in {**{name: result[name] for name in _POSITIVE}, **last}.items():
        if not (math.isfinite(value) and value > 0):
            raise MeasureError(f"{name} was measured as {value}", next_step="give more or longer conversations")
    if not any(sample.tokens for sample in samples):
        raise MeasureError("the model generated no token, so its cost per token is unknown")
    _require_order(samples)
    return TypeAdapter(ResourceResult).validate_python(dict(result))


def _require_order(samples: Sequence[ResourceSample]) -> None:
    """Raise if the clock or the processor's went backwards."""
    for sooner, later in itertools.pairwise(samples):
        if later.wall_s < sooner.wall_s or later.cpu_s < sooner.cpu_s:
            raise MeasureError(
                f"an answer took {later.wall_s - sooner.wall_s:.3g} s and {later.cpu_s - sooner.cpu_s:.3g} CPU s",
                next_step="the machine's clock went backwards: measure again",
            )


_POSITIVE: Final = (
    "import_s", "load_s", "baseline_rss_bytes", "rss_after_load_bytes", "peak_rss_bytes", "threads", "logical_cpus",
)  # fmt: skip
