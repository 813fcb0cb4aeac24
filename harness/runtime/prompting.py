"""What onnxruntime-genai makes of texts and conversations, asked in a process of its own."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.config.target import CPU, Target, target_of
from harness.errors import ArtifactError, ChildError, InvalidPromptError, SessionError
from harness.runtime.session import Message
from harness.system.child import harness_module, run_job, serve_job
from harness.toolchain.toolchain import quiet_environment


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimePrompts:
    """Tokens and prompts of one artifact in the runtime."""

    ids: tuple[tuple[int, ...] | None, ...]
    """Token ids of each text, in their order; None where the tokenizer refused it."""

    prompts: Mapping[str, str | None]
    """Prompt text of each conversation, by name; None where the chat template refused it."""


def ask_runtime(
    folder: Path,
    texts: Sequence[str],
    conversations: Mapping[str, Sequence[Message]],
    *,
    target: Target = CPU,
    log: Path,
    timeout_s: float = 600.0,
) -> RuntimePrompts:
    """Tokenise texts and render conversations with an artifact's own tokenizer and chat template.

    Raises:
        ArtifactError: it does not load, or crashes.
    """
    job = {
        "path": str(folder),
        "target": target.as_dict(),
        "texts": list(texts),
        "conversations": {name: [dict(turn) for turn in turns] for name, turns in conversations.items()},
    }
    try:
        said = run_job(
            harness_module("harness.runtime.prompting"), job, log=log, timeout_s=timeout_s, env=quiet_environment()
        )
    except ChildError as error:
        raise ArtifactError(
            f"the runtime cannot use the tokenizer: {error.what}",
            where=f"{folder} ({error.where})" if error.where else str(folder),
            next_step=error.next_step or "see that tokenizer.json and tokenizer_config.json are those of the source",
        ) from error
    return RuntimePrompts(
        ids=tuple(None if one is None else tuple(one) for one in said["ids"]), prompts=said["prompts"]
    )


def _serve(job: dict[str, Any]) -> dict[str, Any]:
    from harness.runtime.genai import GenaiSession

    try:
        session = GenaiSession(Path(job["path"]), target=target_of(job))
    except SessionError as error:
        raise ArtifactError(error.what, where=error.where, next_step=error.next_step) from error
    return {
        "ids": [_ids(session, text) for text in job["texts"]],
        "prompts": {name: _prompt(session, turns) for name, turns in job["conversations"].items()},
    }


def _ids(session: Any, text: str) -> list[int] | None:
    try:
        return list(session.encode(text))
    except InvalidPromptError:
        return None


def _prompt(session: Any, turns: list[dict[str, str]]) -> str | None:
    try:
        return str(session.render(turns))
    except InvalidPromptError:
        return None


if __name__ == "__main__":
    serve_job(_serve, sys.argv[-2:])
