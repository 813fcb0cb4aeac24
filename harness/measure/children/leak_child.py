"""The measured side of `harness.measure.leaks`: one model, the same requests again and again, its own memory.

What is read. Heap in use is what malloc has handed out and not got back: `uordblks + hblkhd` of glibc's
`mallinfo2` (mallinfo(3)). It leaves out free pages that the allocator keeps, so in a healthy process it stays
still to the byte where RSS does not. Direct mmap escapes it, so anonymous memory of `/proc/self/smaps_rollup`
(proc(5)) is read beside it.
"""

from __future__ import annotations

import ctypes
import functools
import gc
import sys
import tempfile
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from harness.errors import InvalidPromptError, MeasureError
from harness.foundry.opening import open_session
from harness.runtime.session import Message, Session
from harness.system.child import serve_job, tell_progress, tell_step

CONTROL_OBJECTS: Final = 1024
CONTROL_OBJECT_BYTES: Final = 64
_SMAPS: Final = Path("/proc/self/smaps_rollup")


@dataclass(frozen=True, slots=True, kw_only=True)
class Meter:
    """One way to read how much memory this process uses."""

    method: str
    """`mallinfo2`, `anonymous`, `private` (Windows) or `uss`."""

    in_use_bytes: Callable[[], int]
    """The quantity that is judged, in bytes."""

    anonymous_bytes: Callable[[], int] | None
    """Anonymous memory in bytes; None where the system does not tell it apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """A fixed round of requests, always in the same order."""

    session: Session

    conversations: Sequence[Sequence[Message]]
    """One round; request i asks conversation i modulo its length."""

    invalid: Sequence[Message] | None
    """Takes the place of each round's last request, and must be refused; None: every request is valid."""

    max_new_tokens: int

    def run(self, requests: int) -> None:
        """Answer `requests` requests from the beginning of the round, and keep nothing of them."""
        last = len(self.conversations) - 1
        for index in range(requests):
            place = index % len(self.conversations)
            if self.invalid is not None and place == last:
                self._provoke(self.invalid)
            else:
                self.session.answer(self.conversations[place], max_new_tokens=self.max_new_tokens)

    def _provoke(self, invalid: Sequence[Message]) -> None:
        try:
            self.session.answer(invalid, max_new_tokens=self.max_new_tokens)
        except InvalidPromptError:
            return
        raise MeasureError(
            "the runtime answered the request that should walk its error path",
            where=self.session.name,
            next_step="give a request that this runtime refuses, for example one over its context",
        )


def main(job: dict[str, Any]) -> dict[str, Any]:
    """Measure growth, or list the stacks that grow, as the job's `mode` says."""
    session = open_session(job["session"])
    try:
        workload = Workload(
            session=session,
            conversations=job["conversations"],
            invalid=job["invalid"],
            max_new_tokens=job["max_new_tokens"],
        )
        return list_stacks(workload, job) if job["mode"] == "stacks" else measure(workload, job)
    finally:
        session.close()


def measure(workload: Workload, job: dict[str, Any]) -> dict[str, Any]:
    """Warm up, then sample before the first and after each of the job's `segments`."""
    meter = choose_meter(job.get("method"))
    segment_requests = job["segment_requests" if meter.method == "mallinfo2" else "coarse_segment_requests"]
    segments = job["segments"]
    in_use, anonymous = array("q", bytes(8 * (segments + 1))), array("q", bytes(8 * (segments + 1)))
    workload.run(job["warmup_requests"])
    for segment in range(segments + 1):
        if segment:
            workload.run(segment_requests)
        tell_step(f"leaks: segments of {segment_requests} requests", segment, segments)
        settle()
        in_use[segment] = meter.in_use_bytes()
        if meter.anonymous_bytes:
            anonymous[segment] = meter.anonymous_bytes()
    return {
        "method": meter.method,
        "segment_requests": segment_requests,
        "in_use_bytes": list(in_use),
        "anonymous_bytes": list(anonymous) if meter.anonymous_bytes else None,
    }


