"""The tutorial's way into Foundry Local: a folder with `inference_model.json` in the model cache.

Releases up to 2.0 take it. The one to be served with is a setting, and lives in an environment of its own, made once
like the conversion toolchain; the gate's own release stays what it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from harness.errors import DeployError
from harness.foundry.staging import stage
from harness.prompts.chat_template import Message
from harness.prompts.prompt_template import choose_prompt_template, write_inference_model
from harness.system.child import run_job
from harness.system.progress import SILENT, Progress
from harness.toolchain.pinned import ensure_environment
from harness.toolchain.workspace import Workspace

RELEASE: Final = "2.0.1"
"""The last release that was seen to list, load and serve cache folders."""

_WORKER: Final = Path(__file__).with_name("cache_route_worker.py")


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheRouteAnswer:
    """What the release's own web service said to one conversation."""

    text: str
    finish_reason: str
    """`stop` or `length`; empty when it was refused."""

    prompt_tokens: int | None
    problem: str = ""
    """What it was refused with; empty for an answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheRouteModel:
    """How far one model came."""

    name: str
    is_listed: bool
    is_loaded: bool
    is_unloaded: bool
    answers: tuple[CacheRouteAnswer, ...]
    problem: str = ""
    """Why it was not loaded; empty when it was."""

    def difference(self, expected: Sequence[str]) -> str | None:
        """What went otherwise than it should, the first thing first; None when the answers are the expected ones."""
        if not self.is_listed:
            return f"{self.name} is not listed"
        if not self.is_loaded:
            return f"{self.name} was not loaded: {self.problem}"
        for text, answer in zip(expected, self.answers, strict=True):
            if answer.problem or answer.text != text:
                return f"{text!r} became {answer.problem or answer.text!r}"
        return None if self.is_unloaded else f"{self.name} was not unloaded"


def ensure_release(workspace: Workspace, release: str = RELEASE) -> Path:
    """The interpreter of an environment with that foundry-local-sdk; it is made where there is none yet.

    Raises:
        ToolchainError: pip cannot make it.
    """
    return ensure_environment(workspace, "serving", f"foundry-local-sdk=={release}", size="0.3 GB")


def stage_for_cache(artifact: Path, target: Path, name: str, *, progress: Progress = SILENT) -> None:
    """Put an artifact into a model cache as `target`, with an `inference_model.json` that gives it its name.

    Raises:
        DeployError: the artifact is incomplete, or `target` is taken.
    """
    if target.exists():
        raise DeployError(f"a model is in the cache as {name!r} already", where=str(target))
    template, problem = choose_prompt_template(artifact, None)
    if problem:
        progress.line(f"{name}: inference_model.json without PromptTemplate: {problem}")
    stage(artifact, target, lambda staging: write_inference_model(staging, name, prompt_template=template))


def serve_from_cache(
    models: Mapping[str, Path],
    conversations: Sequence[Sequence[Message]],
    *,
    python: Path,
    home: Path,
    log: Path,
    max_new_tokens: int,
    timeout_s: float = 1800.0,
    progress: Progress = SILENT,
) -> dict[str, CacheRouteModel]:
    """Put each artifact into a model cache under `home`, and see it listed, loaded, asked and unloaded by name.

    Raises:
        DeployError: an artifact is incomplete.
        ChildError: the release died, hung or could not be started.
    """
    cache = home / "model-cache"
    for name, artifact in models.items():
        stage_for_cache(artifact, cache / name, name, progress=progress)
    job = {
        "home": str(home),
        "cache": str(cache),
        "names": list(models),
        "conversations": [[dict(turn) for turn in turns] for turns in conversations],
        "max_new_tokens": max_new_tokens,
    }
    command: list[str | Path] = [python, "-E", "-s", "-P", "-X", "utf8", _WORKER]
    result = run_job(command, job, log=log, timeout_s=timeout_s, progress=progress)
    return {name: _read(name, result) for name in models}


def _read(name: str, result: Mapping[str, Any]) -> CacheRouteModel:
    model_id = next((one for one in result["listed"] if one.rpartition(":")[0] == name), None)
    served = result["served"].get(model_id, {})
    return CacheRouteModel(
        name=name,
        is_listed=model_id is not None,
        is_loaded=bool(served.get("loaded")),
        is_unloaded=bool(served.get("unloaded")),
        answers=tuple(
            CacheRouteAnswer(
                text=one.get("text", ""),
                finish_reason=one.get("finish_reason") or "",
                prompt_tokens=one.get("prompt_tokens"),
                problem=one.get("problem", ""),
            )
            for one in served.get("answers", [])
        ),
        problem=served.get("problem", ""),
    )
