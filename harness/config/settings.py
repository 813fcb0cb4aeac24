"""`gate.toml`: what is gated, into which variants, and within which limits."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from harness.config.benchmark import BenchmarkSettings
from harness.config.default_limits import LEAK_LIMITS, default_limits
from harness.config.diagnosis import Settings, did_you_mean
from harness.config.limits import Limit, criterion_limit
from harness.config.profiles import is_of_device, profile_named
from harness.config.regression_limits import REGRESSION_LIMITS
from harness.config.target import CPU_PROVIDER, Device, Target
from harness.errors import ConfigError
from harness.metrics.catalogue import METRICS, Group, Metric

CACHE_ROUTE = re.compile(r"^(command|\d+(\.\d+)+)$")
VARIANT_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
Precision = Literal["int4", "int8", "fp16", "fp32"]


class ModelSettings(Settings):
    """`[model]`: the fine-tuned model."""

    source: str
    """Folder in Hugging Face layout (relative to the configuration file) or hub id."""

    adapter: str | None = None
    """LoRA adapter (folder or hub id) that is merged into `source` before anything else."""

    base: str | None = None
    """The model it was tuned from (folder or hub id): every variant must then be nearer to the fine-tuned weights."""

    trust_remote_code: bool = False
    """Run Python code that the model's repository brings; off unless you know it."""

    allow_pickle: bool = False
    """Read pickled weights (`.bin`), which can run code; off unless you made them."""


class VariantSettings(Settings):
    """`[variants.NAME]`: one precision to make, or a folder that is converted already."""

    recipe: str | None = None
    """`int4`, `int8`, `fp16`, `fp32`, or the path of your own Olive JSON."""

    artifact: Path | None = None
    """An ONNX folder that is converted already; nothing is converted then, everything is checked."""

    transformed: bool = False
    """Whether an artifact's weights were rescaled or trained on while they were quantised (AWQ, QAT): its divergence is
    judged then, and its weights are not compared with the source's one by one."""

    precision: Precision | None = None
    """What the graph must be; follows from a recipe, if the passes of an Olive file show it."""

    block_size: int | None = None
    """Weights that share one scale."""

    symmetric: bool | None = None
    """Quantise without zero points."""

    accuracy_level: int | None = None
    """MatMulNBits compute type: 0 as the input, 1 fp32, 2 fp16, 3 bf16, 4 int8."""

    algorithm: str | None = None
    """The back-end's quantisation algorithm."""

    backend: Literal["olive", "genai"] = "olive"
    """What converts: Olive, or the builder of the onnxruntime-genai that will serve the model."""

    provider: str = CPU_PROVIDER
    """Execution provider that runs it, as ONNX Runtime spells it. Only CPU is verified."""

    device: Device | None = None
    """`cpu`, `gpu` or `npu`; left out, the one that the provider usually drives."""

    limits: dict[str, Limit] = Field(default_factory=dict)
    """Limits for this variant only; they replace those of `[limits]`."""

    @model_validator(mode="after")
    def _says_where_it_comes_from(self) -> VariantSettings:
        if (self.recipe is None) == (self.artifact is None):
            raise ValueError("give exactly one of recipe and artifact")
        if self.precision is None and self.artifact is not None:
            raise ValueError("give precision: it does not follow from an artifact")
        if self.artifact is not None and self.backend != "olive":
            raise ValueError("backend is for what is converted here, not for artifacts")
        if self.transformed and self.artifact is None:
            raise ValueError("transformed is for artifacts: what is converted here is only rounded")
        return self

    @model_validator(mode="after")
    def _names_a_target(self) -> VariantSettings:
        Target.of(self.provider, self.device)
        return self

    @property
    def target(self) -> Target:
        """Where it runs."""
        return Target.of(self.provider, self.device)

    @property
    def known_precision(self) -> str | None:
        """What is asked for; None for an Olive file that does not say."""
        return self.precision or (self.recipe if self.recipe in BUILT_IN_RECIPES else None)


BUILT_IN_RECIPES = ("int4", "int8", "fp16", "fp32")


class PrecisionSettings(Settings):
    """`[precisions.int8]`: what holds for every variant of a precision, whatever it is called."""

    limits: dict[str, Limit] = Field(default_factory=dict)
    """They replace those of `[limits]`, and are replaced by a variant's own."""


class GateSettings(Settings):
    """`[gate]`: how the run is judged."""

    inconclusive: Literal["red", "green"] = "red"
    """What a check that cannot decide does to the exit status: red ends the run with 3, green lets it pass."""


class DeviceSettings(Settings):
    """`[device]`: where the model is to run."""

    profile: str | None = None
    """`laptop`, `edge-4gb`, or `here` for this machine: limits on size, memory, loading and speed; numbers of your own
    in `[limits]` win."""

    @field_validator("profile")
    @classmethod
    def _is_known(cls, name: str | None) -> str | None:
        if name is not None:
            try:
                profile_named(name)
            except ConfigError as error:
                raise ValueError(f"{error.what}: {error.next_step}") from error
        return name


