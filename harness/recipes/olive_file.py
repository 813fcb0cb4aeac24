"""A user's own Olive workflow: the options it sets, and those that have no effect."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from harness.config.diagnosis import did_you_mean
from harness.errors import ConfigError

WHOLE_ROW = -1
"""The group size with which a quantiser gives each row of a matrix one scale."""

_BUILDER_OPTIONS = {
    "int4_block_size": "block_size",
    "int4_is_symmetric": "symmetric",
    "int4_accuracy_level": "accuracy_level",
    "int4_algo_config": "algorithm",
}
_NEWER_NAMES = {name.removeprefix("int4_"): option for name, option in _BUILDER_OPTIONS.items()}
"""Their names in newer builders; an older one ignores them, so the graph is compared with them."""

_EXTRA_OPTIONS = {
    *_BUILDER_OPTIONS, *_NEWER_NAMES, "disable_qkv_fusion", "enable_cuda_graph", "enable_webgpu_graph",
    "exclude_embeds", "exclude_lm_head", "hf_remote", "hf_token", "include_hidden_states", "int4_nodes_to_exclude",
    "int4_op_types_to_quantize", "num_hidden_layers", "prune_lm_head", "qmoe_block_size", "shared_embeddings",
    "use_8bits_moe", "use_cuda_bf16", "use_qdq", "use_webgpu_fp32",
}  # fmt: skip
"""Options that the builder of onnxruntime-genai 0.13 and 0.14 reads; Olive passes on every name."""

_QUANTIZER_OPTIONS = {
    "group_size": "block_size",
    "sym": "symmetric",
    "block_size": "block_size",
    "is_symmetric": "symmetric",
    "accuracy_level": "accuracy_level",
}
"""The first two belong to passes before ModelBuilder, the others to passes after it."""

_TYPES: dict[str, type] = {"block_size": int, "symmetric": bool, "accuracy_level": int, "algorithm": str}


class _Statement(NamedTuple):
    """One option that a workflow sets."""

    option: str
    """Its name in a recipe."""

    value: Any

    name: str
    """Its name in the file."""

    owner: str
    """The pass that it is set for."""


def read_olive_file(path: Path) -> dict[str, Any]:
    """The content of a workflow that has passes.

    Raises:
        ConfigError: it cannot be read, or would convert nothing.
    """
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"the Olive file cannot be read: {error}", where=str(path)) from error
    wrong = _of_wrong_type(config) if isinstance(config, dict) else None
    if wrong:
        raise ConfigError(
            f"{wrong} in the Olive file is not an object", where=str(path), next_step='write {"name": value}'
        )
    if not isinstance(config, dict) or not isinstance(config.get("passes"), dict) or not config["passes"]:
        raise ConfigError(
            "the Olive file has no passes, so it would convert nothing",
            where=str(path),
            next_step='write {"passes": {"build": {"type": "ModelBuilder", "precision": "int4"}}} or similar',
        )
    return config


def _of_wrong_type(config: Mapping[str, Any]) -> str | None:
    """The first entry that must be an object and is not."""
    objects = {"input_model": config.get("input_model")}
    passes = config.get("passes") if isinstance(config.get("passes"), dict) else {}
    for name, entry in (passes or {}).items():
        options = entry[0] if isinstance(entry, list) and entry else entry
        if isinstance(options, dict):
            nested = options.get("config")
            objects[f"config of {name}"] = nested
            inner = {**options, **nested} if isinstance(nested, dict) else options
            objects[f"extra_options of {name}"] = inner.get("extra_options")
            objects[f"quantization_config of {name}"] = inner.get("quantization_config")
    return next((name for name, value in objects.items() if value is not None and not isinstance(value, dict)), None)


def asked_in(path: Path) -> dict[str, Any]:
    """The options that the passes of a file set, by their names in a recipe.

    Raises:
        ConfigError: the file cannot be used, or an option has an invalid value, or two different ones.
    """
    config = read_olive_file(path)
    _check_known(config, path)
    asked: dict[str, _Statement] = {}
    for statement in _statements(config):
        _check(statement, path)
        first = asked.setdefault(statement.option, statement)
        if first.value != statement.value:
            raise ConfigError(
                f"{statement.option} is set twice: {_describe(first)}, {_describe(statement)}",
                where=str(path),
                next_step="set it once; ModelBuilder does not change what an earlier pass has quantised",
            )
    return {**_precision_asked_in(config), **{option: statement.value for option, statement in asked.items()}}


def ignored_options(path: Path) -> dict[str, Any]:
    """Options in `quantization_config`, which guides use and ModelBuilder never reads."""
    asked: dict[str, Any] = {}
    for options in _passes(read_olive_file(path)):
        asked |= options.get("quantization_config") or {}
    return asked


def _passes(config: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The options of each pass, however the file nests them."""
    for entry in config["passes"].values():
        options = entry[0] if isinstance(entry, list) and entry else entry
        if isinstance(options, dict):
            yield {**options, **(options.get("config") or {})}


