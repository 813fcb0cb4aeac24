"""Does memory grow with the number of requests? Measured in a fresh process that holds one model.

After a warm-up the child answers a fixed round of requests again and again and reads its heap in use after every
segment (`harness.measure.children.leak_child` says how); `harness.measure.growth` has the statistics. Where memory
grows, a second process runs under memray and names the call stacks that hold it. memray's own totals decide nothing:
a ring buffer looks like a leak to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from harness.errors import ChildError, MeasureError
from harness.measure.growth import LONG_STRIDE, SEGMENTS, LeakResult, LeakSample, judge_samples
from harness.metrics.measurement import Measured
from harness.metrics.units import format_bytes
from harness.pack.choose import conversations
from harness.pack.long_text import over_any_context
from harness.pack.schema import DomainPack
from harness.runtime.session import Message
from harness.system.child import harness_module, run_job
from harness.system.paths import REPOSITORY
from harness.system.progress import SILENT, Progress

__all__ = ["LeakResult", "LeakSample", "measure_leak"]

ROUND_REQUESTS: Final = 16
WARMUP_REQUESTS: Final = 3 * ROUND_REQUESTS
COARSE_SEGMENT_REQUESTS: Final = 4 * ROUND_REQUESTS
STACK_REQUESTS: Final = 8 * ROUND_REQUESTS
STACK_MIN_ALLOCATIONS_PER_REQUEST: Final = 0.5
MAX_STACKS: Final = 10
MAX_FRAMES: Final = 12
_ANY_CONTEXT: Final = 2**17
UNKNOWN: Final = "<unknown>"
INTERPRETER_FOLDERS: Final = frozenset({"Objects", "Python", "Modules", "internal", "clinic"})

CHILD_ENVIRONMENT: Final = {
    "PYTHONMALLOC": "malloc",  # pymalloc's pools hide small leaks
    "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0:glibc.malloc.arena_max=1",  # cached chunks count as in use
    "ORT_DISABLE_TELEMETRY": "1",  # its thread allocates 5 to 10 s after the start
}


def measure_pack_leak(
    metric: str,
    session_spec: Mapping[str, Any],
    pack: DomainPack,
    *,
    context_length: int | None,
    log: Path,
    progress: Progress = SILENT,
) -> Measured:
    """Memory growth per request on the pack's questions, of which one in sixteen is over the context and refused.

    Args:
        metric: the name of the runtime's metric.
        session_spec: the model in its runtime, as `open_session` takes it.
        pack: the questions.
        context_length: of the model, in tokens; None where its configuration does not say.
        log: where the child process writes.
        progress: hears what is going on.

    Raises:
        MeasureError: the pack has no case, or samples are missing or not finite.
        ChildError: a child process died, or the model could not be loaded or did not answer.
    """
    too_long = [{"role": "user", "content": over_any_context(context_length or _ANY_CONTEXT)}]
    questions = conversations(pack, ROUND_REQUESTS)
    result = measure_leak(session_spec, questions, invalid=too_long, log=log, progress=progress)
    return result.measured(metric)


def measure_leak(
    session_spec: Mapping[str, Any],
    questions: Sequence[Sequence[Message]],
    *,
    log: Path,
    progress: Progress = SILENT,
    max_new_tokens: int = 16,
    invalid: Sequence[Message] | None = None,
    segment_requests: int = ROUND_REQUESTS,
    method: str | None = None,
    timeout_s: float = 1800.0,
) -> LeakResult:
    """Memory growth per request of the session that `session_spec` describes.

    The first 16 questions are the round (fewer are repeated); prompts that never came before always grow some cache.
    `invalid` is a conversation that the runtime must refuse: it replaces every 16th request, so that what the error
    path keeps is seen too. `method` names the way to read memory; by default it is the finest that works here.

    Raises:
        MeasureError: no question, or samples that are missing or not finite.
        ChildError: a child process died, or the model could not be loaded or did not answer.
    """
    if not questions:
        raise MeasureError("leaks cannot be measured without a conversation", next_step="give 16 prompts")
    if segment_requests < ROUND_REQUESTS or segment_requests % ROUND_REQUESTS:
        raise MeasureError(f"a segment of {segment_requests} requests is not a multiple of {ROUND_REQUESTS}")
    job = {
        "session": dict(session_spec),
        "conversations": [_as_json(questions[i % len(questions)]) for i in range(ROUND_REQUESTS)],
        "invalid": None if invalid is None else _as_json(invalid),
        "max_new_tokens": max_new_tokens,
        "warmup_requests": WARMUP_REQUESTS,
        "segments": SEGMENTS,
        "segment_requests": segment_requests,
        "coarse_segment_requests": max(segment_requests, COARSE_SEGMENT_REQUESTS),
        "method": method,
    }
    child = _Child(job=job, log=log, progress=progress, timeout_s=timeout_s)
    result = child.measure()
    if not result.is_leaking and not result.is_conclusive:
        result = _repeated(child, result)
    return _with_stacks(child, result) if result.is_leaking else result


@dataclass(frozen=True, slots=True, kw_only=True)
class _Child:
    """The fresh process that is measured, once per call."""

    job: dict[str, Any]
    log: Path
    progress: Progress
    timeout_s: float

    def measure(self, **changes: Any) -> LeakResult:
        """Samples of one run and their statistics."""
        answer = self._run({"mode": "measure", **changes})
        segment_requests = answer["segment_requests"]
        anonymous = answer["anonymous_bytes"] or [None] * len(answer["in_use_bytes"])
        samples = [
            LeakSample(requests=index * segment_requests, in_use_bytes=in_use, anonymous_bytes=pages)
            for index, (in_use, pages) in enumerate(zip(answer["in_use_bytes"], anonymous, strict=True))
        ]
        rounds = (len(samples) - 1) * segment_requests // ROUND_REQUESTS
        return judge_samples(
            samples, method=answer["method"], refused_requests=0 if self.job["invalid"] is None else rounds
        )

    def stacks(self) -> list[dict[str, Any]] | None:
        """Unfreed allocations of a window of requests by stack; None without memray."""
        stacks: list[dict[str, Any]] | None = self._run({"mode": "stacks", "stack_requests": STACK_REQUESTS})["stacks"]
        return stacks

    def _run(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        return run_job(
            harness_module("harness.measure.children.leak_child"),
            {**self.job, **changes},
            log=self.log,
            timeout_s=self.timeout_s,
            progress=self.progress,
            env=CHILD_ENVIRONMENT,
        )


def _repeated(child: _Child, first: LeakResult) -> LeakResult:
    child.progress.line("leaks: memory moved in some segments only; repeating with four times the requests")
    result = child.measure(segments=LONG_STRIDE * SEGMENTS)
    steps = f"repeated, as memory moved unevenly at first ({first.theil_sen_bytes_per_request:.1f} B/request)"
    return replace(result, earlier_samples=first.samples, note=f"{result.note}; {steps}")


def _with_stacks(child: _Child, result: LeakResult) -> LeakResult:
    """The result with the stacks that hold memory; a search that fails changes nothing but the note."""
    child.progress.line("leaks: memory grows; a second process looks for the stacks that hold it")
    try:
        found = child.stacks()
    except ChildError as error:
        return replace(result, note=f"{result.note}; stacks could not be listed: {error.what}")
    if found is None:
        return replace(result, note=f"{result.note}; memray is not installed here, so no stacks")
    # A leak on the error path can show only once per round.
    per_round = ROUND_REQUESTS if child.job["invalid"] is None else 1
    least = STACK_MIN_ALLOCATIONS_PER_REQUEST * STACK_REQUESTS * per_round / ROUND_REQUESTS
    return replace(result, stacks=render_stacks(found, requests=STACK_REQUESTS, min_allocations=least))


def render_stacks(found: Sequence[Mapping[str, Any]], *, requests: int, min_allocations: float) -> tuple[str, ...]:
    """memray's records as text, equal stacks joined, most bytes first; at most 10 stacks of 12 frames."""
    joined: dict[tuple[str, ...], tuple[int, int]] = {}
    for record in found:
        frames = tuple(_as_line(*frame) for frame in _telling(record["frames"])[:MAX_FRAMES])
        held_bytes, count = joined.get(frames, (0, 0))
        joined[frames] = (held_bytes + record["bytes"], count + record["allocations"])
    often = [(held_bytes, count, frames) for frames, (held_bytes, count) in joined.items() if count >= min_allocations]
    often.sort(key=lambda stack: stack[0], reverse=True)
    return tuple(
        "\n  ".join(
            (f"{format_bytes(held_bytes / requests)}/request, {count / requests:.2f} allocations/request", *frames)
        )
        for held_bytes, count, frames in often[:MAX_STACKS]
    )


def _telling(frames: Sequence[Sequence[Any]]) -> list[Sequence[Any]]:
    """Without the interpreter's own C frames and those without a symbol, unless nothing else is there."""
    telling = [frame for frame in frames if frame[0] != UNKNOWN and not _is_interpreter(Path(frame[1]))]
    return telling or list(frames)


def _is_interpreter(file: Path) -> bool:
    return file.suffix in {".c", ".h"} and file.parent.name in INTERPRETER_FOLDERS


def _as_line(function: str, file: str, line: int) -> str:
    if file == UNKNOWN:
        return function[:120]
    path = Path(file)
    is_ours = path.is_relative_to(REPOSITORY)
    place = path.relative_to(REPOSITORY).as_posix() if is_ours else "/".join(path.parts[-2:])
    return f"{function[:100]} {place}:{line}"


def _as_json(conversation: Sequence[Message]) -> list[dict[str, str]]:
    return [dict(message) for message in conversation]
