"""The one way from a source model to artifacts: reused, or converted and proved, and only then kept."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from harness.artifact.artifact import (
    Artifact,
    ArtifactStore,
    artifact_key,
    collect_model,
    describe,
    keep_penalties,
    reject_duplicate_variants,
    serve_on_cpu,
)
from harness.artifact.facts import ArtifactFacts, differences_from_source, discrepancies
from harness.artifact.inspect import inspect_artifact
from harness.convert.job import ConversionJob, outcome_of, run_olive
from harness.errors import ArtifactError, ChildError, ConversionError, FileError, GateError, UnexplainedError
from harness.metrics.units import format_bytes
from harness.prompts.template_files import find_templates, first_difference
from harness.recipes.recipe import Precision, Recipe
from harness.runtime.smoke_test import runtime_version, smoke_test
from harness.source.reference_logits import ReferenceLogits
from harness.source.source import Source
from harness.system.locks import locked
from harness.system.progress import SILENT, Progress, TappedProgress
from harness.toolchain.toolchain import Toolchain, ToolchainProvider

_WIDEST_FIRST: tuple[Precision, ...] = ("fp32", "fp16", "int8", "int4")
"""Order of conversion: the proof of a wide model takes long, and goes on while the next one is converted."""

_BYTES_PER_PARAMETER = 10.0
"""Disk for one variant while it is made: an fp32 model, a quantised one, and the artifact."""


def convert(
    source: Source,
    recipes: Mapping[str, Recipe],
    *,
    cache: Path,
    toolchain: ToolchainProvider,
    progress: Progress = SILENT,
    timeout_s: float = 7200.0,
    reference_logits: ReferenceLogits | None = None,
    may_repeat: Collection[str] = (),
) -> dict[str, Artifact | GateError]:
    """An artifact, or the reason why there is none, for each named recipe.

    Two recipes that give the same model are an error, except for those that `may_repeat` names.

    `toolchain` is called only if something has to be converted; one worker then makes everything that is missing,
    and asks the source for the `reference_logits` that artifacts are held against.
    """
    store = ArtifactStore(cache)
    reference_logits = reference_logits or ReferenceLogits(source, cache=cache, versions=toolchain.versions)
    resolved = {variant: recipe.resolved(source.input_widths) for variant, recipe in recipes.items()}
    keys = {variant: artifact_key(source, recipe, toolchain.versions) for variant, recipe in resolved.items()}
    results: dict[str, Artifact | GateError] = {}
    with _locks(store, keys, progress):
        missing = []
        for variant, recipe in resolved.items():
            found = _reuse(store, keys[variant], variant, recipe, reference_logits, cache, toolchain, progress)
            if found is None:
                missing.append(variant)
            else:
                results[variant] = found
        if missing:
            missing.sort(key=lambda variant: _WIDEST_FIRST.index(resolved[variant].precision))
            wanted = {variant: (resolved[variant], keys[variant]) for variant in missing}
            results.update(_make_missing(reference_logits, wanted, store, cache, toolchain, progress, timeout_s))
    judged = {name: found for name, found in results.items() if name not in may_repeat}
    results.update(
        reject_duplicate_variants({name: found for name, found in judged.items() if isinstance(found, Artifact)})
    )
    return {variant: results[variant] for variant in recipes}


def adopt(
    folder: Path, recipe: Recipe, variant: str, *, source: Source | None = None, logs: Path | None = None
) -> Artifact:
    """The artifact in a folder that was converted elsewhere, held against what it is said to be.

    Raises:
        ArtifactError: it is incomplete, is not what `recipe` says, has not the `source`'s settings, or does not answer.
    """
    facts = inspect_artifact(folder)
    _check_matches_recipe(folder, variant, facts, recipe, source=source, is_adopted=True)
    with ExitStack() as stack:
        place = logs or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="slm-gate-")))
        smoke_test(folder, log=place / f"{variant}-probe.log")
    return describe(folder, variant, recipe, facts, {}, was_reused=True)


@contextmanager
def _locks(store: ArtifactStore, keys: Mapping[str, str], progress: Progress) -> Iterator[None]:
    """Hold the lock of every key; always in the same order, so that two gates cannot block each other."""
    with ExitStack() as stack:
        for key in sorted(set(keys.values())):
            waiting = partial(progress.line, "another process is converting this model; waiting for it")
            stack.enter_context(locked(store.folder(key), waiting))
        yield


def _reuse(
    store: ArtifactStore,
    key: str,
    variant: str,
    recipe: Recipe,
    reference_logits: ReferenceLogits,
    cache: Path,
    toolchain: ToolchainProvider,
    progress: Progress,
) -> Artifact | GateError | None:
    manifest, was_damaged = store.find(key)
    if was_damaged:
        progress.line(f"{variant}: the cached artifact was damaged and is thrown away")
    if manifest is None:
        return None
    folder = store.folder(key) / "model"
    try:
        facts = inspect_artifact(folder)
        _check_matches_recipe(folder, variant, facts, recipe, source=reference_logits.source)
        if manifest.get("proved_with") != runtime_version():
            reference_logits.ensure(toolchain, progress)
            smoke_test(folder, log=_log(cache, variant, key, "probe"), tokens=reference_logits.tokens_file())
    except GateError as error:
        return error
    progress.line(f"{variant}: reused from the cache")
    return describe(folder, variant, recipe, facts, manifest, was_reused=True)


def _make_missing(
    reference_logits: ReferenceLogits,
    wanted: Mapping[str, tuple[Recipe, str]],
    store: ArtifactStore,
    cache: Path,
    toolchain: ToolchainProvider,
    progress: Progress,
    timeout_s: float,
) -> dict[str, Artifact | GateError]:
    try:
        reference_logits.source.require_stated_type()
        _require_space(reference_logits.source, wanted, store.root)
        ready = toolchain()
    except GateError as error:
        return dict.fromkeys(wanted, error)
    jobs: dict[str, ConversionJob] = {}
    try:
        for variant, (recipe, key) in wanted.items():
            if key not in jobs:
                log = _log(cache, variant, key, "olive")
                log.unlink(missing_ok=True)
                jobs[key] = ConversionJob(variant=variant, recipe=recipe, key=key, work=store.workspace(key), log=log)
        with ThreadPoolExecutor(max_workers=1) as prover:
            finish = partial(
                _finish, reference_logits=reference_logits, store=store, toolchain=ready, cache=cache, progress=progress
            )
            made = _make_and_finish(jobs, reference_logits, ready, progress, timeout_s, partial(prover.submit, finish))
    except OSError as error:
        return dict.fromkeys(wanted, FileError.of(error, cache))
    finally:
        for key in jobs:
            store.clear_workspaces(key)
    return {
        variant: _renamed(_root_cause(made[key], reference_logits), variant) for variant, (_, key) in wanted.items()
    }


def _root_cause(made: Artifact | GateError, reference_logits: ReferenceLogits) -> Artifact | GateError:
    """A model that not even transformers can run is the reason for what a converter stumbles over."""
    return reference_logits.problem or made if isinstance(made, UnexplainedError) else made


def _make_and_finish(
    jobs: Mapping[str, ConversionJob],
    reference_logits: ReferenceLogits,
    toolchain: Toolchain,
    progress: Progress,
    timeout_s: float,
    submit: Callable[[ConversionJob, ChildError | None], Future[Artifact | GateError]],
) -> dict[str, Artifact | GateError]:
    """Have the worker make the orders, and each one finished while the worker goes on with the next."""
    finishing: dict[str, Future[Artifact | GateError]] = {}

    def finish_made() -> None:
        for key, job in jobs.items():
            if key not in finishing and job.is_made:
                finishing[key] = submit(job, None)

    crashed = run_olive(
        list(jobs.values()), reference_logits, toolchain, TappedProgress(progress, finish_made), timeout_s
    )
    for key, job in jobs.items():
        if key not in finishing:
            finishing[key] = submit(job, crashed.get(key))
    return {key: future.result() for key, future in finishing.items()}


def _finish(
    job: ConversionJob,
    crash: ChildError | None,
    *,
    reference_logits: ReferenceLogits,
    store: ArtifactStore,
    toolchain: Toolchain,
    cache: Path,
    progress: Progress,
) -> Artifact | GateError:
    try:
        outcome = outcome_of(job, crash)
        aside = job.work / "aside"
        collect_model(Path(outcome["folders"][0]), aside / "model")
        if job.recipe.precision == "fp16" and job.recipe.olive_config is None:
            serve_on_cpu(aside / "model")
        if job.recipe.olive_config is None:
            keep_penalties(aside / "model", reference_logits.source)
        facts = inspect_artifact(aside / "model")
        _check_matches_recipe(
            aside / "model", job.variant, facts, job.recipe, source=reference_logits.source, log=job.log
        )
        progress.line(f"{job.variant}: proving that it answers")
        reference_logits.ensure(toolchain, progress, names=("tokens",))
        log = _log(cache, job.variant, job.key, "probe")
        proof = smoke_test(aside / "model", log=log, tokens=reference_logits.tokens_file())
        reference_logits.source.require_unchanged()
    except GateError as error:
        return error
    manifest = {
        "recipe": job.recipe.as_dict(),
        "source": reference_logits.source.digest,
        "versions": dict(toolchain.versions),
        "conversion_s": outcome["conversion_s"],
        "peak_rss_bytes": outcome["peak_rss_bytes"],
        "proved_with": proof["runtime"],
        "facts": facts.as_dict(),
    }
    manifest = store.publish(job.key, aside, manifest)
    folder = store.folder(job.key) / "model"
    return describe(folder, job.variant, job.recipe, facts, manifest, was_reused=False)


def _check_matches_recipe(
    folder: Path,
    variant: str,
    facts: ArtifactFacts,
    recipe: Recipe,
    *,
    source: Source | None = None,
    is_adopted: bool = False,
    log: Path | None = None,
) -> None:
    problems = discrepancies(facts, recipe, is_adopted=is_adopted)
    if source is not None:
        problems += differences_from_source(facts, source, is_adopted=is_adopted)
        problems += _template_problems(folder, source)
    if problems:
        raise ArtifactError(
            f"{variant} is not what was asked for: {'; '.join(problems)}",
            where=f"log: {log}" if log else str(folder),
            next_step="ask for what is there, or convert it again with options that have an effect",
        )


def _template_problems(folder: Path, source: Source) -> list[str]:
    wanted = next(iter(find_templates(source.path)), None)
    if wanted is None:
        return []
    other = next((template for template in find_templates(folder) if template.text != wanted.text), None)
    if other is None:
        return []
    names = (f"the source's {wanted.file}", f"the artifact's {other.file}")
    return [
        "chat template: it is not the source's, so questions would be put to the model in another form: "
        + first_difference(wanted, other, names=names)
    ]


def _require_space(source: Source, variants: Collection[str], folder: Path) -> None:
    parameters = source.parameter_count or source.size_bytes // 2
    needed_bytes = int(parameters * _BYTES_PER_PARAMETER * len(variants))
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < needed_bytes:
        raise ConversionError(
            f"converting {', '.join(variants)} needs about {format_bytes(needed_bytes)} of disk, "
            f"{format_bytes(free_bytes)} are free",
            where=str(folder),
            next_step="free some space, or use another cache folder",
        )


def _renamed(made: Artifact | GateError, variant: str) -> Artifact | GateError:
    return replace(made, variant=variant) if isinstance(made, Artifact) else made


def _log(cache: Path, variant: str, key: str, kind: str) -> Path:
    folder = cache / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{variant}-{key[:12]}.{kind}.log"
