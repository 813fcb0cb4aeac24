"""The measured side of `harness.measure.leaks`: one model, the same walks again and again, its own memory.

Loads come first: the model is let go and loaded again, with a sample after each. Then every path is walked in mixed
rounds, until a row of rounds is level: whatever a path lost would show in them. Only where they do not become level,
each path is walked alone.
"""

from __future__ import annotations

import gc
import sys
import time
from array import array
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from harness.foundry import sdk as foundry_sdk
from harness.foundry.opening import open_session
from harness.measure.children.meters import Meter, choose_meter, settle
from harness.measure.children.walks import BASE_UNITS, Walker
from harness.measure.growth import EXACT, LONG_STRIDE, SEGMENTS, Resolution, judge_samples, samples_of
from harness.runtime import genai
from harness.system.child import serve_job, tell_progress, tell_step

ROUNDS: Final = 16
"""Mixed rounds at most; those that are not level by then are looked into path by path."""

LEVEL_ROUNDS: Final = 6
"""So many level rounds in a row clear every path."""

WARMUP_ROUNDS: Final = 3
FAST_FACTOR: Final = 4
SLOW_ROUND_S: Final = 0.6
"""A smallest round that takes longer is not enlarged: half a billion parameters need seconds for it."""

COARSE_FACTOR: Final = 4
SEGMENT_WALKS: Final[Mapping[str, int]] = {**dict.fromkeys(BASE_UNITS, 16), "token": 4}
LOADS: Final = 8
LEVEL_LOADS: Final = 3
LOADS_BUDGET_S: Final = 15.0


def main(job: dict[str, Any]) -> dict[str, Any]:
    """Measure growth, or list the stacks that grow on one path, as the job's `mode` says."""
    session = open_session(job["session"])
    try:
        is_reporting = report_leaks_at_exit(job["session"]["runtime"])
        walker = Walker(
            session=session,
            conversations=job["conversations"],
            invalid=job["invalid"],
            max_new_tokens=job["max_new_tokens"],
            long_new_tokens=job["long_new_tokens"],
        )
        if job["mode"] == "stacks":
            return list_stacks(walker, job)
        return {**measure(walker, job), "is_reporting": is_reporting}
    finally:
        session.close()


def report_leaks_at_exit(runtime: str) -> bool:
    """Have the runtime report, at the end of this process, objects that it never freed; whether it will."""
    if runtime == "genai":
        genai.report_leaks_at_exit()
        return True
    return runtime == "foundry" and foundry_sdk.report_leaks_at_exit()


def measure(walker: Walker, job: dict[str, Any]) -> dict[str, Any]:
    """Samples of the loads, of the mixed rounds, and of each path alone where the rounds did not become level."""
    meter = choose_meter(job.get("method"))
    limits, is_exact = job["limits"], meter.method == EXACT
    walks = {path: times * (1 if is_exact else COARSE_FACTOR) for path, times in SEGMENT_WALKS.items()}
    found: dict[str, Any] = {"method": meter.method, "alone": {}, "units": {}, "walks": walks}
    if "session" in walker.paths:
        found["alone"]["load"] = [loads(walker, meter, Resolution.of(meter.method, limits["load"]))]
    factor = _factor(walker) * (1 if is_exact else COARSE_FACTOR)
    for _ in range(WARMUP_ROUNDS):
        found["units"] = walker.round(factor)
    resolution = Resolution.of_round(meter.method, limits, found["units"])
    found["rounds"], found["is_level"] = rounds(walker, meter, factor, resolution)
    if not found["is_level"]:
        tell_progress("leaks: memory moves; each path is walked by itself")
        for path in walker.paths:
            found["alone"][path] = alone(walker, meter, path, walks[path], Resolution.of(meter.method, limits[path]))
    return found


def loads(walker: Walker, meter: Meter, resolution: Resolution) -> Samples:
    """Let the model go and load it again, until three loads are level or the time for it is over."""
    recorder = Recorder(meter, LOADS)
    started_s = time.perf_counter()
    recorder.sample(walker.walk("request", 1))
    for number in range(LOADS):
        tell_step("leaks: loads", number, LOADS)
        recorder.sample(walker.walk("load", 1))
        is_late = time.perf_counter() - started_s > LOADS_BUDGET_S and number > 0
        if is_late or (number + 1 >= LEVEL_LOADS and recorder.is_level(LOADS, resolution)):
            break
    return recorder.samples()


