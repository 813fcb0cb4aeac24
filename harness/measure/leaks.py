"""Does memory grow with what a runtime is asked? Measured in a fresh process that holds one model.

The child walks every path on which a runtime can lose memory: requests, tokens, sessions, streams that are broken off,
errors, loads (`harness.measure.children.leak_child` says how); `harness.measure.growth` has the statistics. Where a
path loses memory, a second process runs under memray and names the call stacks that hold it. memray's own totals decide
nothing: a ring buffer looks like a leak to it. At its end the child's runtime reports its own lost objects.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from harness.config.default_limits import LEAK_BYTES
from harness.errors import ChildError, MeasureError
from harness.foundry.opening import SessionSpec
from harness.measure.growth import LeakResult, LeakSample, Resolution, judge_samples, samples_of
from harness.measure.leak_check import LeakCheck
from harness.measure.leak_stacks import MIN_ALLOCATIONS_PER_UNIT, render_stacks, write_flamegraph
from harness.metrics.measurement import Measured
from harness.pack.long_text import over_any_context
from harness.runtime.session import Message
from harness.system.child import harness_module, run_job
from harness.system.progress import SILENT, Progress

SHORT_QUESTIONS: Final = ("Hi", "Hello there", "Thanks", "Why is that?", "Stop", "What now?", "Who are you?", "Help me")
"""What a request costs is what counts, not what it says; always the same ones, as new lengths fill caches."""

SHORT_TOKENS: Final = 2
LONG_TOKENS: Final = 12
STACK_WALKS: Final = 64
STACK_LOADS: Final = 4
_ANY_CONTEXT: Final = 2**17
_LOST: Final = re.compile(r"(\d+) instances of (\S+) were leaked")
_MANGLED: Final = re.compile(r"N10Generators\d+([A-Za-z_]\w*)E$")

CHILD_ENVIRONMENT: Final = {
    "PYTHONMALLOC": "malloc",  # pymalloc's pools hide small leaks
    "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0:glibc.malloc.arena_max=1",  # cached chunks count as in use
    "ORT_DISABLE_TELEMETRY": "1",  # its thread allocates 5 to 10 s after the start
}


def measure_model_leaks(
    prefix: str, spec: SessionSpec, *, context_length: int | None, log: Path, progress: Progress = SILENT
) -> Measured:
    """Memory growth on every path of a model in its runtime.

    Args:
        prefix: of the runtime's metrics: "" or `foundry_`.
        spec: the model in its runtime, as `open_session` takes it.
        context_length: of the model, in tokens; None where its configuration does not say.
        log: where the child process writes; a flame graph is written beside it.
        progress: hears what is going on.

    Raises:
        MeasureError: samples are missing or not finite.
        ChildError: a child process died, or the model could not be loaded or did not answer.
    """
    too_long = [{"role": "user", "content": over_any_context(context_length or _ANY_CONTEXT)}]
    questions = [[{"role": "user", "content": text}] for text in SHORT_QUESTIONS]
    return measure_leaks(spec, questions, invalid=too_long, log=log, progress=progress).measured(prefix)


def measure_leaks(
    spec: SessionSpec,
    questions: Sequence[Sequence[Message]],
    *,
    invalid: Sequence[Message],
    log: Path,
    progress: Progress = SILENT,
    method: str | None = None,
    timeout_s: float = 1800.0,
) -> LeakCheck:
    """Memory growth on every path of the session that `spec` describes.

    The questions are asked in turn; prompts that never came before always grow some cache. `invalid` is a conversation
    that the runtime must refuse. `method` names the way to read memory; by default it is the finest that works here.

    Raises:
        MeasureError: no question, or samples that are missing or not finite.
        ChildError: a child process died, or the model could not be loaded or did not answer.
    """
    if not questions:
        raise MeasureError("leaks cannot be measured without a conversation", next_step="give a few short prompts")
    job = {
        "session": dict(spec),
        "conversations": [_as_json(one) for one in questions],
        "invalid": _as_json(invalid),
        "max_new_tokens": SHORT_TOKENS,
        "long_new_tokens": LONG_TOKENS,
        "limits": dict(LEAK_BYTES),
        "method": method,
    }
    child = _Child(job=job, log=log, progress=progress, timeout_s=timeout_s)
    check = child.measure()
    return _with_stacks(child, check) if check.leaking else check


@dataclass(frozen=True, slots=True, kw_only=True)
class _Child:
    """The fresh process that is measured, once per call."""

    job: dict[str, Any]
    log: Path
    progress: Progress
    timeout_s: float

    def measure(self) -> LeakCheck:
        """Samples of one run and their statistics."""
        already = self.log.stat().st_size if self.log.exists() else 0
        answer = self._run({"mode": "measure"})
        results = _alone(answer)
        if answer["is_level"]:
            results |= _together(answer)
        return LeakCheck(
            results={path: results[path] for path in LEAK_BYTES if path in results},
            method=answer["method"],
            is_level=answer["is_level"],
            lost_objects=lost_objects(_text_from(self.log, already)) if answer["is_reporting"] else None,
        )

    def stacks(self, path: str) -> tuple[tuple[str, ...], str | None] | None:
        """Unfreed allocations of a window of walks by stack, and a page of them all; None without memray."""
        walks = STACK_LOADS if path == "load" else STACK_WALKS
        with tempfile.TemporaryDirectory(prefix="slm-gate-") as folder:
            capture, page = Path(folder, "kept"), self.log.with_suffix(f".{path}.html")
            changes = {"mode": "stacks", "path": path, "stack_walks": walks, "capture": str(capture)}
            found = self._run(changes)
            if found["stacks"] is None:
                return None
            least = MIN_ALLOCATIONS_PER_UNIT * walks
            stacks = render_stacks(found["stacks"], path=path, units=found["units"], min_allocations=least)
            return stacks, str(page) if write_flamegraph(capture, page) else None

    def _run(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        return run_job(
            harness_module("harness.measure.children.leak_child"),
            {**self.job, **changes},
            log=self.log,
            timeout_s=self.timeout_s,
            progress=self.progress,
            env=CHILD_ENVIRONMENT,
        )


def lost_objects(text: str) -> tuple[str, ...]:
    """What onnxruntime-genai reported as never freed in a process's output: `1 Generator`."""
    found = [(int(count), _MANGLED.sub(r"\1", name)) for count, name in _LOST.findall(text)]
    return tuple(f"{count} {name}" for count, name in found)


