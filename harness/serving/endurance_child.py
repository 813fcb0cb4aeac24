"""The measured side of `harness.serving.endurance`: serve one model; let it go and take it back, or answer for long."""

from __future__ import annotations

import signal
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from harness.config.target import target_of
from harness.errors import SessionError
from harness.foundry.host import FoundryHost, RegisteredModel
from harness.foundry.http_session import FoundryHttpSession
from harness.measure.children.meters import choose_meter, settle
from harness.system.child import serve_job, tell_step

_SECONDS: Final = "soaking, seconds"
_KEPT: Final = 100
"""Errors and wrong answers that are kept; all are counted."""

Memory = Callable[[], int]


def main(job: dict[str, Any]) -> dict[str, Any]:
    """Do the job's cycles of load and unload, or its requests in a row."""
    meter = choose_meter("anonymous" if sys.platform == "linux" else None)

    def memory() -> int:
        settle()
        return meter.in_use_bytes()

    if "stop_file" in job:  # Ctrl-C reaches the whole group of processes; the parent says when to stop
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    spec = job["session"]
    with FoundryHost(Path(spec["home"])) as host:
        model = host.register(Path(spec["path"]), spec["alias"], target=target_of(spec))
        session = FoundryHttpSession(host.serve(), model.model_id, context_length=host.context_length(model))
        try:
            if "cycles" in job:
                return unload(host, model, session, job, memory)
            host.load(model)
            return soak(session, job, memory)
        finally:
            session.close()


def unload(
    host: FoundryHost, model: RegisteredModel, session: FoundryHttpSession, job: dict[str, Any], memory: Memory
) -> dict[str, Any]:
    """Load, ask and unload as often as the job says; memory is read before, meanwhile and after."""
    cycles, texts = [], set()
    tell_step("loaded and unloaded", 0, job["cycles"])
    for number in range(job["cycles"]):
        before_load_bytes = memory()
        host.load(model)
        texts.add(session.answer(job["question"], max_new_tokens=job["max_new_tokens"]).text)
        loaded_bytes = memory()
        host.unload(model)
        cycles.append(
            {"before_load_bytes": before_load_bytes, "loaded_bytes": loaded_bytes, "unloaded_bytes": memory()}
        )
        tell_step("loaded and unloaded", number + 1, job["cycles"])
    return {"cycles": cycles, "is_same_after_reload": len(texts) == 1}


def soak(session: FoundryHttpSession, job: dict[str, Any], memory: Memory) -> dict[str, Any]:
    """Ask in turn as often as the job says; later answers are compared with the first one to each question."""
    if "duration_s" in job:
        return soak_for(session, job, memory)
    conversations = list(job["conversations"].items())
    expected = {case: session.answer(turns, max_new_tokens=job["max_new_tokens"]).text for case, turns in conversations}
    errors: list[str] = []
    wrong: list[str] = []
    memory_bytes = [memory()]
    requests, segments = job["requests"], job["segments"]
    tell_step("requests in a row", 0, requests)
    for number in range(requests):
        case, turns = conversations[number % len(conversations)]
        try:
            if session.answer(turns, max_new_tokens=job["max_new_tokens"]).text != expected[case]:
                wrong.append(case)
        except SessionError as error:
            errors.append(f"{case}: {error.what}")
        if (number + 1) * segments // requests != number * segments // requests:
            memory_bytes.append(memory())
            tell_step("requests in a row", number + 1, requests)
    return {"requests": requests, "errors": errors, "wrong": wrong, "memory_bytes": memory_bytes}


def soak_for(session: FoundryHttpSession, job: dict[str, Any], memory: Memory) -> dict[str, Any]:
    """Ask in turn for the job's duration, or until its stop file is there; memory is read at equal intervals."""
    conversations = list(job["conversations"].items())
    expected = {case: session.answer(turns, max_new_tokens=job["max_new_tokens"]).text for case, turns in conversations}
    stop, duration_s, looks = Path(job["stop_file"]), job["duration_s"], job["looks"]
    errors: list[str] = []
    wrong: list[str] = []
    memory_bytes, took_s, recent = [memory()], [], []
    made = wrongs = failures = 0
    start_s = time.perf_counter()
    tell_step(_SECONDS, 0, round(duration_s))
    while (elapsed_s := time.perf_counter() - start_s) < duration_s and not stop.exists():
        case, turns = conversations[made % len(conversations)]
        began_s = time.perf_counter()
        try:
            if session.answer(turns, max_new_tokens=job["max_new_tokens"]).text != expected[case]:
                wrongs += 1
                wrong += [case] if len(wrong) < _KEPT else []
        except SessionError as error:
            failures += 1
            errors += [f"{case}: {error.what}"] if len(errors) < _KEPT else []
        made += 1
        recent.append(time.perf_counter() - began_s)
        if elapsed_s * looks >= len(memory_bytes) * duration_s:
            memory_bytes.append(memory())
            took_s.append(statistics.median(recent))
            recent.clear()
            tell_step(_SECONDS, round(elapsed_s), round(duration_s))
    if recent:
        memory_bytes.append(memory())
        took_s.append(statistics.median(recent))
    return {
        "requests": made,
        "errors": errors,
        "wrong": wrong,
        "memory_bytes": memory_bytes,
        "error_count": failures,
        "wrong_count": wrongs,
        "asked_s": duration_s,
        "lasted_s": time.perf_counter() - start_s,
        "request_s": took_s,
    }


if __name__ == "__main__":
    serve_job(main, sys.argv[1:])
