"""Whether two graphs compute the same, operator by operator, in both directions; their weights are compared elsewhere.

What quantisation adds is storage: packed matrices with scales and zero points, casts between floating-point types, one
matrix for embedding and output head. Everything else that one graph has and the other has not is a difference, however
small it would be on the tokens that anybody tries.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import zip_longest
from typing import Any

import numpy as np

from harness.artifact.onnx_file import Node, Tensor, attributes_of, stored_bytes, type_of
from harness.metrics.units import format_bytes
from harness.verify.rotary import ROTARY_TABLES
from harness.verify.stored_graph import LAYERS, StoredGraph, untyped

_NEUTRAL: dict[str, Any] = {"local_window_size": -1, "axis": 0, "gather_axis": 0, "alpha": 1.0, "beta": 1.0}
"""What an attribute says that is left out; 0 for those that do not stand here."""

_NO_WORD = (0, "", "NONE")

_OF_STORAGE = ("bits", "block_size", "K", "N", "accuracy_level", "quantize_axis")
"""Attributes that say how a matrix is stored."""

_TOLERANCE = 1e-3
"""Relative difference of two numbers that are one in half precision."""


def are_named_alike(one: StoredGraph, other: StoredGraph) -> bool:
    """Whether two graphs name the matrices of their layers alike, so that they can be compared part by part."""
    mine, theirs = ({part for part in graph.products if LAYERS in part} for graph in (one, other))
    return bool(mine) and mine == theirs


def operator_differences(ours: StoredGraph, theirs: StoredGraph) -> list[Iterator[str]]:
    """Sentences for the operators of one graph that the other does not have, or has otherwise; each kind by itself."""
    return [
        _kinds(ours, theirs),
        _additions(ours, theirs),
        _attributes(ours, theirs),
        _wiring(ours, theirs),
        _outputs(ours, theirs),
        _constants(ours, theirs),
    ]


def _kinds(ours: StoredGraph, theirs: StoredGraph) -> Iterator[str]:
    for part, node in theirs.operators.items():
        other = ours.operators.get(part)
        if other is None:
            yield f"{part} is missing"
        elif _kind(ours, other) != _kind(theirs, node):
            yield f"{part} is {_named(other)}, the source gives {_named(node)}"


def _additions(ours: StoredGraph, theirs: StoredGraph) -> Iterator[str]:
    own = {part: node for part, node in ours.operators.items() if part not in theirs.operators}
    if own:
        counts = Counter(_named(node) for node in own.values())
        kinds = ", ".join(kind if count == 1 else f"{count} {kind}" for kind, count in sorted(counts.items()))
        names = ", ".join(list(own)[:3]) + (", ..." if len(own) > 3 else "")
        yield f"{_counted(len(own), 'operator')} the source's graph does not have: {kinds} ({names})"
    for name in ours.functions:
        if name not in theirs.functions:
            yield f"{name} is an operator that the model defines itself"


def added_tensors(ours: StoredGraph, theirs: StoredGraph) -> Iterator[str]:
    """One sentence for the stored tensors that are neither the other graph's nor weights of a part that both have."""
    shared = [node for part, node in ours.operators.items() if part in theirs.operators]
    shapes = [node.input[1] for node in ours.nodes.values() if node.op_type == "Reshape" and len(node.input) > 1]
    read = [*shapes, *(name for node in shared for name in node.input)]
    explained = {ours.root(name) for name in read if name and ours.is_stored(name)} | theirs.tensors.keys()
    own = {name: (stored_bytes(one), _form(one)) for name, one in ours.tensors.items() if name not in explained}
    for name, node in ours.nodes.items():
        if node.op_type == "Constant" and name not in theirs.nodes and node.output[0] not in explained:
            own[name] = (ours.array(node.output[0]).nbytes, "a constant")
    if own:
        largest = sorted(own, key=lambda name: own[name], reverse=True)[:3]
        names = ", ".join(f"{name} ({own[name][1]}, {format_bytes(own[name][0])})" for name in largest)
        total = format_bytes(sum(size for size, _ in own.values()))
        yield f"{_counted(len(own), 'tensor')} the source's graph does not have, {total}: {names}"


