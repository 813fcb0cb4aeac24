"""Reads an artifact's graph and config, without loading its weights."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from harness.artifact.facts import ArtifactFacts
from harness.artifact.genai_config import read_settings, stated_providers
from harness.artifact.onnx_file import (
    MAKE_AGAIN,
    Graph,
    Node,
    Tensor,
    attributes_of,
    bits_of,
    check_external_data,
    read_graph,
    stored_bytes,
    type_of,
    value_type,
)
from harness.errors import ArtifactError

Item = TypeVar("Item", int, bool)

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Matrix:
    """One weight matrix as the graph stores it."""

    bits: int
    weights: int
    """Number stored, including those that pad the last block of a row."""

    size_bytes: int
    block_size: int | None = None
    blocks_per_row: int | None = None
    symmetric: bool | None = None
    accuracy_level: int | None = None


def inspect_artifact(folder: Path) -> ArtifactFacts:
    """The facts of a converted model's folder.

    Raises:
        ArtifactError: a file is missing, unreadable, or shorter than the graph says.
    """
    settings = read_settings(folder)
    model_file = _model_file(folder, settings)
    _require_tokenizer(folder)
    graph = read_graph(folder / model_file)
    initializers = {tensor.name: tensor for tensor in graph.initializer}
    check_external_data(folder, initializers.values())
    matrices = _matrices(graph, initializers)
    model = settings["model"]
    return ArtifactFacts(
        model_file=model_file,
        op_counts=dict(sorted(Counter(node.op_type for node in graph.node).items())),
        weights_per_bits=_weights_perbits_of(matrices),
        block_sizes=_distinct(matrix.block_size for matrix in matrices),
        blocks_per_row=_distinct(matrix.blocks_per_row for matrix in matrices),
        symmetries=_distinct(matrix.symmetric for matrix in matrices),
        accuracy_levels=_distinct(matrix.accuracy_level for matrix in matrices),
        weight_bytes=_weight_bytes(initializers.values()),
        bytes_per_weight=_bytes_per_weight(matrices),
        embedding_type=_embedding_type(graph, initializers),
        head_type=_head_type(graph, initializers),
        inputs={value.name: value_type(value) for value in graph.input},
        outputs={value.name: value_type(value) for value in graph.output},
        has_shared_embeddings=_has_shared_embeddings(graph, initializers),
        model_type=str(model.get("type", "")),
        context_length=_whole(model.get("context_length")),
        vocabulary_size=_whole(model.get("vocab_size")),
        eos_token_ids=_token_ids(model.get("eos_token_id")),
        providers=stated_providers(settings),
        search=dict(settings.get("search") or {}),
    )


def _model_file(folder: Path, settings: Mapping[str, Any]) -> str:
    name = str(settings["model"]["decoder"].get("filename") or "model.onnx")
    if Path(name).name != name:
        raise ArtifactError(f"genai_config.json points out of its folder: {name!r}", where=str(folder))
    if not (folder / name).is_file():
        raise ArtifactError(f"{name} is missing", where=str(folder), next_step=MAKE_AGAIN)
    return name


def _require_tokenizer(folder: Path) -> None:
    if not any((folder / name).is_file() for name in _TOKENIZER_FILES):
        raise ArtifactError("the tokenizer is missing", where=str(folder), next_step=MAKE_AGAIN)


def _matrices(graph: Graph, tensors: Mapping[str, Tensor]) -> list[_Matrix]:
    unpacked = {node.output[0]: node for node in graph.node if node.op_type == "DequantizeLinear"}
    reshaped = {name: tensors[origin] for name, origin in _origins(graph).items() if origin in tensors}
    tensors = {**reshaped, **tensors}
    found = []
    for node in graph.node:
        if node.op_type == "MatMulNBits":
            found.append(_quantized_matrix(node, tensors))
        elif node.op_type in ("MatMul", "Gemm") and len(node.input) > 1:
            source = unpacked.get(node.input[1])
            tensor = tensors.get(source.input[0] if source else node.input[1])
            if tensor is not None and len(tensor.dims) == 2:
                found.append(_plain_matrix(tensor, source, tensors))
    return found


def _quantized_matrix(node: Node, tensors: Mapping[str, Tensor]) -> _Matrix:
    values = attributes_of(node)
    parts = [tensors[name] for name in node.input[1:4] if name in tensors]
    if not all(values.get(name) for name in ("block_size", "K", "N")):
        raise ArtifactError(
            f"{node.name} lacks block_size, K or N, so its weights cannot be read", next_step="convert it again"
        )
    block_size = int(values["block_size"])
    blocks_per_row = math.ceil(int(values["K"]) / block_size)
    return _Matrix(
        bits=int(values.get("bits", 4)),
        weights=blocks_per_row * block_size * int(values["N"]),
        size_bytes=sum(stored_bytes(part) for part in parts),
        block_size=block_size,
        blocks_per_row=blocks_per_row,
        symmetric=not (len(node.input) > 3 and node.input[3]),
        accuracy_level=int(values.get("accuracy_level", 0)),
    )


def _plain_matrix(tensor: Tensor, source: Node | None, tensors: Mapping[str, Tensor]) -> _Matrix:
    weights = math.prod(tensor.dims)
    if source is None:
        return _Matrix(bits=bits_of(tensor), weights=weights, size_bytes=stored_bytes(tensor))
    values = attributes_of(source)
    parts = [tensors[name] for name in source.input if name in tensors]
    return _Matrix(
        bits=bits_of(tensor),
        weights=weights,
        size_bytes=sum(stored_bytes(part) for part in parts),
        block_size=int(values["block_size"]) if values.get("block_size") else None,
        symmetric=len(source.input) < 3,
    )


def _embedding_type(graph: Graph, tensors: Mapping[str, Tensor]) -> str | None:
    for node in graph.node:
        if node.op_type in ("Gather", "GatherBlockQuantized") and node.input[1] == "input_ids":
            return _stored_type(node, 0, graph, tensors)
    return None


def _head_type(graph: Graph, tensors: Mapping[str, Tensor]) -> str | None:
    """Back from the logits, through whatever scales, caps or casts them, to the first product with a stored matrix."""
    makers = {name: node for node in graph.node for name in node.output}
    node = makers.get("logits")
    while node is not None:
        if node.op_type in ("MatMul", "Gemm", "MatMulNBits"):
            return _stored_type(node, 1, graph, tensors)
        node = next((makers[name] for name in node.input if name in makers), None)
    return None


def _stored_type(node: Node, position: int, graph: Graph, tensors: Mapping[str, Tensor]) -> str | None:
    """Type of the weights that a node reads: blocks of them are packed into bytes, whose type says nothing."""
    if node.op_type in ("MatMulNBits", "GatherBlockQuantized"):
        return f"int{attributes_of(node).get('bits', 4)}"
    name = node.input[position]
    unpacked = {one.output[0]: one.input[0] for one in graph.node if one.op_type == "DequantizeLinear"}
    tensor = tensors.get(unpacked.get(name, _origins(graph).get(name, name)))
    return None if tensor is None else type_of(tensor)


def _weights_perbits_of(matrices: Iterable[_Matrix]) -> dict[int, int]:
    counts: Counter[int] = Counter()
    for matrix in matrices:
        counts[matrix.bits] += matrix.weights
    return dict(sorted(counts.items()))


def _bytes_per_weight(matrices: Iterable[_Matrix]) -> float | None:
    pairs = [(matrix.size_bytes, matrix.weights) for matrix in matrices]
    weights = sum(count for _, count in pairs)
    return sum(size for size, _ in pairs) / weights if weights else None


def _weight_bytes(tensors: Iterable[Tensor]) -> dict[str, int]:
    sizes: Counter[str] = Counter()
    for tensor in tensors:
        sizes[type_of(tensor)] += stored_bytes(tensor)
    return dict(sorted(sizes.items()))


def _has_shared_embeddings(graph: Graph, tensors: Mapping[str, Tensor]) -> bool:
    """Whether a large tensor is read both by a lookup and by a matrix product, through reshapes if need be."""
    origin = _origins(graph)

    def reads(op_types: tuple[str, ...], position: int) -> set[str]:
        names = (node.input[position] for node in graph.node if node.op_type in op_types and len(node.input) > position)
        return {origin.get(name, name) for name in names} & tensors.keys()

    return bool(reads(("Gather", "GatherBlockQuantized"), 0) & reads(("MatMul", "Gemm", "MatMulNBits"), 1))


def _origins(graph: Graph) -> dict[str, str]:
    """What goes in, by what comes out, of the operators that only give a tensor another shape."""
    shapers = ("Reshape", "Transpose", "Identity")
    return {node.output[0]: node.input[0] for node in graph.node if node.op_type in shapers}


def _token_ids(value: object) -> tuple[int, ...]:
    values = value if isinstance(value, list) else [value]
    return tuple(number for number in map(_whole, values) if number is not None)


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _distinct(values: Iterable[Item | None]) -> tuple[Item, ...]:
    return tuple(sorted({value for value in values if value is not None}))
