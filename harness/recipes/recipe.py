"""The options of a variant, and the Olive workflow that implements them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from harness.config.settings import VariantSettings
from harness.config.target import CPU, GPU_BUILD, Target
from harness.errors import ConfigError
from harness.recipes.olive_file import WHOLE_ROW, asked_in, read_olive_file

Precision = Literal["int4", "int8", "fp16", "fp32"]
Backend = Literal["olive", "genai"]
Algorithm = Literal["default", "rtn", "rtn_last", "k_quant", "k_quant_mixed", "k_quant_last"]

PRECISIONS: tuple[Precision, ...] = get_args(Precision)
BLOCK_SIZES = (16, 32, 64, 128, 256)
DEFAULT_ACCURACY_LEVEL = 4
"""ModelBuilder's choice for CPU: activations are rounded to 8 bits inside each MatMul."""

_ALGORITHMS: dict[str, tuple[str, ...]] = {"int4": get_args(Algorithm), "int8": ("default", "rtn", "k_quant")}
_GENAI_ALGORITHMS = ("default", "rtn", "k_quant")
_QUANTIZED_ONLY = ("block_size", "symmetric", "accuracy_level", "algorithm")


class _Defaults(NamedTuple):
    block_size: int
    symmetric: bool
    algorithm: Algorithm


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """The requested options of one variant; None means the default, which `resolved` fills in."""

    name: str
    """A built-in precision, or the path of the user's Olive file."""

    precision: Precision
    """Precision of the weights in the matrices."""

    block_size: int | None = None
    """Weights that share one scale; -1, in Olive files only, for a whole row."""

    symmetric: bool | None = None
    """True: no zero points; False: a zero point for each block."""

    accuracy_level: int | None = None
    """Precision of activations in a quantised MatMul: 0 as the input, 1 fp32, 2 fp16, 3 bf16, 4 int8."""

    algorithm: Algorithm | None = None
    """How the quantised weights are found."""

    olive_config: Path | None = None
    """The user's own Olive workflow; None for the built-in ones."""

    target: Target = CPU
    """Where the result runs."""

    backend: Backend = "olive"
    """Olive; or the builder of the onnxruntime-genai that serves, run by the toolchain's Python."""

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ConfigError(
                f"precision {self.precision!r} is unknown", next_step=f"use one of {', '.join(PRECISIONS)}"
            )
        if self.backend == "genai" and (self.precision == "fp16" or self.olive_config is not None):
            raise self._wrong("backend", self.backend, "it makes int4, int8 and fp32; use backend = 'olive'")
        self._check_applicable()
        sizes = BLOCK_SIZES if self.olive_config is None else (*BLOCK_SIZES, WHOLE_ROW)
        if self.block_size is not None and self.block_size not in sizes:
            raise self._wrong("block_size", self.block_size, f"use one of {BLOCK_SIZES}")
        if self.accuracy_level is not None and self.accuracy_level not in range(5):
            raise self._wrong(
                "accuracy_level", self.accuracy_level, "use 0 (as the input), 1 (fp32), 2 (fp16), 3 (bf16) or 4 (int8)"
            )
        self._check_algorithm()

    def _check_applicable(self) -> None:
        if self.precision in _ALGORITHMS:
            return
        for option in _QUANTIZED_ONLY:
            if getattr(self, option) is not None:
                raise ConfigError(
                    f"{option} does not apply to {self.precision}: nothing is quantised there",
                    where=f"variant {self.name}",
                    next_step=f"remove {option}",
                )

    def _check_algorithm(self) -> None:
        if self.algorithm is None:
            return
        if self.olive_config is not None:
            if self.algorithm not in get_args(Algorithm):
                raise self._wrong("algorithm", self.algorithm, f"use one of {', '.join(get_args(Algorithm))}")
            return
        known = _GENAI_ALGORITHMS if self.backend == "genai" else _ALGORITHMS[self.precision]
        if self.algorithm not in known:
            raise self._wrong("algorithm", self.algorithm, f"for {self.precision} use one of {', '.join(known)}")
        if self.precision == "int4" and self.algorithm.startswith("k_quant") and self.symmetric:
            raise self._wrong("symmetric", True, f"{self.algorithm} always stores zero points: use symmetric = false")

    def _wrong(self, option: str, value: object, next_step: str) -> ConfigError:
        return ConfigError(f"{option} = {value!r} is invalid", where=f"variant {self.name}", next_step=next_step)

    @classmethod
    def from_settings(cls, settings: VariantSettings) -> Recipe:
        """The recipe of a variant in gate.toml, converted here or elsewhere."""
        options = {option: getattr(settings, option) for option in _QUANTIZED_ONLY}
        given = {option: value for option, value in options.items() if value is not None}
        if settings.recipe is not None:
            return load_recipe(
                settings.recipe,
                precision=settings.precision,
                backend=settings.backend,
                target=settings.target,
                **given,
            )
        assert settings.precision is not None  # the settings see to it
        return cls(name=settings.precision, precision=settings.precision, target=settings.target, **given)

    def resolved(self, input_widths: Sequence[int] = ()) -> Recipe:
        """The same recipe with its defaults filled in for a model's matrices.

        Olive's int8 groups must divide every matrix's input, so the default is the largest that does, at most 128.
        """
        if self.olive_config is not None or self.precision not in _ALGORITHMS:
            return self
        if self.precision == "int8" and self.backend == "olive":
            fitting = [size for size in (128, 64, 32, 16) if all(width % size == 0 for width in input_widths)]
            defaults = _Defaults((fitting or [128])[0], False, "rtn")
        else:
            defaults = _Defaults(32, not (self.algorithm or "").startswith("k_quant"), "default")
        return replace(
            self,
            block_size=self.block_size or defaults.block_size,
            symmetric=defaults.symmetric if self.symmetric is None else self.symmetric,
            accuracy_level=DEFAULT_ACCURACY_LEVEL if self.accuracy_level is None else self.accuracy_level,
            algorithm=self.algorithm or defaults.algorithm,
        )

    @property
    def build_target(self) -> Target:
        """What Olive is told to build for: it makes fp16 for GPUs only. The graph is the same; its config is not."""
        return GPU_BUILD if self.precision == "fp16" and self.target == CPU else self.target

    def as_dict(self) -> dict[str, Any]:
        """The recipe as plain JSON values, for manifests and records."""
        return {
            "name": self.name,
            "precision": self.precision,
            "backend": self.backend,
            "target": self.target.as_dict(),
            **{option: getattr(self, option) for option in _QUANTIZED_ONLY},
            "olive_config": read_olive_file(self.olive_config) if self.olive_config else None,
        }

    def fingerprint(self) -> str:
        """SHA-256 of everything that shapes the result; the file's content counts, not its path."""
        content = {key: value for key, value in self.as_dict().items() if key != "name"}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def load_recipe(name: str, *, precision: Precision | None = None, **options: Any) -> Recipe:
    """A recipe by its name: a built-in precision, or the path of an Olive file.

    The options of an Olive file (bits, block size, symmetry, accuracy level) are read from it, so that the graph
    can be compared with them.
    """
    if name in PRECISIONS:
        if precision not in (None, name):
            raise ConfigError(
                f"recipe {name} cannot make {precision}", next_step="remove precision, or name that recipe"
            )
        return Recipe(name=name, precision=name, **options)
    path = Path(name)
    if not path.is_file():
        raise ConfigError(
            f"recipe {name!r} is neither a precision nor a file",
            next_step=f"use one of {', '.join(PRECISIONS)}, or the path of an Olive JSON file",
        )
    asked = asked_in(path)
    found = asked.pop("precision", None)
    asked_precision = precision or found
    if asked_precision not in PRECISIONS:
        raise ConfigError(
            "the Olive file does not show which precision it makes",
            where=name,
            next_step=f"state the variant's precision: one of {', '.join(PRECISIONS)}",
        )
    return Recipe(name=name, precision=asked_precision, olive_config=path, **{**asked, **options})


