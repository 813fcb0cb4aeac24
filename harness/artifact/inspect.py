"""Reads an artifact's graph and config back, without loading its weights."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from harness.artifact.facts import ArtifactFacts
from harness.artifact.genai_config import read_settings, stated_providers
from harness.errors import ArtifactError

if TYPE_CHECKING:
    import onnx

Item = TypeVar("Item", int, bool)

_MAKE_AGAIN = "convert the model again, or copy the folder again"
_BITS_OF_TYPE = {
    "float32": 32, "float16": 16, "bfloat16": 16, "int8": 8, "uint8": 8, "int4": 4, "uint4": 4, "float64": 64,
}  # fmt: skip
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Matrix:
    """One weight matrix as the graph stores it."""

    bits: int
    weights: int
    """Stored ones, with those that fill up the last block of a row."""

    size_bytes: int
    block_size: int | None = None
    blocks_per_row: int | None = None
    symmetric: bool | None = None
    accuracy_level: int | None = None


def inspect_artifact(folder: Path) -> ArtifactFacts:
    """The facts of a converted model's folder.

    Raises:
        ArtifactError: a file is missing, unreadable or too short for what the graph says is in it.
    """
    settings = read_settings(folder)
    model_file = _model_file(folder, settings)
    _require_tokenizer(folder)
    graph = read_graph(folder / model_file)
    initializers = {tensor.name: tensor for tensor in graph.initializer}
    _check_external_data(folder, initializers.values())
    matrices = _matrices(graph, initializers)
    model = settings["model"]
    return ArtifactFacts(
        model_file=model_file,
        op_counts=dict(sorted(Counter(node.op_type for node in graph.node).items())),
        weights_per_bits=_weights_per_bits(matrices),
        block_sizes=_distinct(matrix.block_size for matrix in matrices),
        blocks_per_row=_distinct(matrix.blocks_per_row for matrix in matrices),
        symmetries=_distinct(matrix.symmetric for matrix in matrices),
        accuracy_levels=_distinct(matrix.accuracy_level for matrix in matrices),
        weight_bytes=_weight_bytes(initializers.values()),
        bytes_per_weight=_bytes_per_weight(matrices),
        embedding_type=_embedding_type(graph, initializers),
        head_type=_head_type(graph, initializers),
        inputs={value.name: _value_type(value) for value in graph.input},
        outputs={value.name: _value_type(value) for value in graph.output},
        has_shared_embeddings=_has_shared_embeddings(graph, initializers),
        model_type=str(model.get("type", "")),
        context_length=_whole(model.get("context_length")),
        vocabulary_size=_whole(model.get("vocab_size")),
        eos_token_ids=_token_ids(model.get("eos_token_id")),
        providers=stated_providers(settings),
        search=dict(settings.get("search") or {}),
    )


def stored_tensors(folder: Path, model_file: str, prefixes: tuple[str, ...]) -> dict[str, npt.NDArray[np.float32]]:
    """The graph's own tensors whose names begin so, as float32, by name.

    Raises:
        ArtifactError: the graph or its data cannot be read.
    """
    tensors = {}
    try:
        graph = read_graph(folder / model_file)
        for tensor in (*graph.initializer, *_branch_constants(graph)):
            if tensor.name.startswith(prefixes):
                tensors[tensor.name] = np.asarray(read_tensor(folder, tensor), dtype=np.float32)
    except (OSError, ValueError) as error:
        raise ArtifactError(f"its stored tensors cannot be read: {error}", where=str(folder)) from error
    return tensors


def _branch_constants(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Constants of the branches between which a graph chooses, by the names of their outputs."""
    branches = (entry.g for node in graph.node for entry in node.attribute if entry.HasField("g"))
    for node in (node for branch in branches for node in branch.node if node.op_type == "Constant"):
        for entry in node.attribute:
            entry.t.name = node.output[0]
            yield entry.t


def read_tensor(folder: Path, tensor: onnx.TensorProto) -> npt.NDArray[Any]:
    """The values of a stored tensor, mapped from the disk where that can be; the graph is left as it is.

    onnx's own loader refuses files with several links, which every artifact has while Foundry Local serves it.
    """
    import onnx

    if not _is_external(tensor):
        return np.asarray(onnx.numpy_helper.to_array(tensor))
    _check_external_data(folder, [tensor])
    entries = {entry.key: entry.value for entry in tensor.external_data}
    file, start, length = folder / entries["location"], int(entries.get("offset", 0)), _stored_bytes(tensor)
    kind = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    if 8 * kind.itemsize == _bits(tensor) and length and tensor.dims:
        return np.memmap(file, kind, "r", offset=start, shape=tuple(tensor.dims))
    inner = onnx.TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
    with file.open("rb") as stream:
        stream.seek(start)
        inner.raw_data = stream.read(length)
    return np.asarray(onnx.numpy_helper.to_array(inner))


