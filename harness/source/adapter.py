"""A LoRA adapter as PEFT saves it: its settings, and what they say of each module of its base."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import SourceError
from harness.source.source import ADAPTER_SETTINGS, named_folder, read_json

WEIGHTS = "adapter_model.safetensors"
PICKLED = "adapter_model.bin"
MERGE_WITH_PEFT = "merge it with peft (merge_and_unload()), save that model, and give its folder"

_NOT_LORA = (
    "layer_replication", "alora_invocation_tokens", "use_qalora", "arrow_config", "use_bdlora", "kasa_config",
    "monteclora_config", "target_parameters", "megatron_config",
)  # fmt: skip
"""Settings with which a model computes something else than a sum of two matrices, or on other tensors."""

_OF_TRAINING = (
    "peft_type", "task_type", "base_model_name_or_path", "auto_mapping", "peft_version", "inference_mode", "revision",
    "r", "lora_alpha", "lora_dropout", "target_modules", "exclude_modules", "layers_to_transform", "layers_pattern",
    "modules_to_save", "rank_pattern", "alpha_pattern", "use_rslora", "use_dora", "bias", "lora_bias", "fan_in_fan_out",
    "trainable_token_indices", "ensure_weight_tying", "init_lora_weights", "loftq_config", "eva_config", "corda_config",
    "lora_ga_config", "velora_config", "qalora_group_size", "megatron_core", "runtime_config",
)  # fmt: skip
"""Settings that are obeyed, or that count while training only; `init_lora_weights` says whether the base was changed.

`fan_in_fan_out` counts for no family that can be converted: PEFT goes by the layer's own kind.
"""

_KINDS: Mapping[str, tuple[type, ...]] = {
    "target_modules": (list, str), "exclude_modules": (list, str), "modules_to_save": (list,), "rank_pattern": (dict,),
    "alpha_pattern": (dict,), "trainable_token_indices": (list, dict), "layers_to_transform": (list, int),
    "layers_pattern": (list, str),
}  # fmt: skip
"""What a setting is where it is not null."""

_HARMLESS_BEGINNINGS = ("true", "false", "none", "gaussian", "orthogonal", "eva", "mica")
"""Of `init_lora_weights`: what training starts from without another base (pissa, olora, corda, loftq, lora_ga do)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """The settings of an adapter that is LoRA and can be merged."""

    folder: Path
    """Where it lies."""

    settings: Mapping[str, Any]
    """Content of adapter_config.json."""

    @property
    def settings_file(self) -> Path:
        """The file that holds its settings."""
        return self.folder / ADAPTER_SETTINGS

    @property
    def remarks(self) -> tuple[str, ...]:
        """Settings that nobody here knows, a sentence each."""
        unknown = [name for name, value in self.settings.items() if value and name not in (*_OF_TRAINING, *_NOT_LORA)]
        return tuple(f"the adapter's setting {name} is not known, and has no effect" for name in unknown)

    def base_spec(self) -> str:
        """The base model that it names: a folder, also one beside it, or a hub id.

        Raises:
            SourceError: it names none, itself, or a certain revision.
        """
        base = self.settings.get("base_model_name_or_path")
        where = str(self.settings_file)
        name_it = "name the base: slm-gate convert BASE --adapter ADAPTER"
        if not isinstance(base, str) or not base:
            raise SourceError("the adapter does not name its base model", where=where, next_step=name_it)
        if named_folder(base).resolve() == self.folder.resolve():
            raise SourceError("the adapter names itself as its base model", where=where, next_step=name_it)
        revision = self.settings.get("revision")
        if revision not in (None, "main"):
            raise SourceError(f"the adapter names revision = {revision!r} of its base", where=where, next_step=name_it)
        beside = self.folder / base
        return str(beside) if beside.is_dir() else base

    def scale(self, module: str) -> tuple[int, float]:
        """(rank, factor of the product) of a module: alpha over the rank, or over its root (arXiv 2312.03732).

        Raises:
            SourceError: they are no LoRA's.
        """
        rank, alpha = self._of(module, "rank_pattern", "r"), self._of(module, "alpha_pattern", "lora_alpha")
        is_lora = isinstance(rank, int) and rank >= 1 and isinstance(alpha, int | float)
        if not is_lora:
            raise self.refused(f"the adapter has rank {rank} and lora_alpha {alpha} for {module}, which is no LoRA")
        return rank, float(alpha / (math.sqrt(rank) if self.settings.get("use_rslora") else rank))

    def has_two_patterns(self, module: str) -> bool:
        """Whether rank and alpha of a module are named by different keys, by settings that tell no release of peft."""
        keys = {self._key(module, name) for name in ("rank_pattern", "alpha_pattern")}
        return len(keys - {None}) == 2 and self.settings.get("peft_version") is None

    def _of(self, module: str, patterns: str, otherwise: str) -> Any:
        key = self._key(module, patterns)
        return self.settings.get(otherwise) if key is None else self.settings[patterns][key]

    def _key(self, module: str, patterns: str) -> str | None:
        """The first key, a regular expression, that is the module's name or its ending."""
        keys = self.settings.get(patterns) or {}
        return next((key for key in keys if re.match(rf"(.*\.)?({key})$", module)), None)

    def is_targeted(self, module: str) -> bool:
        """Whether PEFT puts LoRA on a module of this name; true of all where the settings name none.

        The rules of peft 0.21 (`check_target_module_exists`): names, endings of names or one regular expression, less
        `exclude_modules` and `modules_to_save`, in the layers of `layers_to_transform`.
        """
        wanted = self.settings.get("target_modules")
        if not wanted or wanted == "all-linear":
            return True
        if self.is_saved_whole(module) or _matches(module, self.settings.get("exclude_modules")):
            return False
        is_by_ending = not isinstance(wanted, str) and module not in wanted
        return _matches(module, wanted) and (not is_by_ending or self._is_in_layers(module))

    def _is_in_layers(self, module: str) -> bool:
        layers = self.settings.get("layers_to_transform")
        if layers is None or layers == []:
            return True
        patterns = self.settings.get("layers_pattern") or r"[^.]*"
        tried = [patterns] if isinstance(patterns, str) else patterns
        found = next(filter(None, (re.match(rf"(?:^|.*?\.){name}\.(\d+)\.", module) for name in tried)), None)
        return found is not None and int(found[1]) in ([layers] if isinstance(layers, int) else layers)

    def is_saved_whole(self, module: str) -> bool:
        """Whether a module, or one that it stands in, was trained and saved as a whole beside the base's."""
        return any(f"{name}." in f"{module}." for name in self.settings.get("modules_to_save") or ())

    def token_indices(self, module: str) -> tuple[int, ...] | None:
        """Tokens whose rows of an embedding were trained alone; None where it is not named."""
        stated = self.settings.get("trainable_token_indices")
        named = {"embed_tokens": stated} if isinstance(stated, list) else stated or {}
        return next((tuple(found) for name, found in named.items() if module.endswith(name)), None)

    def refused(self, what: str, next_step: str = MERGE_WITH_PEFT) -> SourceError:
        """The error for an adapter that cannot be merged here."""
        return SourceError(what, where=str(self.folder), next_step=next_step)


