"""Conversion jobs: one worker in the toolchain does them all, and its results are checked before they are believed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from harness.artifact.inspect import inspect_artifact
from harness.convert.failure import ignored_keys, no_model_error
from harness.errors import ChildError, ConversionError
from harness.recipes.olive_file import ignored_options
from harness.recipes.recipe import Recipe, olive_run_config
from harness.source.reference_logits import ReferenceLogits
from harness.source.source import Source
from harness.system.child import log_tail, run_job
from harness.system.progress import TappedProgress
from harness.toolchain.toolchain import Toolchain, quiet_environment, worker
from harness.toolchain.workspace import Workspace

WORKER = worker("olive_worker")


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversionJob:
    """One variant that has to be converted."""

    variant: str
    recipe: Recipe
    key: str
    work: Path
    log: Path

    @property
    def is_made(self) -> bool:
        """Whether the worker has finished it, successfully or not."""
        return (self.work / "result.json").exists()


def run_olive(
    jobs: list[ConversionJob],
    reference_logits: ReferenceLogits,
    workspace: Workspace,
    toolchain: Toolchain,
    on_line: Callable[[], None],
) -> dict[str, ChildError]:
    """Let one worker do the jobs; those that a crash left undone go to another one. Returns the crashed ones by key.

    The worker has torch and transformers in memory, so it also computes reference logits that are missing. `on_line` is
    called whenever it tells of its progress.
    """
    crashed: dict[str, ChildError] = {}
    waiting = jobs
    while waiting:
        try:
            _run_worker(waiting, reference_logits, workspace, toolchain, on_line)
            return crashed
        except ChildError as error:
            unfinished = [job for job in waiting if not job.is_made]
            crashing = [job for job in unfinished if (job.work / "started").exists()] or unfinished
            crashed.update({job.key: error for job in crashing})
            waiting = [job for job in unfinished if job.key not in crashed]
            for job in crashing:
                workspace.notify(f"{job.variant}: {error.what}")
    return crashed


def _run_worker(
    jobs: list[ConversionJob],
    reference_logits: ReferenceLogits,
    workspace: Workspace,
    toolchain: Toolchain,
    on_line: Callable[[], None],
) -> None:
    source, log = reference_logits.source, jobs[0].log.with_suffix(".worker.log")
    place = jobs[0].work / "reference_logits"
    parts = reference_logits.job(reference_logits.missing(), place)
    variants = {
        job.variant: {
            **_instructions(job, source),
            "output": str(job.work / "out"),
            "work": str(job.work),
            "log": str(job.log),
        }
        for job in jobs
    }

    def hear() -> None:
        reference_logits.keep(place)
        on_line()

    # The builder empties the hub cache, so it gets an empty one.
    hub = {} if source.trust_remote_code else {"HF_HUB_CACHE": str(jobs[0].work / "hub")}
    run_job(
        toolchain.command(WORKER),
        {"variants": variants, "reference_logits": parts, "log": str(log)},
        log=log,
        timeout_s=workspace.timeout_s,
        progress=TappedProgress(workspace.progress, hear),
        env={**quiet_environment(), **hub},
    )
    reference_logits.keep(place)


def _instructions(job: ConversionJob, source: Source) -> dict[str, Any]:
    """What the worker runs: an Olive workflow, or the builder of the runtime that serves."""
    if job.recipe.backend == "genai":
        return {"builder": _builder_arguments(job, source)}
    out, cache = job.work / "out", job.work / "cache"
    trust = source.trust_remote_code
    return {"config": olive_run_config(job.recipe, source.path, out, cache, trust_remote_code=trust)}


def _builder_arguments(job: ConversionJob, source: Source) -> list[str]:
    runtime = find_spec("onnxruntime_genai")
    assert runtime is not None  # the key of the artifact has its version
    assert runtime.origin is not None
    recipe = job.recipe
    asked = {
        "hf_remote": source.trust_remote_code,
        "block_size": recipe.block_size,
        "is_symmetric": recipe.symmetric,
        "accuracy_level": recipe.accuracy_level,
        "algo_config": recipe.algorithm,
        "shared_embeddings": False if _breaks_sharing(recipe) else None,
        "windowed_kv_cache": False,  # the runtime refuses answers that are shorter than the window
    }
    options = [f"{name}={str(value).lower()}" for name, value in asked.items() if value is not None]
    script = Path(runtime.origin).parent / "models" / "builder.py"
    places = ["-i", str(source.path), "-o", str(job.work / "out"), "-c", str(job.work / "cache")]
    return [str(script), *places, "-p", recipe.precision, "-e", recipe.target.builder_name, "--extra_options", *options]


def _breaks_sharing(recipe: Recipe) -> bool:
    """Whether embedding and head would share asymmetric weights: the builder makes that, and it does not load."""
    return recipe.symmetric is False and not (recipe.algorithm or "").startswith("k_quant")


def outcome_of(job: ConversionJob, crash: ChildError | None) -> dict[str, Any]:
    """The worker's report on a variant, if it made exactly one model and ignored no option."""
    text = job.log.read_text(encoding="utf-8", errors="replace") if job.log.exists() else ""
    if crash is not None:
        was_killed = "status" not in crash.what
        last_words = (crash.where or "").replace("    | ", "")
        where = f"{job.log}\n{log_tail(job.log)}"
        raise no_model_error(
            job.variant, text or last_words, crash.what if was_killed else None, where, maker=_maker(job)
        )
    outcome: dict[str, Any] = json.loads((job.work / "result.json").read_text(encoding="utf-8"))
    if outcome["error"] or not outcome["folders"]:
        raise no_model_error(job.variant, text, outcome["error"], str(job.log), maker=_maker(job))
    ignored = ignored_keys(text)
    if ignored:
        comparison = _describe_ignored(job, outcome)
        raise ConversionError(
            f"{job.variant}: Olive ignored {', '.join(ignored)}, so the model is not the requested one{comparison}",
            where=f"{job.recipe.olive_config or 'built-in recipe'}, log: {job.log}",
            next_step="ModelBuilder takes int4_block_size, int4_is_symmetric, int4_accuracy_level and int4_algo_config",
        )
    if len(outcome["folders"]) > 1:
        raise ConversionError(
            f"{job.variant}: Olive wrote {len(outcome['folders'])} models where one was wanted",
            where=str(job.recipe.olive_config),
            next_step="leave one workflow without search in the Olive file",
        )
    return outcome


def _maker(job: ConversionJob) -> str:
    return "onnxruntime-genai's builder" if job.recipe.backend == "genai" else "Olive"


def _describe_ignored(job: ConversionJob, outcome: Mapping[str, Any]) -> str:
    """The ignored options beside those of the graph; empty if nothing can be compared."""
    if job.recipe.olive_config is None or not outcome["folders"]:
        return ""
    asked = ignored_options(job.recipe.olive_config)
    facts = inspect_artifact(Path(outcome["folders"][0]))
    there = {
        "block_size": ", ".join(map(str, facts.block_sizes)) or "none",
        "is_symmetric": ", ".join(str(value).lower() for value in facts.symmetries) or "nothing is quantised",
        "accuracy_level": ", ".join(map(str, facts.accuracy_levels)) or "none",
    }
    pairs = [
        f"{name} requested {str(value).lower()}, the graph has {there[name]}"
        for name, value in asked.items()
        if name in there
    ]
    return f": {'; '.join(pairs)}" if pairs else ""