def type_of(tensor: onnx.TensorProto) -> str:
    """What a tensor stores: `float32`, `float16`, `uint8`."""
    return _type_name(tensor.data_type)


def numbers_of(node: onnx.NodeProto) -> dict[str, float]:
    """The numbers that an operator is told; of a constant its value, where it is one number."""
    import onnx

    values = {entry.name: onnx.helper.get_attribute_value(entry) for entry in node.attribute}
    stored = values.get("value")
    if isinstance(stored, onnx.TensorProto):
        locked = onnx.numpy_helper.to_array(stored)
        values["value"] = float(locked.item()) if locked.size == 1 else None
    return {name: value for name, value in values.items() if isinstance(value, int | float)}


def _model_file(folder: Path, settings: Mapping[str, Any]) -> str:
    name = str(settings["model"]["decoder"].get("filename") or "model.onnx")
    if Path(name).name != name:
        raise ArtifactError(f"genai_config.json points out of its folder: {name!r}", where=str(folder))
    if not (folder / name).is_file():
        raise ArtifactError(f"{name} is missing", where=str(folder), next_step=_MAKE_AGAIN)
    return name


def _require_tokenizer(folder: Path) -> None:
    if not any((folder / name).is_file() for name in _TOKENIZER_FILES):
        raise ArtifactError("the tokenizer is missing", where=str(folder), next_step=_MAKE_AGAIN)


def read_graph(file: Path) -> onnx.GraphProto:
    """A graph without its external data.

    Raises:
        ArtifactError: it cannot be read, or is empty.
    """
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # ships no types

    try:
        graph = onnx.load(str(file), load_external_data=False).graph
    except (DecodeError, OSError, ValueError) as error:
        raise ArtifactError(
            f"{file.name} is not a readable ONNX graph: {error}", where=str(file), next_step=_MAKE_AGAIN
        ) from error
    if not graph.node or not graph.output:
        raise ArtifactError(f"{file.name} holds an empty graph", where=str(file), next_step=_MAKE_AGAIN)
    return graph


def _check_external_data(folder: Path, tensors: Iterable[onnx.TensorProto]) -> None:
    sizes: dict[str, int] = {}
    for tensor in tensors:
        if not _is_external(tensor):
            continue
        entries = {entry.key: entry.value for entry in tensor.external_data}
        name = entries.get("location", "")
        if not name or Path(name).name != name or "\\" in name:
            raise ArtifactError(f"tensor {tensor.name} points out of its folder: {name!r}", where=str(folder))
        if name not in sizes:
            file = folder / name
            if not file.is_file():
                raise ArtifactError(
                    f"{name}, which holds tensor {tensor.name}, is missing", where=str(folder), next_step=_MAKE_AGAIN
                )
            sizes[name] = file.stat().st_size
        start, length = _external_number(folder, tensor, "offset") or 0, _stored_bytes(tensor)
        stated = _external_number(folder, tensor, "length")
        if (length if stated is None else stated) < length or start < 0 or start + length > sizes[name]:
            raise ArtifactError(
                f"{name} is cut short: tensor {tensor.name} needs bytes {start} to {start + length}, "
                f"the file has {sizes[name]}",
                where=str(folder / name),
                next_step=_MAKE_AGAIN,
            )


def _external_number(folder: Path, tensor: onnx.TensorProto, key: str) -> int | None:
    value = next((entry.value for entry in tensor.external_data if entry.key == key), None)
    try:
        return None if value is None else int(value)
    except ValueError as error:
        raise ArtifactError(
            f"the {key} of tensor {tensor.name} is no number: {value!r}", where=str(folder), next_step=_MAKE_AGAIN
        ) from error


def _matrices(graph: onnx.GraphProto, tensors: Mapping[str, onnx.TensorProto]) -> list[_Matrix]:
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


def _quantized_matrix(node: onnx.NodeProto, tensors: Mapping[str, onnx.TensorProto]) -> _Matrix:
    import onnx

    values = {entry.name: onnx.helper.get_attribute_value(entry) for entry in node.attribute}
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
        size_bytes=sum(_stored_bytes(part) for part in parts),
        block_size=block_size,
        blocks_per_row=blocks_per_row,
        symmetric=not (len(node.input) > 3 and node.input[3]),
        accuracy_level=int(values.get("accuracy_level", 0)),
    )


def _plain_matrix(
    tensor: onnx.TensorProto, source: onnx.NodeProto | None, tensors: Mapping[str, onnx.TensorProto]
) -> _Matrix:
    weights = math.prod(tensor.dims)
    if source is None:
        return _Matrix(bits=_bits(tensor), weights=weights, size_bytes=_stored_bytes(tensor))
    import onnx

    values = {entry.name: onnx.helper.get_attribute_value(entry) for entry in source.attribute}
    parts = [tensors[name] for name in source.input if name in tensors]
    return _Matrix(
        bits=_bits(tensor),
        weights=weights,
        size_bytes=sum(_stored_bytes(part) for part in parts),
        block_size=int(values["block_size"]) if values.get("block_size") else None,
        symmetric=len(source.input) < 3,
    )


