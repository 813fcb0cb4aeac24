"""`gate.toml`: what is gated, into which variants, and within which limits."""

from __future__ import annotations

import difflib
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from harness.errors import ConfigError, GateError

CACHE_ROUTE = re.compile(r"^(command|\d+(\.\d+)+)$")
VARIANT_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")


class Settings(BaseModel):
    """Base of all sections: unknown keys are errors, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


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


class Limit(Settings):
    """A bound on one metric, with the reason why it stands where it stands."""

    min: float | None = None
    """The smallest value that passes."""

    max: float | None = None
    """The largest value that passes."""

    reason: Annotated[str, Field(min_length=8)]
    """Why this number; shown when the limit is broken."""

    @model_validator(mode="after")
    def _has_one_bound(self) -> Limit:
        if (self.min is None) == (self.max is None):
            raise ValueError("give exactly one of min and max")
        return self


class VariantSettings(Settings):
    """`[variants.NAME]`: one precision to make, or a folder that is converted already."""

    recipe: str | None = None
    """`int4`, `int8`, `fp16`, `fp32`, or the path of your own Olive JSON."""

    artifact: Path | None = None
    """An ONNX folder that is converted already; nothing is converted then, everything is proved."""

    transformed: bool = False
    """Whether an artifact's weights were rescaled or trained on while they were quantised (AWQ, QAT): its divergence is
    judged then, and its weights are not held against the source's one by one."""

    precision: Literal["int4", "int8", "fp16", "fp32"] | None = None
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

    limits: dict[str, Limit] = {}
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


BUILT_IN_RECIPES = ("int4", "int8", "fp16", "fp32")


class DomainSettings(Settings):
    """`[domain]`: the questions."""

    pack: Path
    """Folder of the domain pack."""


class FoundrySettings(Settings):
    """`[foundry]`: how the variants are registered."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")] = "slm-gate-candidate"
    """Alias in Foundry Local; `-<variant>` is appended."""

    prompt_template: dict[str, str] | None = None
    """`PromptTemplate` of inference_model.json; made from the chat template when left out."""

    cases: Annotated[int, Field(ge=1)] = 24
    """Cases, spread over the pack, whose answers by every way to be served must be the bare runtime's."""

    cache_route: Annotated[str, Field(pattern=CACHE_ROUTE.pattern)] | None = None
    """Who must also serve each variant from a cache folder: a foundry-local-sdk release (`2.0.1`), or `command` for
    the `foundry` command on PATH, whose cache setting is changed meanwhile and put back."""

    clients: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (1, 2, 4, 8, 16)
    """With `--load`: numbers of clients that ask the web service at once; limits apply to the last one."""

    load_requests: Annotated[int, Field(ge=1)] = 64
    """With `--load`: requests for each number of clients."""

    soak_requests: Annotated[int, Field(ge=8)] = 1000
    """With `--load`: requests in a row, in a process of its own, over which memory must not grow."""


class BenchmarkSettings(Settings):
    """`[benchmark]`: how much is measured."""

    prompt_tokens: Annotated[tuple[Annotated[int, Field(ge=8)], ...], Field(min_length=1)] = (64, 256, 1024)
    """Prompt lengths at which latency is measured; the first one is the one that limits apply to."""

    new_tokens: Annotated[int, Field(ge=2)] = 32
    """Tokens generated per request; end-of-sequence is ignored."""

    rounds: Annotated[int, Field(ge=5)] = 30
    """Measured requests at the first prompt length."""

    longer_rounds: Annotated[int, Field(ge=3)] = 10
    """Measured requests at each of the other lengths: they have no limits, and take longest."""

    warmup_rounds: Annotated[int, Field(ge=1)] = 3
    """Requests before the first measured one."""

    def rounds_at(self, prompt_tokens: int) -> int:
        """Measured requests at one prompt length."""
        return self.rounds if prompt_tokens == self.prompt_tokens[0] else self.longer_rounds


class GateConfig(Settings):
    """The whole of `gate.toml`."""

    model: ModelSettings
    variants: Annotated[dict[str, VariantSettings], Field(min_length=1)]
    domain: DomainSettings
    foundry: FoundrySettings = FoundrySettings()
    benchmark: BenchmarkSettings = BenchmarkSettings()
    limits: dict[str, Limit] = {}

    @model_validator(mode="after")
    def _has_usable_names(self) -> GateConfig:
        for name in self.variants:
            if not VARIANT_NAME.fullmatch(name):
                raise ValueError(f"variant name {name!r}: use lower-case letters, digits, '.', '_' and '-'")
        return self

    def limits_for(self, variant: str) -> dict[str, Limit]:
        """The limits of one variant: the common ones, replaced by its own where it has them."""
        return {**self.limits, **self.variants[variant].limits}

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

    def without_limits(self, names: frozenset[str]) -> GateConfig:
        """The same without the limits of some metrics, which then are not asked for."""

        def kept(limits: dict[str, Limit]) -> dict[str, Limit]:
            return {name: limit for name, limit in limits.items() if name not in names}

        variants = {
            name: variant.model_copy(update={"limits": kept(variant.limits)}) for name, variant in self.variants.items()
        }
        return self.model_copy(update={"limits": kept(self.limits), "variants": variants})

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