def rounds(walker: Walker, meter: Meter, factor: int, resolution: Resolution) -> tuple[Samples, bool]:
    """Walk mixed rounds until a row of them is level; whether one was."""
    recorder = Recorder(meter, ROUNDS)
    recorder.sample(0)
    for number in range(ROUNDS):
        tell_step("leaks: rounds of all paths", number, ROUNDS)
        walker.round(factor)
        recorder.sample(1)
        if number + 1 >= LEVEL_ROUNDS and recorder.is_level(LEVEL_ROUNDS, resolution):
            return recorder.samples(LEVEL_ROUNDS), True
    return recorder.samples(), False


def alone(walker: Walker, meter: Meter, path: str, walks: int, resolution: Resolution) -> list[Samples]:
    """Walk one path in eight segments; in four times as many where those do not decide. The last run decides."""
    found: list[Samples] = []
    for segments in (SEGMENTS, LONG_STRIDE * SEGMENTS):
        recorder = Recorder(meter, segments)
        walker.walk(path, walks)
        recorder.sample(0)
        for number in range(segments):
            tell_step(f"leaks: {path}, segments of {walks}", number, segments)
            recorder.sample(walker.walk(path, walks))
        found.append(recorder.samples())
        if judge_samples(samples_of(found[-1]), path=path, resolution=resolution).is_conclusive:
            break
    return found


Samples = list[list[int | None]]
"""Units since the first sample, memory in use, anonymous memory; the last two in bytes."""


class Recorder:
    """Samples in memory that was taken beforehand, so that keeping them does not look like growth."""

    def __init__(self, meter: Meter, samples: int) -> None:
        self._meter, self._count = meter, 0
        self._units, self._in_use, self._anonymous = (array("q", bytes(8 * (samples + 1))) for _ in range(3))

    def sample(self, units: int) -> None:
        """Note memory after `units` more."""
        place = self._count
        settle()
        self._units[place] = units if place == 0 else self._units[place - 1] + units
        self._in_use[place] = self._meter.in_use_bytes()
        if self._meter.anonymous_bytes:
            self._anonymous[place] = self._meter.anonymous_bytes()
        self._count += 1

    def samples(self, steps: int | None = None) -> Samples:
        """The last `steps` and the one before them; all without it. Units are counted from the first of them."""
        first = 0 if steps is None else max(0, self._count - steps - 1)
        has_anonymous = self._meter.anonymous_bytes is not None
        return [
            [self._units[i] - self._units[first], self._in_use[i], self._anonymous[i] if has_anonymous else None]
            for i in range(first, self._count)
        ]

    def is_level(self, steps: int, resolution: Resolution) -> bool:
        """Whether memory stood still over the last `steps`; nothing of the question stays in memory."""
        result = judge_samples(samples_of(self.samples(steps)), path="round", resolution=resolution)
        return result.is_conclusive and not result.is_leaking


def list_stacks(walker: Walker, job: dict[str, Any]) -> dict[str, Any]:
    """What was allocated in a window of walks and not freed in it, by call stack, as memray saw it.

    A first window is recorded and dropped: it holds what tracing itself allocates once.
    """
    try:
        import memray
    except ImportError:
        return {"stacks": None}
    path, walks, capture = job["path"], job["stack_walks"], Path(job["capture"])
    units = walker.walk(path, walks)
    for file in (capture.with_suffix(".dropped"), capture):
        tell_progress(f"leaks: tracing allocations of {walks} walks of {path}")
        settle()
        with memray.Tracker(file, native_traces=True, file_format=memray.FileFormat.AGGREGATED_ALLOCATIONS):
            walker.walk(path, walks)
            gc.collect()
    with memray.FileReader(str(capture)) as reader:
        stacks = [_as_stack(record) for record in reader.get_leaked_allocation_records(merge_threads=True)]
    return {"stacks": stacks, "units": units}


def _factor(walker: Walker) -> int:
    walker.round(1)
    started_s = time.perf_counter()
    walker.round(1)
    return 1 if time.perf_counter() - started_s > SLOW_ROUND_S else FAST_FACTOR


def _as_stack(record: Any) -> dict[str, Any]:
    return {
        "bytes": record.size,
        "allocations": record.n_allocations,
        "frames": [list(frame) for frame in record.hybrid_stack_trace()],
    }


if __name__ == "__main__":
    serve_job(main, sys.argv[1:])