def _embedding_type(graph: onnx.GraphProto, tensors: Mapping[str, onnx.TensorProto]) -> str | None:
    for node in graph.node:
        if node.op_type in ("Gather", "GatherBlockQuantized") and node.input[1] == "input_ids":
            return _stored_type(node, 0, graph, tensors)
    return None


def _head_type(graph: onnx.GraphProto, tensors: Mapping[str, onnx.TensorProto]) -> str | None:
    """Back from the logits, through whatever scales, caps or casts them, to the first product with a stored matrix."""
    makers = {name: node for node in graph.node for name in node.output}
    node = makers.get("logits")
    while node is not None:
        if node.op_type in ("MatMul", "Gemm", "MatMulNBits"):
            return _stored_type(node, 1, graph, tensors)
        node = next((makers[name] for name in node.input if name in makers), None)
    return None


def _stored_type(
    node: onnx.NodeProto, position: int, graph: onnx.GraphProto, tensors: Mapping[str, onnx.TensorProto]
) -> str | None:
    """Type of the weights that a node reads: blocks of them are packed into bytes, whose type says nothing."""
    import onnx

    if node.op_type in ("MatMulNBits", "GatherBlockQuantized"):
        bits = next((onnx.helper.get_attribute_value(entry) for entry in node.attribute if entry.name == "bits"), 4)
        return f"int{bits}"
    name = node.input[position]
    unpacked = {one.output[0]: one.input[0] for one in graph.node if one.op_type == "DequantizeLinear"}
    tensor = tensors.get(unpacked.get(name, _origins(graph).get(name, name)))
    return None if tensor is None else _type_name(tensor.data_type)


def _weights_per_bits(matrices: Iterable[_Matrix]) -> dict[int, int]:
    counts: Counter[int] = Counter()
    for matrix in matrices:
        counts[matrix.bits] += matrix.weights
    return dict(sorted(counts.items()))


def _bytes_per_weight(matrices: Iterable[_Matrix]) -> float | None:
    pairs = [(matrix.size_bytes, matrix.weights) for matrix in matrices]
    weights = sum(count for _, count in pairs)
    return sum(size for size, _ in pairs) / weights if weights else None


def _weight_bytes(tensors: Iterable[onnx.TensorProto]) -> dict[str, int]:
    sizes: Counter[str] = Counter()
    for tensor in tensors:
        sizes[_type_name(tensor.data_type)] += _stored_bytes(tensor)
    return dict(sorted(sizes.items()))


def _has_shared_embeddings(graph: onnx.GraphProto, tensors: Mapping[str, onnx.TensorProto]) -> bool:
    """Whether a large tensor is read both by a lookup and by a matrix product, through reshapes if need be."""
    origin = _origins(graph)

    def reads(op_types: tuple[str, ...], position: int) -> set[str]:
        names = (node.input[position] for node in graph.node if node.op_type in op_types and len(node.input) > position)
        return {origin.get(name, name) for name in names} & tensors.keys()

    return bool(reads(("Gather", "GatherBlockQuantized"), 0) & reads(("MatMul", "Gemm", "MatMulNBits"), 1))


def _origins(graph: onnx.GraphProto) -> dict[str, str]:
    """What goes in, by what comes out, of the operators that only give a tensor another shape."""
    shapers = ("Reshape", "Transpose", "Identity")
    return {node.output[0]: node.input[0] for node in graph.node if node.op_type in shapers}


def _is_external(tensor: onnx.TensorProto) -> bool:
    import onnx

    return bool(tensor.data_location == onnx.TensorProto.EXTERNAL)


def _stored_bytes(tensor: onnx.TensorProto) -> int:
    return (math.prod(map(int, tensor.dims)) * _bits(tensor) + 7) // 8


def _bits(tensor: onnx.TensorProto) -> int:
    import onnx

    name = _type_name(tensor.data_type)
    if name in _BITS_OF_TYPE:
        return _BITS_OF_TYPE[name]
    itemsize: int = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    return 8 * itemsize


def _type_name(data_type: int) -> str:
    import onnx

    name = str(onnx.TensorProto.DataType.Name(data_type)).lower()
    return {"float": "float32", "double": "float64"}.get(name, name)


def _value_type(value: onnx.ValueInfoProto) -> str:
    return _type_name(value.type.tensor_type.elem_type)


def _token_ids(value: object) -> tuple[int, ...]:
    values = value if isinstance(value, list) else [value]
    return tuple(number for number in map(_whole, values) if number is not None)


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _distinct(values: Iterable[Item | None]) -> tuple[Item, ...]:
    return tuple(sorted({value for value in values if value is not None}))
