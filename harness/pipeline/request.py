"""`slm-gate convert`: the conversion pipeline, and the delivery of what comes out of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from harness.artifact.artifact import Artifact
from harness.config.settings import ModelSettings
from harness.config.variants import parse_variants
from harness.errors import ConfigError, GateError, ToolchainError
from harness.pipeline.conversion import ConversionPipeline, VariantRequest
from harness.pipeline.delivery import deliver, require_place
from harness.pipeline.outcome import Outcome
from harness.runtime.smoke_test import runtime_version
from harness.source.source import Source, locate, named_folder
from harness.toolchain.workspace import Workspace
from harness.verify.criteria import require_fidelity

DEFAULT_VARIANTS = "int4,int8,fp16"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the user asked for."""

    model: str
    """Folder, hub id, LoRA adapter folder, or a folder that is converted already."""

    variants: str | None = None
    """As `parse_variants` takes them; None for int4, int8 and fp16."""

    out: Path | None = None
    """Folder that gets one folder per variant; may be None for an adopted folder."""

    adapter: str | None = None
    """LoRA adapter that is merged into the model (or into `source`) first."""

    base: str | None = None
    """What the model was tuned from."""

    source: str | None = None
    """What a folder that is converted already was converted from."""

    is_transformed: bool = False
    """Whether a folder's weights were rescaled or trained on while they were quantised."""

    has_fidelity: bool = True
    """Whether divergence from the source is measured."""

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
        """The model and its adapter, with absolute paths: identifies whose variants a folder holds."""
        return " + ".join(_absolute(spec) for spec in (self.model, self.adapter) if spec is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """The result of a request."""

    outcomes: Mapping[str, Outcome]
    source: Source | None
    """None for a folder whose source is not known."""

    out: Path | None = None
    """Folder below which the variants were delivered; None where they were not."""

    @property
    def stale(self) -> list[Path]:
        """Folders from an earlier delivery of variants that failed now."""
        failed = [name for name, one in self.outcomes.items() if isinstance(one.result, GateError)]
        return [self.out / name for name in failed if (self.out / name).exists()] if self.out else []

    @property
    def lacked_toolchain(self) -> bool:
        """Whether nothing could be tried, because there is no toolchain."""
        results = [one.result for one in self.outcomes.values()]
        return bool(results) and all(isinstance(result, ToolchainError) for result in results)

    @property
    def artifacts(self) -> list[Artifact]:
        """The variants that did not fail."""
        return [one.result for one in self.outcomes.values() if isinstance(one.result, Artifact)]

    @property
    def failures(self) -> list[str]:
        """Why variants failed; a reason that several share is told once."""
        names: dict[str, list[str]] = {}
        for name, outcome in self.outcomes.items():
            if isinstance(outcome.result, GateError):
                names.setdefault(str(outcome.result), []).append(name)
        return [f"{', '.join(who)}: {reason.removeprefix(f'{who[0]}: ')}" for reason, who in names.items()]


def run_request(request: Request, workspace: Workspace) -> Conversion:
    """Convert a model, or adopt a converted folder, and deliver; a variant that fails takes nothing from the others.

    Raises:
        GateError: the request cannot be tried: a wrong option, a source that cannot be used, no place for the result.
        OSError: a file that all of it needs cannot be read or written.
    """
    if not request.is_converted:
        locate(request.model)
    _reject_idle_options(request)
    pipeline = _pipeline_of(request, workspace)
    if request.out is not None:
        require_place(request.out, pipeline.variants, request.title)
    elif not request.is_converted:
        raise ConfigError("--out is missing", next_step="name the folder that gets one folder per variant")
    source = pipeline.source if pipeline.model is not None else None
    results = pipeline.artifacts
    outcomes = {name: _outcome(request, pipeline, results[name]) for name in pipeline.variants}
    return Conversion(outcomes=outcomes, source=source, out=request.out)


def _pipeline_of(request: Request, workspace: Workspace) -> ConversionPipeline:
    spec = request.source_spec
    model = ModelSettings(source=spec, adapter=request.adapter, base=request.base) if spec is not None else None
    if request.is_converted:
        folder = named_folder(request.model).resolve()
        adopted = VariantRequest(recipe=None, artifact=folder, is_transformed=request.is_transformed)
        variants = {folder.name: adopted}
    else:
        settings = parse_variants(DEFAULT_VARIANTS if request.variants is None else request.variants)
        variants = {name: VariantRequest.from_settings(one) for name, one in settings.items()}
    return ConversionPipeline(model=model, variants=variants, workspace=workspace, has_fidelity=request.has_fidelity)


def _outcome(request: Request, pipeline: ConversionPipeline, made: Artifact | GateError) -> Outcome:
    """The variant, measured and delivered; or the first error."""
    if isinstance(made, GateError):
        return Outcome(result=made)
    try:
        fidelity, tokenizer = None, None
        if pipeline.model is not None:
            tokenizer = pipeline.tokenizer(made.variant)
            tokenizer.require()
        if pipeline.model is not None and pipeline.has_fidelity:
            fidelity = pipeline.fidelity(made.variant)
            require_fidelity(fidelity)
        outcome = Outcome(result=made, fidelity=fidelity, tokenizer=tokenizer)
        return outcome if request.out is None else _delivered(request, request.out, pipeline, made, outcome)
    except GateError as error:
        return Outcome(result=error)


def _delivered(request: Request, out: Path, pipeline: ConversionPipeline, made: Artifact, outcome: Outcome) -> Outcome:
    pipeline.workspace.notify(f"{made.variant}: copying it to {out}")
    versions = {} if made.is_adopted else pipeline.workspace.toolchain.versions
    source = pipeline.source if pipeline.model is not None else None
    manifest = outcome.manifest(request.title, source, versions, runtime_version())
    return replace(outcome, folder=deliver(made, out, manifest))


def _reject_idle_options(request: Request) -> None:
    """Raise if an option would have no effect."""
    to_source = "say --source MODEL: what the folder was converted from"
    to_folder = "it is for a folder that is converted already, with --source MODEL"
    idle = [
        ("--variants", request.variants, request.is_converted, "leave it out: MODEL is converted already"),
        ("--source", request.source, not request.is_converted, "leave it out: MODEL itself is the source"),
        ("--transformed", request.is_transformed or None, request.source is None, to_folder),
        ("--adapter", request.adapter, request.source_spec is None, to_source),
        ("--base", request.base, request.source_spec is None, to_source),
        ("--transformed", request.is_transformed or None, not request.has_fidelity, "leave out --no-fidelity"),
        (
            "--base",
            request.base,
            not request.has_fidelity,
            "leave out --no-fidelity: divergence tells the base",
        ),
    ]
    for option, value, is_idle, next_step in idle:
        if value is not None and is_idle:
            raise ConfigError(f"{option} would have no effect", where=request.model, next_step=next_step)


def _absolute(spec: str) -> str:
    folder = named_folder(spec)
    return str(folder.resolve()) if folder.is_dir() else spec
