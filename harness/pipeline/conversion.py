"""`slm-gate convert`: from the model that the user names to proved folders, or to the reason why there is none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypedDict

from harness.artifact.artifact import Artifact
from harness.artifact.facts import precision_of
from harness.artifact.inspect import inspect_artifact
from harness.config.variants import parse_variants
from harness.convert.convert import adopt, convert
from harness.errors import ArtifactError, ConfigError, GateError, ToolchainError
from harness.pipeline.delivery import deliver, require_place
from harness.pipeline.outcome import Outcome
from harness.recipes.recipe import PRECISIONS, Recipe, load_recipe
from harness.runtime.smoke_test import runtime_version, smoke_test
from harness.source.obtain import obtain_base, obtain_source
from harness.source.reference_logits import ReferenceLogits
from harness.source.source import Source, locate, named_folder
from harness.system.paths import require_cache
from harness.system.progress import SILENT, Progress
from harness.toolchain.toolchain import ToolchainOnDemand
from harness.verify.fidelity import convert_with_reference_exports, measure_graph

DEFAULT_VARIANTS = "int4,int8,fp16"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the user asked for."""

    model: str
    """Folder, hub id, LoRA adapter folder, or a folder that is converted already."""

    variants: str | None = None
    """As `parse_variants` takes them; None for int4, int8 and fp16."""

    out: Path | None = None
    """Gets one folder per variant."""

    adapter: str | None = None
    """LoRA adapter that is merged into the model (or into `source`) first."""

    base: str | None = None
    """What the model was tuned from."""

    source: str | None = None
    """What a folder that is converted already was converted from."""

    is_transformed: bool = False
    """Whether a folder's weights were rescaled or trained on while they were quantised."""

    with_fidelity: bool = True
    """Whether divergence from the source is measured."""

    python: Path | None = None
    """Interpreter of an existing toolchain."""

    @property
    def is_converted(self) -> bool:
        """Whether the model is a folder for onnxruntime-genai, so that nothing is converted."""
        return (named_folder(self.model) / "genai_config.json").is_file()

    @property
    def source_spec(self) -> str | None:
        """The source model; None where it is not known."""
        return self.source if self.is_converted else self.model

    @property
    def title(self) -> str:
        """The model and its adapter, with folders in full: what says whose variants a folder holds."""
        return " + ".join(_in_full(spec) for spec in (self.model, self.adapter) if spec is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """What became of a request."""

    outcomes: Mapping[str, Outcome]
    source: Source | None
    """None for a folder whose source is not known."""

    out: Path | None = None
    """What it was delivered below; None where nowhere."""

    @property
    def stale(self) -> list[Path]:
        """What an earlier delivery left of variants that failed now."""
        failed = [name for name, one in self.outcomes.items() if isinstance(one.result, GateError)]
        return [self.out / name for name in failed if (self.out / name).exists()] if self.out else []

    @property
    def lacked_toolchain(self) -> bool:
        """Whether nothing could be tried, because there was nothing to convert with."""
        results = [one.result for one in self.outcomes.values()]
        return bool(results) and all(isinstance(result, ToolchainError) for result in results)

    @property
    def artifacts(self) -> list[Artifact]:
        """What came through."""
        return [one.result for one in self.outcomes.values() if isinstance(one.result, Artifact)]

    @property
    def failures(self) -> list[str]:
        """Why variants failed; what stands in the way of several is told once."""
        names: dict[str, list[str]] = {}
        for name, outcome in self.outcomes.items():
            if isinstance(outcome.result, GateError):
                names.setdefault(str(outcome.result), []).append(name)
        return [f"{', '.join(who)}: {reason.removeprefix(f'{who[0]}: ')}" for reason, who in names.items()]


def run_request(request: Request, *, cache: Path, progress: Progress = SILENT) -> Conversion:
    """Convert, or only prove, what was asked for; a variant that fails takes nothing from the others.

    Raises:
        GateError: the request cannot be tried: a wrong option, a source that cannot be used, no place for the result.
        OSError: a file that is needed for all of it cannot be read or written.
    """
    if not request.is_converted:
        locate(request.model)
    _refuse_idle_options(request)
    toolchain = ToolchainOnDemand(cache=cache, python=request.python, progress=progress)
    job = _Job(request=request, cache=require_cache(cache), toolchain=toolchain, progress=progress)
    return job.adopt() if request.is_converted else job.make()


class _Places(TypedDict):
    """What every step needs to know beside its work."""

    cache: Path
    toolchain: ToolchainOnDemand
    progress: Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    request: Request
    cache: Path
    toolchain: ToolchainOnDemand
    progress: Progress

    @property
    def _places(self) -> _Places:
        return {"cache": self.cache, "toolchain": self.toolchain, "progress": self.progress}

    def make(self) -> Conversion:
        """Convert the model into every variant."""
        settings = parse_variants(DEFAULT_VARIANTS if self.request.variants is None else self.request.variants)
        recipes = {name: Recipe.from_settings(one) for name, one in settings.items()}
        self._require_place(*recipes)
        source, base = self._source()
        reference_logits = self._reference_logits(source, base)
        results = self._converted(reference_logits, recipes)
        outcomes = {
            name: self._outcome(source, results[name], lambda made: self._fidelity(made, results, reference_logits))
            for name in recipes
        }
        return Conversion(outcomes=outcomes, source=source, out=self.request.out)

    def adopt(self) -> Conversion:
        """Hold a folder that is converted already against itself and, where it is known, against its source."""
        folder = named_folder(self.request.model).resolve()
        if self.request.out is not None:
            self._require_place(folder.name)
        source, base = self._source() if self.request.source is not None else (None, None)
        self.progress.line(f"{folder.name}: proving that it answers")
        try:
            made: Artifact | GateError = adopt(folder, _recipe_of(folder), folder.name, source=source)
        except GateError as error:
            made = error
        outcome = self._outcome(source, made, lambda found: self._against_source(found, source, base))
        return Conversion(outcomes={folder.name: outcome}, source=source, out=self.request.out)

    def _against_source(self, made: Artifact, source: Source | None, base: Source | None) -> Outcome:
        if source is None:
            return Outcome(result=made)
        reference_logits = self._reference_logits(source, base, longest=made.facts.context_length)
        if not self.request.with_fidelity:
            reference_logits.ensure(self.toolchain, self.progress)
            smoke_test(made.path, log=self._log(made.variant), tokens=reference_logits.tokens_file())
            return Outcome(result=made)
        reference_exports = convert_with_reference_exports(reference_logits, {}, has_adopted=True, **self._places)
        return self._fidelity(made, reference_exports, reference_logits)

    def _source(self) -> tuple[Source, Source | None]:
        """The source model and, where it matters and is known, what it was tuned from."""
        spec = self.request.source_spec
        assert spec is not None
        self.progress.line(f"reading {spec}")
        source = obtain_source(spec, adapter=self.request.adapter, **self._places)
        base = None
        if self.request.with_fidelity:
            base = obtain_base(spec, base=self.request.base, adapter=self.request.adapter, **self._places)
        return source, base

    def _reference_logits(self, source: Source, base: Source | None, longest: int | None = None) -> ReferenceLogits:
        return ReferenceLogits(
            source,
            cache=self.cache,
            versions=self.toolchain.versions,
            base=base,
            with_logits=self.request.with_fidelity,
            longest=longest,
        )

    def _converted(
        self, reference_logits: ReferenceLogits, recipes: Mapping[str, Recipe]
    ) -> dict[str, Artifact | GateError]:
        if self.request.with_fidelity:
            return convert_with_reference_exports(reference_logits, recipes, **self._places)
        return convert(reference_logits.source, recipes, reference_logits=reference_logits, **self._places)

    def _fidelity(
        self, made: Artifact, results: Mapping[str, Artifact | GateError], reference_logits: ReferenceLogits
    ) -> Outcome:
        if not self.request.with_fidelity:
            return Outcome(result=made)
        transformed = self.request.is_transformed
        log = self._log(made.variant)
        found = measure_graph(made, results, reference_logits, log=log, is_transformed=transformed, **self._places)
        found.require()
        return Outcome(result=made, fidelity=found)

    def _outcome(
        self, source: Source | None, made: Artifact | GateError, measure: Callable[[Artifact], Outcome]
    ) -> Outcome:
        """Measured and delivered, or the first thing that went wrong."""
        if isinstance(made, GateError):
            return Outcome(result=made)
        try:
            outcome = measure(made)
            if self.request.out is None:
                return outcome
            self.progress.line(f"{made.variant}: copying it to {self.request.out}")
            versions = {} if made.is_adopted else self.toolchain.versions
            manifest = outcome.manifest(self.request.title, source, versions, runtime_version())
            return replace(outcome, folder=deliver(made, self.request.out, manifest))
        except GateError as error:
            return Outcome(result=error)

    def _require_place(self, *names: str) -> None:
        if self.request.out is None:
            raise ConfigError("--out is missing", next_step="name the folder that gets one folder per variant")
        require_place(self.request.out, names, self.request.title)

    def _log(self, variant: str) -> Path:
        return self.cache / "logs" / f"{variant}-tokenizer.log"


def _refuse_idle_options(request: Request) -> None:
    """An option that would have no effect is a misunderstanding."""
    to_source = "say --source MODEL: what the folder was converted from"
    to_folder = "it is for a folder that is converted already, with --source MODEL"
    idle = [
        ("--variants", request.variants, request.is_converted, "leave it out: MODEL is converted already"),
        ("--source", request.source, not request.is_converted, "leave it out: MODEL itself is the source"),
        ("--transformed", request.is_transformed or None, request.source is None, to_folder),
        ("--adapter", request.adapter, request.source_spec is None, to_source),
        ("--base", request.base, request.source_spec is None, to_source),
        ("--transformed", request.is_transformed or None, not request.with_fidelity, "leave out --no-fidelity"),
        ("--base", request.base, not request.with_fidelity, "leave out --no-fidelity: the base is told by divergence"),
    ]
    for option, value, is_idle, next_step in idle:
        if value is not None and is_idle:
            raise ConfigError(f"{option} would have no effect", where=request.model, next_step=next_step)


def _recipe_of(folder: Path) -> Recipe:
    """What a folder is by its graph: nobody asked for anything else."""
    precision = precision_of(inspect_artifact(folder))
    if precision not in PRECISIONS:
        raise ArtifactError(
            f"what its matrices are stored in is {precision}; only {', '.join(PRECISIONS)} can be proved",
            where=str(folder),
            next_step="see what is in it: slm-gate inspect FOLDER",
        )
    return load_recipe(precision)


def _in_full(spec: str) -> str:
    folder = named_folder(spec)
    return str(folder.resolve()) if folder.is_dir() else spec