def read_adapter(folder: Path) -> Adapter:
    """The adapter in a folder.

    Raises:
        SourceError: there is none, or its settings make it something that is not merged here; they are named.
    """
    if not (folder / ADAPTER_SETTINGS).is_file():
        raise SourceError(f"this is no LoRA adapter: it has no {ADAPTER_SETTINGS}", where=str(folder))
    settings = read_json(folder / ADAPTER_SETTINGS)
    adapter = Adapter(folder=folder, settings=settings)
    if settings.get("peft_type") != "LORA":
        raise adapter.refused(f"the adapter is of type {settings.get('peft_type')}; only LoRA can be merged here")
    _require_readable(adapter)
    odd = list(_odd_settings(settings))
    if odd:
        raise adapter.refused(f"the adapter uses {', '.join(odd)}, which is not merged here")
    return adapter


def _require_readable(adapter: Adapter) -> None:
    """Refuse settings that PEFT does not write, and what it takes for a regular expression and is none."""
    settings = adapter.settings
    for name, kinds in _KINDS.items():
        value = settings.get(name)
        if value is not None and not isinstance(value, kinds):
            raise adapter.refused(f"{name} is {value!r} in {ADAPTER_SETTINGS}, which peft does not write")
    whole = [settings.get(name) for name in ("target_modules", "exclude_modules")]
    keys = [key for name in ("rank_pattern", "alpha_pattern") for key in settings.get(name) or ()]
    for expression in (*(value for value in whole if isinstance(value, str)), *keys):
        try:
            re.compile(expression)
        except re.error as error:
            raise adapter.refused(f"{expression!r} in {ADAPTER_SETTINGS} is no regular expression: {error}") from error


def _odd_settings(settings: Mapping[str, Any]) -> Iterator[str]:
    yield from (name for name in _NOT_LORA if settings.get(name))
    beginning = settings.get("init_lora_weights", True)
    if str(beginning).lower() not in _HARMLESS_BEGINNINGS:
        yield f"init_lora_weights = {beginning!r}, which changes the base"


def _matches(module: str, names: Any) -> bool:
    """By one regular expression, or by a list of names or their endings."""
    if isinstance(names, str):
        return re.fullmatch(names, module) is not None
    return any(module == name or module.endswith(f".{name}") for name in names or ())
