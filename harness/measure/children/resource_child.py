"""The measured side of `harness.measure.memory`: import, load, answer, and read this process's own counters."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import psutil

from harness.errors import MeasureError
from harness.foundry.opening import import_runtime, open_session
from harness.runtime.session import Answer, Session
from harness.system.child import serve_job, tell_step
from harness.system.cpu import logical_cpus


def main(job: dict[str, Any]) -> dict[str, Any]:
    """Load the job's session, answer its conversations, and report what that took."""
    process = psutil.Process()
    start_s = time.perf_counter()
    import_runtime(job["session"])
    import_s = time.perf_counter() - start_s
    baseline_rss_bytes = process.memory_info().rss
    start_s = time.perf_counter()
    session = open_session(job["session"])
    load_s = time.perf_counter() - start_s
    try:
        return {
            "import_s": import_s,
            "load_s": load_s,
            "baseline_rss_bytes": baseline_rss_bytes,
            "rss_after_load_bytes": process.memory_info().rss,
            "samples": _answer_all(session, job, process),
            "threads": process.num_threads(),
            "peak_rss_bytes": peak_rss_bytes(),
            "logical_cpus": logical_cpus(),
        }
    finally:
        session.close()


def peak_rss_bytes() -> int:
    """The most resident memory that this process ever had, bytes.

    Linux: `VmHWM` of /proc/self/status (proc(5)), as `ru_maxrss` starts from the parent's peak there. macOS:
    `ru_maxrss`, in bytes on that system. Windows: PeakWorkingSetSize.

    Raises:
        MeasureError: the system does not tell.
    """
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    if sys.platform == "darwin":
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return parse_vm_hwm(Path("/proc/self/status").read_text(encoding="ascii", errors="replace"))


def parse_vm_hwm(status: str) -> int:
    """`VmHWM` of a /proc/PID/status text, bytes.

    Raises:
        MeasureError: there is no such line.
    """
    for line in status.splitlines():
        name, _, value = line.partition(":")
        if name == "VmHWM":
            return int(value.split()[0]) * 1024
    raise MeasureError("/proc/self/status has no VmHWM", next_step="is /proc mounted?")


def _answer_all(session: Session, job: dict[str, Any], process: psutil.Process) -> list[dict[str, Any]]:
    conversations = job["conversations"]
    samples = []
    tell_step("memory and CPU: answers", 0, len(conversations))
    start_s, start_cpu_s = time.perf_counter(), time.process_time()
    for index, conversation in enumerate(conversations, start=1):
        answer = session.answer(conversation, max_new_tokens=job["max_new_tokens"])
        samples.append(
            {
                "wall_s": time.perf_counter() - start_s,
                "cpu_s": time.process_time() - start_cpu_s,
                "rss_bytes": process.memory_info().rss,
                "tokens": _tokens(answer),
            }
        )
        tell_step("memory and CPU: answers", index, len(conversations))
    return samples


def _tokens(answer: Answer) -> int:
    """Tokens with their end-of-sequence; the timeline counts pieces where a runtime hides its ids."""
    return max(len(answer.timeline.token_s), len(answer.token_ids or ()))


if __name__ == "__main__":
    serve_job(main, sys.argv[1:])
