"""What an adapter does to each tensor of its base, planned from names, shapes and settings alone.

The plan is what PEFT's live model computes. Where PEFT's own merge gives another model than was trained, which is so
for LoRA on a matrix that embedding and head share, the live model counts. What PEFT would leave out in silence is
refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from harness.source.adapter import MERGE_WITH_PEFT, Adapter
from harness.source.adapter_tensors import AdapterTensors, Shape, sort_tensors

_EMBEDDING, _HEAD = "embed_tokens.weight", "lm_head.weight"
_SAVE_EMBEDDINGS = f"save the adapter again with save_embedding_layers=True, or {MERGE_WITH_PEFT}"
_TRANSPOSED = ("gpt2", "openai-gpt", "imagegpt")
"""Families that store matrices inputs first (Conv1D)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lora:
    """A low-rank change: `up @ down` times `scale` is added."""

    down: str
    """Name of the tensor of shape (rank, inputs) in the adapter's file."""

    up: str
    """Name of the tensor of shape (outputs, rank)."""

    scale: float

    magnitude: str | None = None
    """Name of the lengths that rows (of an embedding: columns) are then brought to (DoRA, arXiv 2402.09353)."""

    is_embedding: bool = False
    """Whether inputs are tokens: the product is added transposed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Tokens whose embeddings were trained alone."""

    values: str
    """Name of the tensor of shape (tokens, width) that holds their new rows, not differences."""

    indices: tuple[int, ...]
    """Token ids."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What becomes of one tensor of the base, in this order."""

    replacement: str | None = None
    """Name of the adapter's tensor that takes its place."""

    lora: Lora | None = None

    rows: Rows | None = None

    addend: tuple[str, float] | None = None
    """Name of a bias that is added, and its factor (`lora_bias`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tie:
    """A base whose output head is its input embedding."""

    embedding: str
    """Name of the one matrix in the base's file."""

    head: str
    """Name that the head has once the two have parted."""

    shared: tuple[str, ...]
    """Names of the adapter's tensors that take the place of the one matrix; they must be equal."""

    follows: bool
    """Whether the head gets whatever becomes of the embedding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MergePlan:
    """All that a merge does."""

    changes: Mapping[str, Change]
    """By the name of the base's tensor."""

    tie: Tie | None
    """None where embedding and head are two matrices."""

    vocabulary_size: int
    """Rows of the merged embedding."""

    remarks: tuple[str, ...]
    """What the user should know, a sentence each."""

    def as_dict(self) -> dict[str, Any]:
        """The plan as plain JSON values, for the worker."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseModel:
    """What a plan needs to know of the base."""

    shapes: Mapping[str, Shape]
    """Shape of each stored tensor."""

    vocabulary_size: int
    """Rows of the embedding, as its config says."""

    is_tied: bool
    """Whether transformers takes the input embedding for the output head."""

    model_type: str
    """Family in transformers."""

    @property
    def embedding(self) -> str | None:
        """Name of the input embedding; None where it is called otherwise than in most families."""
        return next((name for name in self.shapes if name.endswith(_EMBEDDING)), None)


def plan_merge(adapter: Adapter, tensors: Mapping[str, Shape], base: BaseModel) -> MergePlan:
    """What an adapter whose file holds `tensors` does to `base`.

    Raises:
        SourceError: PEFT would not load it so, or computes something that is not merged here.
    """
    found = sort_tensors(adapter, tensors)
    tie = _tie(adapter, found, base) if base.is_tied else None
    changes = {name: Change(replacement=own) for name, own in found.wholes.items() if not tie or own not in tie.shared}
    for module, parts in found.parts.items():
        if not (tie and tie.follows and f"{module}.weight" == tie.head):
            for name, what in _planned(adapter, module, parts, base):
                changes[name] = replace(changes.get(name, Change()), **what)
    shapes = {name: _merged_shape(adapter, name, change, tensors, base, tie) for name, change in changes.items()}
    _require_named(adapter, found)
    return MergePlan(
        changes=changes,
        tie=tie,
        vocabulary_size=_vocabulary_size(adapter, shapes, tensors, base, tie),
        remarks=tuple(_remarks(adapter, found, base)),
    )


def _tie(adapter: Adapter, found: AdapterTensors, base: BaseModel) -> Tie:
    """What PEFT does with a matrix that embedding and head share.

    It trains a copy of what `modules_to_save` names, so that the two part; writes anything else that it loads into the
    one matrix; puts LoRA on one of its two uses; and trains rows of both, unless others are named for the head.
    """
    embedding = base.embedding
    if embedding is None:
        raise adapter.refused("the base ties its output head to an embedding that is not found in it")
    own = {name: tensor for name, tensor in found.wholes.items() if name in (embedding, _HEAD)}
    shared = tuple(tensor for name, tensor in own.items() if not adapter.is_saved_whole(_module_of(name)))
    rows, head_rows = (adapter.token_indices(_module_of(name)) for name in (embedding, _HEAD))
    shares_rows = rows is not None and head_rows in (None, rows)
    follows = bool(adapter.settings.get("ensure_weight_tying")) or shares_rows
    return Tie(embedding=embedding, head=_HEAD, shared=shared, follows=follows)


def _planned(
    adapter: Adapter, module: str, parts: Mapping[str, str], base: BaseModel
) -> Iterator[tuple[str, dict[str, Any]]]:
    """(tensor of the base, field of its change) for each thing that PEFT added to a module."""
    if "rows" in parts:
        indices = adapter.token_indices(module) or ()
        yield f"{module}.weight", {"rows": Rows(values=parts["rows"], indices=indices)}
    if not parts.keys() - {"rows"}:
        return
    if not adapter.is_targeted(module):
        raise adapter.refused(
            f"the adapter changes {module}, which its target_modules do not name: PEFT would not load that",
            "adapter_config.json and the weights must be of one adapter: save both again",
        )
    if base.model_type in _TRANSPOSED:
        raise adapter.refused(f"fan_in_fan_out: {base.model_type} stores its matrices inputs first")
    is_embedding = bool(parts.keys() & {"embedding_down", "embedding_up"})
    down, up = (f"embedding_{part}" if is_embedding else part for part in ("down", "up"))
    lacking = [name for part, name in ((down, "lora_A"), (up, "lora_B")) if part not in parts]
    if lacking:
        raise adapter.refused(f"the adapter has {', '.join(parts.values())} and no {lacking[0]} to it")
    magnitude = parts.get("magnitude")
    if bool(adapter.settings.get("use_dora")) != (magnitude is not None):
        has = "has a" if magnitude else "has no"
        stated = adapter.settings.get("use_dora", False)
        raise adapter.refused(f"use_dora is {stated}, and the adapter {has} lora_magnitude_vector for {module}")
    _, scale = adapter.scale(module)
    lora = Lora(down=parts[down], up=parts[up], scale=scale, magnitude=magnitude, is_embedding=is_embedding)
    yield f"{module}.weight", {"lora": lora}
    if "bias" in parts:
        yield f"{module}.bias", {"addend": (parts["bias"], scale)}


def _merged_shape(
    adapter: Adapter, name: str, change: Change, tensors: Mapping[str, Shape], base: BaseModel, tie: Tie | None
) -> Shape:
    """The shape of a merged tensor: the base's, except for rows that were added to embedding and head."""
    shape = _shape_before(name, tensors, base, tie)
    if shape is None:
        raise adapter.refused(f"the adapter changes {name}, which its base model does not have")
    for own, may_resize in _shapes_of(adapter, name, change, tensors):
        is_vocabulary = name.endswith((_EMBEDDING, _HEAD)) and own[1:] == shape[1:]
        if own != shape and is_vocabulary and not may_resize:
            raise adapter.refused(
                f"tokens were added before training: the change of {name} has {own[0]} rows, {name} itself {shape[0]}",
                _SAVE_EMBEDDINGS,
            )
        if own != shape and not is_vocabulary:
            raise adapter.refused(
                f"the adapter was trained on another base: {name} is {list(shape)}, its change {list(own)}",
                "name the base that it was trained on: slm-gate convert BASE --adapter ADAPTER",
            )
        shape = own
    _require_rows(adapter, name, change.rows, tensors, shape)
    return shape


