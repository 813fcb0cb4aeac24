"""The measured side of `harness.serving.endurance`: serve one model; let it go and take it back, or answer for long."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.config.target import target_of
from harness.errors import SessionError
from harness.foundry.host import FoundryHost, RegisteredModel
from harness.foundry.http_session import FoundryHttpSession
from harness.measure.children.meters import choose_meter, settle
from harness.system.child import serve_job, tell_step

Memory = Callable[[], int]


def main(job: dict[str, Any]) -> dict[str, Any]:
    """Do the job's cycles of load and unload, or its requests in a row."""
    meter = choose_meter("anonymous" if sys.platform == "linux" else None)

    def memory() -> int:
        settle()
        return meter.in_use_bytes()

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


if __name__ == "__main__":
    serve_job(main, sys.argv[1:])