def olive_run_config(
    recipe: Recipe, model_path: Path, output_dir: Path, cache_dir: Path, *, trust_remote_code: bool = False
) -> dict[str, Any]:
    """The Olive workflow of a recipe, as `olive run` takes it.

    A user's own file keeps everything except the model, the folders and the log level.
    """
    places = {"output_dir": str(output_dir), "cache_dir": str(cache_dir), "log_severity_level": 1}
    if recipe.olive_config is not None:
        config = read_olive_file(recipe.olive_config)
        model = {"type": "HfModel", **(config.get("input_model") or {}), "model_path": str(model_path)}
        return {**config, "input_model": model, **places}
    passes = _passes(recipe)
    passes["build"]["extra_options"]["hf_remote"] = trust_remote_code  # the builder trusts by default
    model = {"type": "HfModel", "model_path": str(model_path)}
    if trust_remote_code:
        model["load_kwargs"] = {"trust_remote_code": True}
    return {
        "input_model": model,
        "systems": {"local": {"type": "LocalSystem", "accelerators": [recipe.build_target.accelerator]}},
        "host": "local",
        "target": "local",
        "passes": passes,
        "evaluate_input_model": False,
        **places,
    }


def _passes(recipe: Recipe) -> dict[str, dict[str, Any]]:
    recipe = recipe.resolved()
    if recipe.precision == "int4":
        return {"build": _model_builder("int4", recipe) | _int4_options(recipe)}
    if recipe.precision == "int8":
        # ModelBuilder has no int8; it keeps the 8 bits of a model that Olive has quantised before.
        return {"quantize": _int8_quantizer(recipe), "build": _model_builder("int4", recipe)}
    return {"build": _model_builder(recipe.precision, recipe)}


def _model_builder(precision: str, recipe: Recipe) -> dict[str, Any]:
    # Olive's own option does not accept level 0; the builder does.
    level = {} if recipe.accuracy_level is None else {"int4_accuracy_level": recipe.accuracy_level}
    return {"type": "ModelBuilder", "precision": precision, "extra_options": level}


def _int4_options(recipe: Recipe) -> dict[str, Any]:
    options: dict[str, Any] = {"int4_block_size": recipe.block_size, "int4_is_symmetric": recipe.symmetric}
    return options if recipe.algorithm == "default" else {**options, "int4_algo_config": recipe.algorithm}


def _int8_quantizer(recipe: Recipe) -> dict[str, Any]:
    return {
        "type": "KQuant" if recipe.algorithm == "k_quant" else "Rtn",
        "bits": 8,
        "group_size": recipe.block_size,
        "sym": recipe.symmetric,
        "lm_head": True,
    }