def load_config(file: Path, *, known_metrics: frozenset[str]) -> GateConfig:
    """Read and validate a configuration; its relative paths start at its own folder.

    Raises:
        ConfigError: the file is missing or wrong; the message names file, line and field.
    """
    try:
        text = file.read_text(encoding="utf-8")
        config = GateConfig.model_validate(tomllib.loads(text))
    except OSError as error:
        raise ConfigError(
            f"cannot read the configuration: {error.strerror}",
            where=str(file),
            next_step="give --config FILE",
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"not valid TOML: {error}", where=str(file)) from error
    except ValidationError as error:
        raise validation_error(error, GateConfig, file, text, ConfigError) from error
    _check_limit_names(config, known_metrics, file, text)
    return _with_absolute_paths(config, file.resolve().parent)


def validation_error(
    error: ValidationError,
    model: type[BaseModel],
    file: Path,
    text: str,
    kind: type[GateError],
    *,
    line: int | None = None,
) -> GateError:
    """Turn pydantic's most telling finding into one that names file, line and field, with a suggestion for a typo."""
    findings = error.errors()  # a typo makes two: an unknown key and a missing one; the unknown one explains both
    first = next((finding for finding in findings if finding["type"] == "extra_forbidden"), findings[0])
    field = ".".join(str(part) for part in first["loc"])
    line = line if line is not None else toml_line(text, first["loc"])
    return kind(
        f"{field or 'file'}: {_explain(first, model)}",
        where=f"{file}, line {line}" if line else str(file),
        next_step=f"mend the field{f' ({error.error_count()} findings in all)' if error.error_count() > 1 else ''}",
    )


def did_you_mean(word: str, known: Any) -> str:
    """` (did you mean 'x'?)`, or nothing when no known word is near."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def toml_line(text: str, location: tuple[int | str, ...]) -> int | None:
    """The 1-based line where a key stands, as far down its tables as the text shows it."""
    table, found = "", None
    keys = [str(part) for part in location]
    for number, line in enumerate(text.splitlines(), 1):
        header = re.match(r"\s*\[+([^\]]+)\]", line)
        if header:
            table = re.sub(r"[\s\"']", "", header[1])
            if keys[: table.count(".") + 1] == table.split("."):
                found = number
            continue
        key = re.match(r"\s*([\w.\"'-]+)\s*=", line)
        if key:
            path = [*filter(None, table.split(".")), *key[1].strip("\"'").split(".")]
            if keys[: len(path)] == path:
                return number
    return found


def _explain(first: ErrorDetails, model: type[BaseModel]) -> str:
    if first["type"] == "extra_forbidden":
        known = _fields_at(model, first["loc"][:-1])
        return f"unknown key{did_you_mean(str(first['loc'][-1]), known)}; known are: {', '.join(known)}"
    if first["type"] == "missing":
        return "is missing"
    return first["msg"].removeprefix("Value error, ")


def _fields_at(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """Names of the fields of the section that a location points into."""
    current: Any = model
    for part in location:
        if isinstance(current, type) and issubclass(current, BaseModel) and part in current.model_fields:
            current = current.model_fields[str(part)].annotation
        elif getattr(current, "__args__", None):  # dict[str, X], X | None, tuple[X, ...]
            current = current.__args__[-1]
        sections = [kind for kind in getattr(current, "__args__", ()) if _is_section(kind)]
        if sections and not str(current).startswith("dict"):
            current = sections[0]
    return list(current.model_fields) if _is_section(current) else []


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _check_limit_names(config: GateConfig, known: frozenset[str], file: Path, text: str) -> None:
    tables: list[tuple[tuple[str, ...], dict[str, Limit]]] = [(("limits",), config.limits)]
    tables += [(("variants", name, "limits"), variant.limits) for name, variant in config.variants.items()]
    for location, limits in tables:
        for metric in limits:
            if metric not in known:
                line = toml_line(text, (*location, metric))
                raise ConfigError(
                    f"{'.'.join(location)}.{metric}: unknown metric{did_you_mean(metric, known)}",
                    where=f"{file}, line {line}",
                    next_step="the README's table lists the metrics",
                )


def _with_absolute_paths(config: GateConfig, folder: Path) -> GateConfig:
    models = {
        name: _absolute_model(spec, folder)
        for name in ("source", "adapter", "base")
        if (spec := getattr(config.model, name)) is not None
    }
    variants = {name: _absolute_variant(variant, folder) for name, variant in config.variants.items()}
    pack = (folder / config.domain.pack.expanduser()).resolve()
    return config.model_copy(
        update={
            "model": config.model.model_copy(update=models),
            "variants": variants,
            "domain": DomainSettings(pack=pack),
        }
    )


def _absolute_model(spec: str, folder: Path) -> str:
    if (folder / spec).exists() or spec.startswith((".", "/", "~")):
        return str((folder / Path(spec).expanduser()).resolve())
    return spec


def _absolute_variant(variant: VariantSettings, folder: Path) -> VariantSettings:
    update: dict[str, object] = {}
    if variant.artifact is not None:
        update["artifact"] = (folder / variant.artifact.expanduser()).resolve()
    if variant.recipe is not None and variant.recipe not in BUILT_IN_RECIPES:
        update["recipe"] = str((folder / Path(variant.recipe).expanduser()).resolve())
    return variant.model_copy(update=update)
