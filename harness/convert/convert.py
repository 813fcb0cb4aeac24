"""From a source model to artifacts: taken from the cache, or converted, tested and then cached."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from harness.artifact.artifact import (
    Artifact,
    ArtifactStore,
    artifact_key,
    collect_model,
    describe,
    keep_template,
    keep_tokenizer,
    reject_duplicate_variants,
)
from harness.artifact.genai_config import keep_penalties, set_target
from harness.artifact.inspect import inspect_artifact
from harness.artifact.matching import require_match
from harness.config.target import Target
from harness.convert.job import ConversionJob, outcome_of, run_olive
from harness.convert.room import DoesNotFitError, Room, misfits
from harness.errors import ChildError, FileError, GateError, UnexplainedError
from harness.recipes.recipe import Precision, Recipe
from harness.runtime.smoke_test import runtime_version, smoke_test
from harness.source.reference_logits import ReferenceLogits
from harness.source.source import Source
from harness.system.locks import locked
from harness.toolchain.toolchain import Toolchain
from harness.toolchain.workspace import Workspace

_WIDEST_FIRST: tuple[Precision, ...] = ("fp32", "fp16", "int8", "int4")
"""Sequence of conversions: the smoke test of a wide model takes long, and runs while the next one is converted."""


def convert(
    source: Source,
    recipes: Mapping[str, Recipe],
    workspace: Workspace,
    *,
    reference_logits: ReferenceLogits | None = None,
    may_repeat: Collection[str] = (),
) -> dict[str, Artifact | GateError]:
    """An artifact, or the reason why there is none, for each named recipe.

    Two recipes that give the same model are an error, except for those that `may_repeat` names; what these ask for is
    left out where it does not fit.

    The toolchain is made only if something has to be converted; one worker then makes everything that is missing, and
    computes the missing `reference_logits` of the source.
    """
    converter = _Converter(
        reference_logits=reference_logits or ReferenceLogits(source, workspace),
        workspace=workspace,
        store=ArtifactStore(workspace.cache),
        may_be_left_out=may_repeat,
    )
    found = converter.convert({variant: recipe.resolved(source.input_widths) for variant, recipe in recipes.items()})
    distinct = {name: one for name, one in found.items() if isinstance(one, Artifact) and name not in may_repeat}
    found |= reject_duplicate_variants(distinct)
    return {variant: found[variant] for variant in recipes}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Converter:
    """Converts recipes of one source."""

    reference_logits: ReferenceLogits
    workspace: Workspace
    store: ArtifactStore
    may_be_left_out: Collection[str]
    """What is made only where there is room for it."""

    @property
    def source(self) -> Source:
        """The model that is converted."""
        return self.reference_logits.source

    def convert(self, recipes: Mapping[str, Recipe]) -> dict[str, Artifact | GateError]:
        """Artifacts from the cache, and those converted now."""
        versions = self.workspace.toolchain.versions
        keys = {variant: artifact_key(self.source, recipe, versions) for variant, recipe in recipes.items()}
        with self._locks(keys.values()):
            reused = {variant: self._reused(variant, recipe, keys[variant]) for variant, recipe in recipes.items()}
            found = {variant: one for variant, one in reused.items() if one is not None}
            missing = [variant for variant in recipes if variant not in found]
            missing.sort(key=lambda variant: _WIDEST_FIRST.index(recipes[variant].precision))
            if missing:
                found |= self._make({variant: (recipes[variant], keys[variant]) for variant in missing})
        return found

    @contextmanager
    def _locks(self, keys: Collection[str]) -> Iterator[None]:
        """Hold the lock of every key; always in the same order, so that two gates cannot block each other."""
        waiting = partial(self.workspace.notify, "another process is converting this model; waiting for it")
        with ExitStack() as stack:
            for key in sorted(set(keys)):
                stack.enter_context(locked(self.store.folder(key), waiting))
            yield

    def _reused(self, variant: str, recipe: Recipe, key: str) -> Artifact | GateError | None:
        manifest, was_damaged = self.store.find(key)
        if was_damaged:
            self.workspace.notify(f"{variant}: the cached artifact was damaged and is removed")
        if manifest is None:
            return None
        folder = self.store.folder(key) / "model"
        try:
            facts = inspect_artifact(folder)
            require_match(folder, variant, facts, recipe, source=self.source)
            if manifest.get("runtime") != runtime_version():
                self._smoke_test(folder, variant, recipe.target, key)
        except GateError as error:
            return error
        self.workspace.notify(f"{variant}: reused from the cache")
        return describe(folder, variant, recipe, facts, manifest, was_reused=True)

    def _make(self, wanted: Mapping[str, tuple[Recipe, str]]) -> dict[str, Artifact | GateError]:
        try:
            self.source.require_weights("converting")
            self.source.require_stated_type()
            misfit = self._misfits(wanted)
            toolchain = self.workspace.toolchain() if len(misfit) < len(wanted) else None
        except GateError as error:
            return dict.fromkeys(wanted, error)
        if toolchain is None:
            return dict(misfit)
        wanted = {variant: one for variant, one in wanted.items() if variant not in misfit}
        jobs: dict[str, ConversionJob] = {}
        try:
            for variant, (recipe, key) in wanted.items():
                if key not in jobs:
                    jobs[key] = self._job(variant, recipe, key)
            made = self._run(jobs, toolchain)
        except OSError as error:
            return dict.fromkeys(wanted, FileError.of(error, self.workspace.cache))
        finally:
            for key in jobs:
                self.store.clear_staging(key)
        found = {variant: self._explained(made[key], variant) for variant, (_, key) in wanted.items()}
        return {**found, **misfit}

    def _misfits(self, wanted: Mapping[str, tuple[Recipe, str]]) -> dict[str, DoesNotFitError]:
        """What cannot be made on this machine, told before anything starts."""
        recipes = {variant: recipe for variant, (recipe, _) in wanted.items()}
        found = misfits(self.source, recipes, Room.here(self.store.root), may_be_left_out=self.may_be_left_out)
        for error in dict.fromkeys(found.values()):
            self.workspace.notify(error.what)
        return found

    def _job(self, variant: str, recipe: Recipe, key: str) -> ConversionJob:
        log = self.workspace.log(f"{variant}-{key[:12]}.olive")
        log.unlink(missing_ok=True)
        return ConversionJob(variant=variant, recipe=recipe, key=key, work=self.store.staging_dir(key), log=log)

    def _run(self, jobs: Mapping[str, ConversionJob], toolchain: Toolchain) -> dict[str, Artifact | GateError]:
        """Have one worker make all jobs; each one is finished while the worker goes on with the next."""
        finishing: dict[str, Future[Artifact | GateError]] = {}
        finish = partial(self._finish, toolchain=toolchain)
        with ThreadPoolExecutor(max_workers=1) as finisher:

            def finish_made() -> None:
                for key, job in jobs.items():
                    if key not in finishing and job.is_made:
                        finishing[key] = finisher.submit(finish, job, None)

            crashed = run_olive(list(jobs.values()), self.reference_logits, self.workspace, toolchain, finish_made)
            for key, job in jobs.items():
                if key not in finishing:
                    finishing[key] = finisher.submit(finish, job, crashed.get(key))
        return {key: future.result() for key, future in finishing.items()}

    def _finish(self, job: ConversionJob, crash: ChildError | None, *, toolchain: Toolchain) -> Artifact | GateError:
        staging = job.work / "staging"
        model = staging / "model"
        try:
            outcome = outcome_of(job, crash)
            collect_model(Path(outcome["folders"][0]), model)
            if job.recipe.olive_config is None:
                keep_penalties(model, self.source)
                set_target(model, job.recipe.target)
            keep_template(model, self.source)
            facts = inspect_artifact(model)
            require_match(model, job.variant, facts, job.recipe, source=self.source, log=job.log)
            self.reference_logits.ensure("tokens")
            if self.reference_logits.source_tokens().is_of_file:
                keep_tokenizer(model, self.source)
            self.workspace.notify(f"{job.variant}: smoke test")
            tested = self._smoke_test(model, job.variant, job.recipe.target, job.key)
            self.source.require_unchanged()
        except GateError as error:
            return error
        manifest = {
            "recipe": job.recipe.as_dict(),
            "source": self.source.digest,
            "versions": dict(toolchain.versions),
            "conversion_s": outcome["conversion_s"],
            "peak_rss_bytes": outcome["peak_rss_bytes"],
            "runtime": tested["runtime"],
            "facts": facts.as_dict(),
        }
        manifest = self.store.publish(job.key, staging, manifest)
        for leftover in ("out", "cache"):
            shutil.rmtree(job.work / leftover, ignore_errors=True)
        folder = self.store.folder(job.key) / "model"
        return describe(folder, job.variant, job.recipe, facts, manifest, was_reused=False)

    def _smoke_test(self, folder: Path, variant: str, target: Target, key: str) -> dict[str, object]:
        return smoke_test(folder, target=target, log=self.workspace.log(f"{variant}-{key[:12]}.smoke-test"))

    def _explained(self, made: Artifact | GateError, variant: str) -> Artifact | GateError:
        """The result under the name of its variant, or the root cause of an unexplained error."""
        if isinstance(made, Artifact):
            return replace(made, variant=variant)
        # If transformers cannot run the model either, that is the cause of the converter's error.
        return self.reference_logits.problem or made if isinstance(made, UnexplainedError) else made