def _shape_before(name: str, tensors: Mapping[str, Shape], base: BaseModel, tie: Tie | None) -> Shape | None:
    if tie and name in (tie.embedding, tie.head):
        return tensors[tie.shared[0]] if tie.shared else base.shapes[tie.embedding]
    return base.shapes.get(name)


def _shapes_of(
    adapter: Adapter, name: str, change: Change, tensors: Mapping[str, Shape]
) -> Iterator[tuple[Shape, bool]]:
    """(shape that a part of a change asks of the tensor, whether it may have other rows)."""
    if change.replacement:
        yield tensors[change.replacement], True
    if change.lora:
        down, up, module = tensors[change.lora.down], tensors[change.lora.up], _module_of(name)
        rank, _ = adapter.scale(module)
        if not down[0] == up[-1] == rank:
            raise adapter.refused(
                f"the adapter says rank {rank} for {module}, and its {change.lora.down} has {down[0]} of {up[-1]}"
            )
        yield (down[-1], up[0]) if change.lora.is_embedding else (up[0], down[-1]), False
    if change.addend:
        yield tensors[change.addend[0]], False


def _require_rows(adapter: Adapter, name: str, rows: Rows | None, tensors: Mapping[str, Shape], shape: Shape) -> None:
    if rows is None:
        return
    count, width = tensors[rows.values]
    if len(rows.indices) != count or width != shape[1]:
        raise adapter.refused(
            f"trainable_token_indices names {len(rows.indices)} tokens of {name}, whose rows have {shape[1]} numbers; "
            f"the adapter has {count} rows of {width}"
        )
    if not all(0 <= index < shape[0] for index in rows.indices):
        raise adapter.refused(
            f"trainable_token_indices names token {max(rows.indices)}, and {name} has {shape[0]} rows", _SAVE_EMBEDDINGS
        )


