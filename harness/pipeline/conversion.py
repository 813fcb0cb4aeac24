"""The pipeline from the model that a user names to verified artifacts: the same for the gate and for `convert`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from harness.artifact.adopt import adopt
from harness.artifact.artifact import Artifact
from harness.config.settings import ModelSettings, VariantSettings
from harness.config.target import CPU, Target
from harness.convert.convert import convert
from harness.convert.reference_export import reference_export_name, reference_exports
from harness.errors import GateError
from harness.recipes.recipe import Backend, Recipe
from harness.source.obtain import obtain_base, obtain_source
from harness.source.reference_logits import ReferenceLogits
from harness.source.source import Source
from harness.toolchain.workspace import Workspace
from harness.verify.fidelity import GraphFidelity
from harness.verify.measure import measure_graph
from harness.verify.tokenizer import TokenizerComparison, compare_tokenizer

ADOPTED_BACKEND: Backend = "olive"
"""Back-end of the reference export that adopted artifacts are compared with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantRequest:
    """One variant to convert, or to adopt from a folder that was converted elsewhere."""

    recipe: Recipe | None
    """What the graph must be; None for an adopted folder of any precision."""

    artifact: Path | None = None
    """The folder to adopt; None for a variant that is converted here."""

    is_transformed: bool = False
    """Whether an adopted folder's weights were rescaled or trained on while they were quantised."""

    @property
    def target(self) -> Target:
        """Where it runs."""
        return self.recipe.target if self.recipe is not None else CPU

    @classmethod
    def from_settings(cls, settings: VariantSettings) -> VariantRequest:
        """The request of a variant in gate.toml or on the command line.

        Raises:
            ConfigError: the recipe cannot be read, or is invalid.
        """
        return cls(
            recipe=Recipe.from_settings(settings), artifact=settings.artifact, is_transformed=settings.transformed
        )


@dataclass(frozen=True, kw_only=True)
class ConversionPipeline:
    """Each step is done once, when it is first asked for. A variant that fails takes nothing from the others.

    Raises:
        ConfigError: the target of a variant cannot be used here.
    """

    model: ModelSettings | None
    """The model to convert; None if the source of adopted folders is unknown."""

    variants: Mapping[str, VariantRequest]
    """The variants to make of it, by name."""

    workspace: Workspace

    has_fidelity: bool = True
    """Whether divergence from the source is measured."""

    resolved: Source | None = None
    """The source, if the caller has resolved it already."""

    def __post_init__(self) -> None:
        for name, request in self.variants.items():
            request.target.require_available(name)
            if not request.target.is_verified:
                self.workspace.notify(f"{name}: {request.target.provider} is not verified: its verdicts may be wrong")

    @cached_property
    def source(self) -> Source:
        """The validated source model; a hub id is downloaded, an adapter merged.

        Raises:
            SourceError: it cannot be downloaded, merged or used.
        """
        if self.resolved is not None:
            return self.resolved
        model = self._known_model
        self.workspace.notify(f"reading {model.source}")
        return obtain_source(
            model.source,
            self.workspace,
            adapter=model.adapter,
            allow_pickle=model.allow_pickle,
            trust_remote_code=model.trust_remote_code,
        )

    @cached_property
    def base(self) -> Source | None:
        """The model that the source was tuned from; None if none is named and no adapter is merged.

        Raises:
            SourceError: it cannot be downloaded, merged or used.
        """
        model = self._known_model
        return obtain_base(
            model.source,
            self.workspace,
            base=model.base,
            adapter=model.adapter,
            trust_remote_code=model.trust_remote_code,
        )

    @cached_property
    def adopted(self) -> dict[str, Artifact | GateError]:
        """The variants that were converted elsewhere, compared with recipe and source; or the error of each."""
        return {
            name: self._adopt(name, request.artifact, request.recipe)
            for name, request in self.variants.items()
            if request.artifact is not None
        }

    @cached_property
    def reference_logits(self) -> ReferenceLogits:
        """The source's token ids and logits, and its base's; computed by the first step that needs them."""
        contexts = [one.facts.context_length for one in self.adopted.values() if isinstance(one, Artifact)]
        return ReferenceLogits(
            self.source,
            self.workspace,
            base=self.base if self.has_fidelity else None,
            with_logits=self.has_fidelity,
            longest=min((length for length in contexts if length), default=None),
        )

    @cached_property
    def artifacts(self) -> dict[str, Artifact | GateError]:
        """Every variant's artifact and, for fidelity, the fp32 reference exports; or the error of each."""
        recipes = {name: one.recipe for name, one in self.variants.items() if one.artifact is None and one.recipe}
        exports = reference_exports(self._compared_backends(recipes)) if self.has_fidelity else {}
        if not recipes and not exports:
            return dict(self.adopted)
        made = convert(
            self.source,
            {**recipes, **exports},
            self.workspace,
            reference_logits=self.reference_logits,
            may_repeat=exports,
        )
        return {**made, **self.adopted}

    def artifact(self, variant: str) -> Artifact:
        """A variant's artifact.

        Raises:
            GateError: the reason why there is none.
        """
        result = self.artifacts[variant]
        if isinstance(result, GateError):
            raise result
        return result

    def fidelity(self, variant: str) -> GraphFidelity:
        """A variant's logits, and those of its fp32 reference export, beside the source's.

        Raises:
            GateError: they cannot be measured.
        """
        artifact = self.artifact(variant)
        return measure_graph(
            artifact,
            self.artifacts[reference_export_name(artifact.recipe.backend)],
            self.reference_logits,
            self.workspace,
            is_transformed=self.variants[variant].is_transformed,
        )

    def tokenizer(self, variant: str) -> TokenizerComparison:
        """A variant's tokenizer and chat template beside its source's, in file and in the runtime.

        Raises:
            GateError: they cannot be compared.
        """
        return compare_tokenizer(self.artifact(variant), self.reference_logits, self.workspace)

    @property
    def _known_model(self) -> ModelSettings:
        assert self.model is not None, "the source is unknown"
        return self.model

    def _adopt(self, variant: str, folder: Path, recipe: Recipe | None) -> Artifact | GateError:
        source = self.source if self.model is not None else None
        try:
            return adopt(folder, recipe, variant, self.workspace, source=source)
        except GateError as error:
            return error

    def _compared_backends(self, recipes: Mapping[str, Recipe]) -> set[Backend]:
        has_adopted = any(isinstance(one, Artifact) for one in self.adopted.values()) and self.model is not None
        return {recipe.backend for recipe in recipes.values()} | ({ADOPTED_BACKEND} if has_adopted else set())