class DomainSettings(Settings):
    """`[domain]`: the questions."""

    pack: Path
    """Folder of the domain pack."""


OptionName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
OptionText = Annotated[str, Field(pattern=r"^[ -!#-\[\]-~]*$")]
TemplateOptions = dict[OptionName, bool | int | float | OptionText]
"""What a chat template asks for beside the conversation; texts are printable ASCII without quotes and backslashes."""


class PromptSettings(Settings):
    """`[prompt]`: how the model is prompted."""

    template_options: TemplateOptions = Field(default_factory=dict)
    """Options of the chat template, in every way that it is rendered: `{enable_thinking = false}`. They go before those
    of the domain pack."""


class FoundrySettings(Settings):
    """`[foundry]`: how the variants are registered."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")] = "slm-gate-candidate"
    """Alias in Foundry Local; `-<variant>` is appended."""

    prompt_template: dict[str, str] | None = None
    """`PromptTemplate` of inference_model.json; made from the chat template when left out."""

    cases: Annotated[int, Field(ge=1)] = 24
    """Cases, spread over the pack, whose answers by every way to be served must be the bare runtime's."""

    cases_s: Annotated[float, Field(gt=0)] = 20.0
    """A way that has taken so long is asked no further case, when eight were asked."""

    cache_route: Annotated[str, Field(pattern=CACHE_ROUTE.pattern)] | None = None
    """Who must also serve each variant from a cache folder: a foundry-local-sdk release (`2.0.1`), or `command` for
    the `foundry` command on PATH, whose cache setting is changed meanwhile and put back."""

    clients: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (1, 2, 4, 8, 16)
    """With `--load`: numbers of clients that ask the web service at once; limits apply to the last one."""

    load_requests: Annotated[int, Field(ge=1)] = 64
    """With `--load`: requests for each number of clients, and for each rate of arrival."""

    arrival_shares: tuple[Annotated[float, Field(gt=0)], ...] = (0.5, 0.8)
    """With `--load`: requests that arrive at random, at these shares of the rate that the last clients got."""

    objective_ttft_s: Annotated[float, Field(gt=0)] = 0.5
    """With `--load`: a request is good when its first token came within this time, its queue included, ..."""

    objective_tpot_s: Annotated[float, Field(gt=0)] = 0.1
    """... and each further token within this time on average."""

    soak_requests: Annotated[int, Field(ge=8)] = 1000
    """With `--load`: requests in a row, in a process of its own, over which memory must not grow."""

    soak_s: Annotated[float, Field(gt=0)] | None = None
    """Instead of a number of requests, for how long: `--soak 8h`."""