def _alone(answer: Mapping[str, Any]) -> dict[str, LeakResult]:
    """Results of the paths that were walked by themselves."""
    results: dict[str, LeakResult] = {}
    for path, runs in answer["alone"].items():
        resolution = Resolution.of(answer["method"], LEAK_BYTES[path])
        first, last = samples_of(runs[0]), samples_of(runs[-1])
        if path == "token" and results["request"].is_leaking:
            last = _without_requests(last, answer["walks"]["token"], results["request"])
        result = judge_samples(last, path=path, resolution=resolution, method=answer["method"])
        if len(runs) > 1:
            note = "repeated with four times as many, as memory moved in some segments only"
            result = replace(result, earlier_samples=tuple(first), note=note)
        results[path] = result
    return results


def _without_requests(samples: Sequence[LeakSample], answers: int, request: LeakResult) -> list[LeakSample]:
    """What tokens alone lost: without what their `answers` of each segment lose as requests."""
    lost = (request.leak_bytes_per_unit, request.anonymous_bytes_per_unit or 0.0)
    in_use, anonymous = (round(max(0.0, each)) * answers for each in lost)
    return [
        replace(
            sample,
            in_use_bytes=sample.in_use_bytes - index * in_use,
            anonymous_bytes=None if sample.anonymous_bytes is None else sample.anonymous_bytes - index * anonymous,
        )
        for index, sample in enumerate(samples)
    ]


def _together(answer: Mapping[str, Any]) -> dict[str, LeakResult]:
    """Results of the paths that were walked in mixed rounds: all growth of a round is counted against each of them."""
    count = len(answer["rounds"]) - 1
    note = f"walked in {count} level rounds with all other paths, whose growth is counted here too"
    return {
        path: judge_samples(
            samples_of(answer["rounds"], units=units),
            path=path,
            resolution=Resolution.of(answer["method"], LEAK_BYTES[path]),
            method=answer["method"],
            note=note,
        )
        for path, units in answer["units"].items()
    }


def _with_stacks(child: _Child, check: LeakCheck) -> LeakCheck:
    """The check with the stacks of its worst path; a search that fails changes nothing but the note."""
    worst = check.leaking[0]
    child.progress.line(
        f"leaks: memory grows with every {worst.path}; a second process looks for the stacks that hold it"
    )
    try:
        found = child.stacks(worst.path)
    except ChildError as error:
        told = replace(worst, note=_joined(worst.note, f"stacks could not be listed: {error.what}"))
    else:
        if found is None:
            told = replace(worst, note=_joined(worst.note, "memray is not installed here, so no stacks"))
        else:
            told = replace(worst, stacks=found[0], flamegraph=found[1])
    others = {one.path: replace(one, note=_joined(one.note, f"stacks: see {worst.path}")) for one in check.leaking[1:]}
    return replace(check, results={**check.results, **others, worst.path: told})


def _joined(*notes: str) -> str:
    return "; ".join(filter(None, notes))


def _text_from(log: Path, start: int) -> str:
    return log.read_bytes()[start:].decode("utf-8", errors="replace")


def _as_json(conversation: Sequence[Message]) -> list[dict[str, str]]:
    return [dict(message) for message in conversation]