def _require_named(adapter: Adapter, found: AdapterTensors) -> None:
    """Refuse an adapter that lacks what its settings say was trained; PEFT does not load it either."""
    for name in adapter.settings.get("modules_to_save") or ():
        if not any(f"{name}." in whole for whole in found.wholes):
            raise adapter.refused(f"modules_to_save names {name!r}, and the adapter has no tensor of it")
    if adapter.settings.get("trainable_token_indices") and not any("rows" in own for own in found.parts.values()):
        raise adapter.refused("the adapter has no rows for the tokens of its trainable_token_indices")


def _vocabulary_size(
    adapter: Adapter, shapes: Mapping[str, Shape], tensors: Mapping[str, Shape], base: BaseModel, tie: Tie | None
) -> int:
    """Rows of embedding and head, which must have as many as each other."""
    rows: dict[str, int] = {}
    for name in filter(None, (base.embedding, _HEAD)):
        shape = shapes.get(name) or _shape_before(name, tensors, base, tie)
        if shape and not (tie and tie.follows and name == tie.head):
            rows[name] = shape[0]
    if len(set(rows.values())) > 1:
        told = " and ".join(f"{name} has {count} rows" for name, count in rows.items())
        raise adapter.refused(f"tokens were added to one of two matrices: {told}", _SAVE_EMBEDDINGS)
    before = base.shapes[base.embedding][0] if base.embedding else None
    after = next(iter(rows.values()), None)
    return base.vocabulary_size if after is None or after == before else after


def _remarks(adapter: Adapter, found: AdapterTensors, base: BaseModel) -> Iterator[str]:
    """What PEFT loads without a word, or with a warning only."""
    yield from adapter.remarks
    matrices = [_module_of(name) for name, shape in base.shapes.items() if len(shape) == 2]
    named = matrices if adapter.settings.get("target_modules") else []
    lacking = [module for module in named if module not in found.parts and adapter.is_targeted(module)]
    if lacking:
        yield (
            f"the adapter's target_modules name {len(lacking)} matrices that it has no change of "
            f"(first {lacking[0]}): they stay as the base has them"
        )
    biases = [f"{module}.bias" for module in found.parts if f"{module}.bias" in base.shapes]
    if adapter.settings.get("bias") in ("all", "lora_only") and biases and biases[0] not in found.wholes:
        yield (
            f"the adapter says bias = {adapter.settings['bias']!r} and holds no {biases[0]}, which releases of peft "
            "before 0.21 did not save: what was trained of it is lost"
        )
    unclear = next(filter(adapter.has_two_patterns, found.parts), None)
    if unclear:
        yield (
            f"rank_pattern and alpha_pattern name {unclear} by different keys: releases of peft before 0.14 obeyed "
            "the former only, and may have trained it so"
        )


def _module_of(name: str) -> str:
    return name.rpartition(".")[0]
