"""Reads and writes ONNX files; weights are read one by one, when they are needed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from harness.errors import ArtifactError

if TYPE_CHECKING:
    import onnx

Model: TypeAlias = "onnx.ModelProto"
Graph: TypeAlias = "onnx.GraphProto"
Node: TypeAlias = "onnx.NodeProto"
Tensor: TypeAlias = "onnx.TensorProto"

MAKE_AGAIN = "convert the model again, or copy the folder again"
_BITS_OF_TYPE = {
    "float32": 32, "float16": 16, "bfloat16": 16, "int8": 8, "uint8": 8, "int4": 4, "uint4": 4, "float64": 64,
}  # fmt: skip


def read_model(file: Path) -> Model:
    """A model without its external data.

    Raises:
        ArtifactError: it cannot be read, or its graph is empty.
    """
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # ships no types

    try:
        model = onnx.load(str(file), load_external_data=False)
    except (DecodeError, OSError, ValueError) as error:
        raise ArtifactError(
            f"{file.name} is not a readable ONNX graph: {error}", where=str(file), next_step=MAKE_AGAIN
        ) from error
    if not model.graph.node or not model.graph.output:
        raise ArtifactError(f"{file.name} holds an empty graph", where=str(file), next_step=MAKE_AGAIN)
    return model


def write_model(model: Model, file: Path) -> None:
    """Write a model whose external data stays in the files that it names."""
    import onnx

    onnx.save(model, str(file))


def set_integer(model: Model, op_type: str, attribute: str, value: int) -> None:
    """Set an attribute of every operator of a type, in branches too."""
    for node in _nodes(model.graph):
        if node.op_type == op_type:
            entry = next((one for one in node.attribute if one.name == attribute), None) or node.attribute.add()
            entry.name, entry.type, entry.i = attribute, entry.INT, value


def _nodes(graph: Graph) -> Iterator[Node]:
    for node in graph.node:
        yield node
        for _, branch in branches_of(node):
            yield from _nodes(branch)


def read_graph(file: Path) -> Graph:
    """The graph of a model, without its external data.

    Raises:
        ArtifactError: it cannot be read, or is empty.
    """
    return read_model(file).graph


def read_tensor(folder: Path, tensor: Tensor) -> npt.NDArray[Any]:
    """The values of a stored tensor, memory-mapped if possible; the graph is not changed.

    onnx's own loader refuses files with several links, which every artifact has while Foundry Local serves it.
    """
    import onnx

    if not _is_external(tensor):
        return np.asarray(onnx.numpy_helper.to_array(tensor))
    check_external_data(folder, [tensor])
    entries = {entry.key: entry.value for entry in tensor.external_data}
    file, start, length = folder / entries["location"], int(entries.get("offset", 0)), stored_bytes(tensor)
    kind = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    if 8 * kind.itemsize == bits_of(tensor) and length and tensor.dims:
        return np.memmap(file, kind, "r", offset=start, shape=tuple(tensor.dims))
    inner = onnx.TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
    with file.open("rb") as stream:
        stream.seek(start)
        inner.raw_data = stream.read(length)
    return np.asarray(onnx.numpy_helper.to_array(inner))


def stored_tensors(folder: Path, model_file: str, prefixes: tuple[str, ...]) -> dict[str, npt.NDArray[np.float32]]:
    """The graph's stored tensors whose names begin with one of `prefixes`, as float32, by name.

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


def _branch_constants(graph: Graph) -> Iterator[Tensor]:
    """Constants inside the branches of If operators, named after their outputs."""
    branches = (branch for node in graph.node for _, branch in branches_of(node))
    for node in (node for branch in branches for node in branch.node if node.op_type == "Constant"):
        for entry in node.attribute:
            entry.t.name = node.output[0]
            yield entry.t


def branches_of(node: Node) -> Iterator[tuple[str, Graph]]:
    """The graphs between which an operator chooses, or which it repeats, by the names of their attributes."""
    for entry in sorted(node.attribute, key=lambda entry: entry.name):  # builders write them in any order
        if entry.HasField("g"):
            yield entry.name, entry.g
        for graph in entry.graphs:
            yield entry.name, graph


def attributes_of(node: Node) -> dict[str, Any]:
    """The attributes of an operator as Python and numpy values, without its branches."""
    import onnx

    found: dict[str, Any] = {}
    for entry in node.attribute:
        if entry.HasField("g") or entry.graphs:
            continue
        value = onnx.helper.get_attribute_value(entry)
        if isinstance(value, onnx.TensorProto):
            value = onnx.numpy_helper.to_array(value)
        found[entry.name] = value.decode(errors="replace") if isinstance(value, bytes) else value
    return found


def type_of(tensor: Tensor) -> str:
    """What a tensor stores: `float32`, `float16`, `uint8`."""
    return type_name(tensor.data_type)


def value_type(value: onnx.ValueInfoProto) -> str:
    """Element type of a graph's input or output."""
    return type_name(value.type.tensor_type.elem_type)


def type_name(data_type: int) -> str:
    """ONNX's number of an element type as a word: `float32`, `uint8`."""
    import onnx

    name = str(onnx.TensorProto.DataType.Name(data_type)).lower()
    return {"float": "float32", "double": "float64"}.get(name, name)


def bits_of(tensor: Tensor) -> int:
    """Bits of one element."""
    import onnx

    name = type_of(tensor)
    if name in _BITS_OF_TYPE:
        return _BITS_OF_TYPE[name]
    itemsize: int = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    return 8 * itemsize


def stored_bytes(tensor: Tensor) -> int:
    """What a tensor's elements take."""
    return (math.prod(map(int, tensor.dims)) * bits_of(tensor) + 7) // 8


def check_external_data(folder: Path, tensors: Iterable[Tensor]) -> None:
    """Raise if a tensor's data does not lie whole in a file of the folder.

    Raises:
        ArtifactError: it is missing, cut short, or elsewhere.
    """
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
                    f"{name}, which holds tensor {tensor.name}, is missing", where=str(folder), next_step=MAKE_AGAIN
                )
            sizes[name] = file.stat().st_size
        start, length = _external_number(folder, tensor, entries, "offset") or 0, stored_bytes(tensor)
        stated = _external_number(folder, tensor, entries, "length")
        if (length if stated is None else stated) < length or start < 0 or start + length > sizes[name]:
            raise ArtifactError(
                f"{name} is cut short: tensor {tensor.name} needs bytes {start} to {start + length}, "
                f"the file has {sizes[name]}",
                where=str(folder / name),
                next_step=MAKE_AGAIN,
            )


def _external_number(folder: Path, tensor: Tensor, entries: Mapping[str, str], key: str) -> int | None:
    value = entries.get(key)
    try:
        return None if value is None else int(value)
    except ValueError as error:
        raise ArtifactError(
            f"the {key} of tensor {tensor.name} is no number: {value!r}", where=str(folder), next_step=MAKE_AGAIN
        ) from error


def _is_external(tensor: Tensor) -> bool:
    import onnx

    return bool(tensor.data_location == onnx.TensorProto.EXTERNAL)