def list_stacks(workload: Workload, job: dict[str, Any]) -> dict[str, Any]:
    """What was allocated in a window of requests and not freed in it, by call stack, as memray saw it.

    A first window is recorded and dropped: it holds what tracing itself allocates once.
    """
    try:
        import memray
    except ImportError:
        return {"stacks": None}
    window = job["stack_requests"]
    workload.run(job["warmup_requests"])
    with tempfile.TemporaryDirectory(prefix="slm-gate-") as folder:
        for name in ("dropped", "kept"):
            tell_progress(f"leaks: tracing allocations, window {name}")
            settle()
            with memray.Tracker(
                Path(folder, name),
                native_traces=True,
                file_format=memray.FileFormat.AGGREGATED_ALLOCATIONS,
            ):
                workload.run(window)
                gc.collect()
        with memray.FileReader(str(Path(folder, "kept"))) as reader:
            leaked = reader.get_leaked_allocation_records(merge_threads=True)
            stacks = [_as_stack(record) for record in leaked]
    return {"stacks": stacks}


def choose_meter(method: str | None = None) -> Meter:
    """The finest meter that works here, or the named one.

    `mallinfo2` is tried first on memory of its own: under a preloaded allocator it stands still and would see no leak.

    Raises:
        MeasureError: the named meter does not exist on this system.
    """
    for make in (_mallinfo2, _anonymous, _process):
        meter = make()
        if meter and (meter.method == method or (method is None and _is_usable(meter))):
            return meter
    raise MeasureError(f"memory cannot be read by {method!r} on {sys.platform}")


def settle() -> None:
    """Give back what is only cached: garbage cycles, CPython's type cache, the allocator's free pages."""
    gc.collect()
    clear = getattr(sys, "_clear_internal_caches", None) or getattr(sys, "_clear_type_cache", None)
    if clear:
        clear()
    trim = getattr(_c_library(), "malloc_trim", None)
    if trim:
        trim(0)


def _is_usable(meter: Meter) -> bool:
    if meter.method != "mallinfo2":
        return True
    settle()
    before = meter.in_use_bytes()
    control = [bytes(CONTROL_OBJECT_BYTES) + index.to_bytes(4, "big") for index in range(CONTROL_OBJECTS)]
    seen = meter.in_use_bytes() - before
    return seen >= len(control) * CONTROL_OBJECT_BYTES


class _Mallinfo2(ctypes.Structure):
    _fields_ = (
        ("arena", ctypes.c_size_t),
        ("ordblks", ctypes.c_size_t),
        ("smblks", ctypes.c_size_t),
        ("hblks", ctypes.c_size_t),
        ("hblkhd", ctypes.c_size_t),
        ("usmblks", ctypes.c_size_t),
        ("fsmblks", ctypes.c_size_t),
        ("uordblks", ctypes.c_size_t),
        ("fordblks", ctypes.c_size_t),
        ("keepcost", ctypes.c_size_t),
    )


def _mallinfo2() -> Meter | None:
    read = getattr(_c_library(), "mallinfo2", None)
    if read is None:
        return None
    read.restype = _Mallinfo2

    def in_use_bytes() -> int:
        info = read()
        return int(info.uordblks + info.hblkhd)

    return Meter(
        method="mallinfo2",
        in_use_bytes=in_use_bytes,
        anonymous_bytes=_anonymous_bytes if _SMAPS.exists() else None,
    )


def _anonymous() -> Meter | None:
    if not _SMAPS.exists():
        return None
    return Meter(method="anonymous", in_use_bytes=_anonymous_bytes, anonymous_bytes=_anonymous_bytes)


def _process() -> Meter | None:
    import psutil

    process = psutil.Process()
    if sys.platform == "win32":
        return Meter(method="private", in_use_bytes=lambda: int(process.memory_info().private), anonymous_bytes=None)
    return Meter(method="uss", in_use_bytes=lambda: int(process.memory_full_info().uss), anonymous_bytes=None)


def _anonymous_bytes() -> int:
    for line in _SMAPS.read_bytes().splitlines():
        if line.startswith(b"Anonymous:"):
            return int(line.split()[1]) * 1024
    raise MeasureError(f"{_SMAPS} has no line `Anonymous`")


@functools.cache
def _c_library() -> ctypes.CDLL | None:
    return None if sys.platform == "win32" else ctypes.CDLL(None)


def _as_stack(record: Any) -> dict[str, Any]:
    return {
        "bytes": record.size,
        "allocations": record.n_allocations,
        "frames": [list(frame) for frame in record.hybrid_stack_trace()],
    }


if __name__ == "__main__":
    serve_job(main, sys.argv[1:])