class GateConfig(Settings):
    """The whole of `gate.toml`."""

    model: ModelSettings
    variants: Annotated[dict[str, VariantSettings], Field(min_length=1)]
    domain: DomainSettings
    prompt: PromptSettings = PromptSettings()
    foundry: FoundrySettings = FoundrySettings()
    benchmark: BenchmarkSettings = BenchmarkSettings()
    gate: GateSettings = GateSettings()
    device: DeviceSettings = DeviceSettings()
    limits: dict[str, Limit] = Field(default_factory=dict)
    precisions: dict[Precision, PrecisionSettings] = Field(default_factory=dict)
    with_load: bool = False
    """Whether the served model is put under load too: `--load`."""

    with_baseline: bool = False
    """Whether the run is held against a stored one too: `--baseline`."""

    configured_source: str | None = None
    """The model that gate.toml names where `--model` put another in its place; None where it did not."""

    configured_pack: Path | None = None
    """The pack that gate.toml names where `--domain` or `--data` put another in its place; None where it did not."""

    @model_validator(mode="after")
    def _has_usable_names(self) -> GateConfig:
        for name in self.variants:
            if not VARIANT_NAME.fullmatch(name):
                raise ValueError(f"variant name {name!r}: use lower-case letters, digits, '.', '_' and '-'")
        return self

    def limits_for(self, variant: str) -> dict[str, Limit]:
        """All that a variant is judged by; what comes later wins.

        Criteria, default limits of leaks and of its precision, the device profile's limits, common limits, those of its
        precision, its own. Limits that were chosen for another model than this one are left out: see `unchosen`.
        """
        precision = self.variants[variant].known_precision
        criteria = {metric.name: criterion_limit(metric) for metric in METRICS.values() if metric.is_criterion}
        profile = {} if self.device.profile is None else profile_named(self.device.profile).limits
        own = {name: limit for name, limit in self._own_limits(variant).items() if not self._is_unchosen(name)}
        defaults = {**LEAK_LIMITS, **default_limits(precision), **REGRESSION_LIMITS}
        limits = {**criteria, **defaults, **profile, **own}
        return {name: limit for name, limit in limits.items() if self._is_measured(METRICS[name])}

    @property
    def unchosen(self) -> tuple[str, ...]:
        """Metrics whose limits were chosen for the model that gate.toml names, and do not judge the one in its place.

        A device's limits where no profile was named, and divergence, which depends on the size of a model.
        """
        names = dict.fromkeys(name for variant in self.variants for name in self._own_limits(variant))
        judged = {name for variant in self.variants for name in self.limits_for(variant)}
        return tuple(name for name in names if self._is_unchosen(name) and name not in judged)

    @property
    def borrowed(self) -> tuple[str, ...]:
        """Metrics of quality that are judged by limits chosen for another model or other questions than these.

        They judge all the same: a model that nobody asks for right answers must not pass.
        """
        if self.configured_source is None and self.configured_pack is None:
            return ()
        names = dict.fromkeys(name for variant in self.variants for name in self._own_limits(variant))
        return tuple(name for name in names if METRICS[name].group is Group.QUALITY)

    def limit_tables(self) -> Iterator[tuple[tuple[str, ...], Mapping[str, Limit]]]:
        """(keys of the table, limits in it) for every table of limits, the common one first."""
        yield ("limits",), self.limits
        for precision, settings in self.precisions.items():
            yield ("precisions", precision, "limits"), settings.limits
        for name, variant in self.variants.items():
            yield ("variants", name, "limits"), variant.limits

    def _own_limits(self, variant: str) -> dict[str, Limit]:
        settings = self.variants[variant]
        of_precision = self.precisions.get(settings.known_precision)  # type: ignore[call-overload]
        return {**self.limits, **(of_precision.limits if of_precision else {}), **settings.limits}

    def _is_unchosen(self, name: str) -> bool:
        metric = METRICS[name]
        return self.configured_source is not None and (is_of_device(metric) or metric.group is Group.DIVERGENCE)

    def _is_measured(self, metric: Metric) -> bool:
        """Whether these settings ask for it: what they do not ask for is never demanded."""
        if metric.name == "longer_prompts_timed":
            return bool(self.benchmark.has_further_points)
        if metric.group is Group.REGRESSION:
            return self.with_baseline
        if metric.group is Group.LOAD:
            return self.with_load
        return metric.group is not Group.CACHE_ROUTE or self.foundry.cache_route is not None

    def with_model(self, source: str) -> GateConfig:
        """Another model in the place of the configured one; the limits that were chosen for that one judge no more."""
        model = self.model.model_copy(update={"source": source, "adapter": None, "base": None})
        is_same = (source, None) == (self.model.source, self.model.adapter)
        return self.model_copy(update={"model": model, "configured_source": None if is_same else self.model.source})

    def with_pack(self, pack: Path) -> GateConfig:
        """Other questions in the place of the configured ones."""
        before = None if pack.resolve() == self.domain.pack.resolve() else self.domain.pack
        return self.model_copy(update={"domain": DomainSettings(pack=pack), "configured_pack": before})

    def with_adopted(self, name: str, variant: VariantSettings) -> GateConfig:
        """One folder that is converted already, in the place of all variants."""
        return self.model_copy(update={"variants": {name: variant}})

    def require_converted(self) -> None:
        """Raise if a variant is to be converted, which needs the source model.

        Raises:
            ConfigError: names them.
        """
        missing = [name for name, one in self.variants.items() if one.artifact is None]
        if missing:
            raise ConfigError(
                f"{', '.join(missing)}: to be converted, which a reference bundle cannot do",
                where="--reference",
                next_step="give the converted folder: --model ONNX_FOLDER, or `artifact` in [variants.NAME]",
            )

    def with_device(self, profile: str) -> GateConfig:
        """The limits of a named device; numbers of one's own win.

        Raises:
            ConfigError: there is no such profile.
        """
        profile_named(profile)
        return self.model_copy(update={"device": DeviceSettings(profile=profile)})

    def with_cache_route(self, route: str) -> GateConfig:
        """The same, with variants served from a cache folder too.

        Raises:
            ConfigError: `route` is neither a release nor `command`.
        """
        if not CACHE_ROUTE.fullmatch(route):
            raise ConfigError(
                f"{route!r} is neither a foundry-local-sdk release nor `command`",
                where="--cache-route",
                next_step="say --cache-route 2.0.1",
            )
        return self.model_copy(update={"foundry": self.foundry.model_copy(update={"cache_route": route})})

    def with_variants(self, names: tuple[str, ...]) -> GateConfig:
        """Only these variants, in this order.

        Raises:
            ConfigError: a name is not configured.
        """
        for name in names:
            if name not in self.variants:
                raise ConfigError(
                    f"unknown variant {name!r}{did_you_mean(name, self.variants)}",
                    where="--variants",
                    next_step=f"configured are: {', '.join(self.variants)}",
                )
        return self.model_copy(update={"variants": {name: self.variants[name] for name in names}})