def _counted(count: int, noun: str) -> str:
    return f"there is 1 {noun} that" if count == 1 else f"there are {count} {noun}s that"


def _form(tensor: Tensor) -> str:
    return f"{' x '.join(str(size) for size in tensor.dims) or 'one'} {type_of(tensor)}"


def _kind(graph: StoredGraph, node: Node) -> tuple[str, str]:
    """Domain and type; products, and lookups, are one kind each however their weights are stored."""
    if graph.is_product(node):
        return "", "a product"
    if graph.is_lookup(node):
        return "", "a lookup"
    return node.domain.replace("ai.onnx", ""), node.op_type


def _named(node: Node) -> str:
    return f"{node.domain}.{node.op_type}".lstrip(".").removeprefix("com.microsoft.")


def _attributes(ours: StoredGraph, theirs: StoredGraph) -> Iterator[str]:
    """Of the operators that both have: epsilons, numbers of heads, scales, windows, axes."""
    for part, node in ours.operators.items():
        other = theirs.operators.get(part)
        if other is None or _kind(ours, node) != _kind(theirs, other):
            continue
        mine, wanted = attributes_of(node), attributes_of(other)
        for key in sorted((mine.keys() | wanted.keys()) - {*_OF_STORAGE}):
            default = _NEUTRAL.get(key, 0)
            here, there = mine.get(key, default), wanted.get(key, default)
            if not _are_alike(here, there):
                yield f"{part} has {key} {_text(here)}, the source gives {_text(there)}"


def _are_alike(one: Any, other: Any) -> bool:
    """Whether two attributes or constants are the same but for half precision."""
    if isinstance(one, str) or isinstance(other, str):
        mine, theirs = ("" if word in _NO_WORD else word for word in (one, other))
        return bool(mine == theirs)
    here, there = np.asarray(one), np.asarray(other)
    return here.shape == there.shape and bool(np.allclose(here, there, rtol=_TOLERANCE, atol=0))


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    array = np.asarray(value)
    return f"{array.item():g}" if array.size == 1 and array.dtype.kind == "f" else str(value)[:60]


def _wiring(ours: StoredGraph, theirs: StoredGraph) -> Iterator[str]:
    """The inputs of each operator: a graph without a bias, or with another layer's cache, still runs."""
    for part, node in theirs.operators.items():
        other = ours.operators.get(part)
        if other is None:
            continue
        mine, wanted = ours.reads(other), theirs.reads(node)
        if mine != wanted:
            here, there = next(pair for pair in zip_longest(mine, wanted) if pair[0] != pair[1])
            yield f"{part} reads {here or 'nothing'}, the source gives {there or 'nothing'}"


def _outputs(ours: StoredGraph, theirs: StoredGraph) -> Iterator[str]:
    """What each output is taken from; outputs that the other graph does not have cost little and change nothing."""
    for name in theirs.outputs:
        here, there = (graph.origin(name) if name in graph.outputs else "nothing" for graph in (ours, theirs))
        if here != there:
            yield f"the output {name} comes from {here}, the source gives {there}"


def _constants(ours: StoredGraph, theirs: StoredGraph) -> Iterator[str]:
    """Constants that both have by one name; stored tensors are compared with the weights."""
    for name, node in ours.nodes.items():
        other = theirs.nodes.get(name)
        if node.op_type != "Constant" or other is None or other.op_type != "Constant":
            continue
        if untyped(node.output[0]).startswith(ROTARY_TABLES):
            continue
        here, there = ours.array(node.output[0]), theirs.array(other.output[0])
        if not _are_alike(here, there):
            yield f"{name} has value {_text(here)}, the source gives {_text(there)}"
