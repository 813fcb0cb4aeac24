"""The measured side of `harness.measure.memory`: import, load, answer, let go, and read this process's own counters."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

import psutil

from harness.foundry.opening import import_runtime, open_session
from harness.machine.disturbance import MachineWatch
from harness.machine.energy import read_energy, used_joules
from harness.measure.children.process_memory import (
    heap_meter,
    peak_rss_bytes,
    read_memory,
    reset_peak,
    trim,
)
from harness.runtime.session import Answer, Message, ScoringSession, Session
from harness.system.child import serve_job, tell_step
from harness.system.cpu import logical_cpus

_ANSWERED_TOKENS: Final = 8
_BEATS: Final = 5
_CACHE_LENGTHS: Final = (256, 2048)


def main(job: dict[str, Any]) -> dict[str, Any]:
    """Load the job's session, answer its conversations, and report what that took."""
    process = psutil.Process()
    start_s = time.perf_counter()
    import_runtime(job["session"])
    import_s = time.perf_counter() - start_s
    baseline, threads_before = read_memory(), process.num_threads()
    with MachineWatch() as load_watch:
        start_s = time.perf_counter()
        session = open_session(job["session"])
        load_s = time.perf_counter() - start_s
    threads_loaded, loaded = process.num_threads(), read_memory()
    try:
        with MachineWatch() as watch:
            _pace(watch)
            answering = _answer_all(session, job, process)
            _pace(watch)
        threads = process.num_threads()
        peaks = [peak_rss_bytes()]
        lengths = _at_lengths(session, job, peaks)
        cache = _cache_bytes_per_token(session)
    finally:
        session.close()
    del session
    gc.collect()
    unloaded = read_memory()
    trimmed = read_memory() if trim() else None
    return {
        "import_s": import_s,
        "load_s": load_s,
        "baseline_rss_bytes": baseline.rss_bytes,
        "rss_after_load_bytes": loaded.rss_bytes,
        **answering,
        "threads": threads,
        "compute_threads": max(1, threads_loaded - threads_before + 1),
        "peak_rss_bytes": max(peaks),
        "logical_cpus": logical_cpus(),
        "baseline": asdict(baseline),
        "loaded": asdict(loaded),
        "lengths": lengths,
        "cache_bytes_per_token": cache,
        "unloaded": asdict(unloaded),
        "trimmed": None if trimmed is None else asdict(trimmed),
        "load_disturbances": [str(one) for one in load_watch.found],
        "disturbances": [str(one) for one in watch.found],
    }


def _answer_all(session: Session, job: dict[str, Any], process: psutil.Process) -> dict[str, Any]:
    conversations = job["conversations"]
    samples: list[dict[str, Any]] = []
    cold_ttft_s = None
    tell_step("memory and CPU: answers", 0, len(conversations))
    energy, before = read_energy(), _counters(process)
    start_s, start_cpu_s = time.perf_counter(), time.process_time()
    for index, conversation in enumerate(conversations, start=1):
        answer = session.answer(conversation, max_new_tokens=job["max_new_tokens"])
        cold_ttft_s = answer.timeline.ttft_s if index == 1 else cold_ttft_s
        samples.append(
            {
                "wall_s": time.perf_counter() - start_s,
                "cpu_s": time.process_time() - start_cpu_s,
                "rss_bytes": process.memory_info().rss,
                "tokens": _tokens(answer),
            }
        )
        tell_step("memory and CPU: answers", index, len(conversations))
    after = _counters(process)
    counts = {name: after[name] - before[name] for name in before}
    return {"samples": samples, "cold_ttft_s": cold_ttft_s, "joules": used_joules(energy, read_energy()), **counts}


def _pace(watch: MachineWatch) -> None:
    """Note the processor's speed, outside of what is counted."""
    for _ in range(_BEATS):
        watch.beat()


def _counters(process: psutil.Process) -> dict[str, int]:
    """Page faults and context switches of all threads so far; without those that the system does not tell."""
    if sys.platform == "win32":
        switches = process.num_ctx_switches()
        return {"voluntary_switches": switches.voluntary}  # it tells their sum only
    import resource

    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "voluntary_switches": usage.ru_nvcsw,
        "involuntary_switches": usage.ru_nivcsw,
        "minor_faults": usage.ru_minflt,
        "major_faults": usage.ru_majflt,
    }


def _at_lengths(session: Session, job: dict[str, Any], peaks: list[int]) -> list[dict[str, Any]]:
    """The memory that prompts of each length need: the peak while one is answered, from a mark that is set before."""
    rows = []
    encoder = session if isinstance(session, ScoringSession) else None
    for tokens in job.get("lengths", ()):
        if encoder is None or tokens + _ANSWERED_TOKENS >= session.context_length:
            continue
        conversation = _of_length(encoder, job["padding"], job["frame"], tokens)
        is_own = reset_peak()
        answer = session.answer(conversation, max_new_tokens=_ANSWERED_TOKENS)
        peaks.append(peak_rss_bytes())
        row = {"prompt_tokens": answer.timeline.prompt_tokens or tokens, "asked_tokens": tokens}
        rows.append({**row, "peak_rss_bytes": peaks[-1], "is_own_peak": is_own, "after": asdict(read_memory())})
    return rows


def _of_length(session: ScoringSession, padding: str, frame: Sequence[Message], tokens: int) -> list[dict[str, str]]:
    """The frame, a conversation, with as many words of padding in its last turn as fit into `tokens` tokens."""
    turns = [dict(turn) for turn in frame]
    room = tokens - len(session.encode(session.render(turns)))
    words = padding.split()
    words *= max(0, room) // max(1, len(session.encode(padding))) + 1
    fitting = 0
    for step in (4096, 512, 64, 8, 1):  # a word has a token or more
        while fitting + step <= len(words) and len(session.encode(" ".join(words[: fitting + step]))) <= room:
            fitting += step
    turns[-1]["content"] = " ".join([turns[-1]["content"], *words[:fitting]])
    return turns


def _cache_bytes_per_token(session: Session) -> float | None:
    """What the heap grows by for each token that a generator may hold: the difference of two generators.

    Both have read the same few tokens; a runtime that allocates its cache as a whole shows its size already.
    """
    cursor = getattr(session, "cursor", None)
    encode = getattr(session, "encode", None)
    short, long = _CACHE_LENGTHS[0], min(_CACHE_LENGTHS[1], session.context_length)
    if cursor is None or encode is None or not getattr(session, "is_steppable", False) or long < 2 * short:
        return None
    tokens = encode("one two three four")
    in_use = heap_meter()
    held = []
    for length in (short, short, long):  # the first one also pays for what the runtime sets up once
        gc.collect()
        before = in_use()
        reading = cursor(length)
        reading.append(tokens, keep=1)
        held.append(in_use() - before)
        del reading
    return (held[2] - held[1]) / (long - short)


def _tokens(answer: Answer) -> int:
    """Tokens with their end-of-sequence; the timeline counts pieces where a runtime hides its ids."""
    return max(len(answer.timeline.token_s), len(answer.token_ids or ()))


if __name__ == "__main__":
    serve_job(main, sys.argv[1:])