def _statements(config: Mapping[str, Any]) -> Iterator[_Statement]:
    for options in _passes(config):
        owner = str(options.get("type"))
        if owner.lower() == "modelbuilder":
            yield from _stated(options, _BUILDER_OPTIONS, owner)
            yield from _stated(options.get("extra_options") or {}, _BUILDER_OPTIONS | _NEWER_NAMES, owner)
        else:
            yield from _stated(options, _QUANTIZER_OPTIONS, owner)


def _stated(options: Mapping[str, Any], names: Mapping[str, str], owner: str) -> Iterator[_Statement]:
    for name, option in names.items():
        value = options.get(name)
        if value is None or isinstance(value, (dict, list)):  # not set, or several values for an Olive search
            continue
        is_number = _TYPES[option] is int and isinstance(value, str) and value.removeprefix("-").isdigit()
        yield _Statement(option, int(value) if is_number else value, name, owner)


def _check_known(config: Mapping[str, Any], path: Path) -> None:
    stated = config.get("input_model") or {}
    if "config" in stated or "engine" in config or re.search(r"[/\\]", str(config.get("workflow_id", ""))):
        raise ConfigError(
            "a nested `config` of input_model, `engine`, and a workflow_id that is a path are not supported: "
            "the gate sets the model and the folders, and these would override them",
            where=str(path),
            next_step="write the options of input_model beside its type, and leave out `engine`",
        )
    if stated.get("adapter_path"):
        raise ConfigError(
            "adapter_path in input_model is not supported: the adapter is merged before Olive reads the model",
            where=str(path),
            next_step="name it as `adapter` in [model], or with --adapter",
        )
    for options in _passes(config):
        extra = options.get("extra_options") or {}
        unknown = next((name for name in extra if name not in _EXTRA_OPTIONS), None)
        if str(options.get("type")).lower() == "modelbuilder" and unknown is not None:
            raise ConfigError(
                f"{unknown} in extra_options of {options['type']} has no effect: the builder knows no such option"
                f"{did_you_mean(unknown, _EXTRA_OPTIONS)}",
                where=str(path),
                next_step="remove it, or correct its name",
            )


def _check(statement: _Statement, path: Path) -> None:
    if statement.name == "algo_config":  # which no graph shows
        raise ConfigError(
            f"{_describe(statement)} has no effect", where=str(path), next_step="call it int4_algo_config"
        )
    is_right_type = type(statement.value) is _TYPES[statement.option]
    if not is_right_type or (statement.value == WHOLE_ROW and statement.name != "group_size"):
        raise ConfigError(
            f"{_describe(statement)} is invalid",
            where=str(path),
            next_step="see the options in docs/conversion.md; only a quantiser's group_size can be a whole row",
        )


def _describe(statement: _Statement) -> str:
    return f"{statement.name} = {statement.value!r} of {statement.owner}"


def _precision_asked_in(config: Mapping[str, Any]) -> dict[str, Any]:
    """A pass that quantises or rounds decides, wherever it is; without one, ModelBuilder does."""
    asked: dict[str, Any] = {}
    for options in _passes(config):
        kind = str(options.get("type", "")).lower()
        if kind == "modelbuilder":
            asked.setdefault("precision", options.get("precision", "fp32"))
        elif kind == "onnxfloattofloat16":
            asked["precision"] = "fp16"
        elif options.get("bits") in (4, 8):
            asked["precision"] = f"int{options['bits']}"
    return asked
