"""Whether a graph has its fp32 reference export's weights and operators, compared tensor by tensor.

Divergence cannot tell a lost bias from what int4 costs; names can. Every graph of ModelBuilder names its parts alike,
however the weights are stored, so a variant is compared with the same model converted without quantisation: its stored
values up to rounding, and the attributes and inputs of its operators.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.artifact.artifact import Artifact
from harness.artifact.onnx_file import numbers_of, read_graph, read_tensor, type_of
from harness.verify.compare_settings import setting_differences, tokenizer_differences
from harness.verify.packed import Array, PackedMatrix, in_blocks, packed_matrix
from harness.verify.rotary import rotary_tables, table_difference

_MOST_STEPS = 0.75
"""Root mean square error of a block in steps of its own scale: measured of rounding are 0.29 as a rule and 0.48 at most
(with every algorithm, those that clip too), of a zero point that is off by one 1.04."""

_SHRINKAGE = 0.03
"""How far the weights may be longer or shorter than the source's as a whole: rounding does not know up from down."""

_FLOAT_TOLERANCE = {"float16": 2e-3, "bfloat16": 1.6e-2, "float32": 1e-5}
_PIECE = 1 << 22
"""Weights that are unpacked in one go, so that little memory is taken."""

_SMALLEST = 1e-6
"""Half precision flushes what is smaller."""

_PRODUCTS = ("MatMul", "Gemm", "MatMulNBits")
_LOOKUPS = ("Gather", "GatherBlockQuantized")
_LAYERS = "/layers."
_ROTARY = ("cos_cache", "sin_cache")
_DEFAULT_ATTRIBUTES: dict[str, float] = {"local_window_size": -1, "softcap": 0, "rotary_interleaved": 0}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Graph:
    """A graph whose tensors are read one by one."""

    folder: Path
    nodes: Mapping[str, Any]
    """By name."""

    tensors: Mapping[str, Any]

    def array(self, name: str) -> npt.NDArray[Any]:
        """A stored tensor."""
        return read_tensor(self.folder, self.tensors[name])

    def arrays(self, names: Sequence[str]) -> list[npt.NDArray[Any]]:
        """The stored tensors of an operator's inputs; an input that is left out has no name."""
        return [self.array(name) for name in names if name]

    @property
    def products(self) -> dict[str, Any]:
        """Products with a stored matrix, by the layer that they are: `/model/layers.0/mlp/down_proj`."""
        return {
            _part(node): node
            for node in self.nodes.values()
            if node.op_type in _PRODUCTS and len(node.input) > 1 and node.input[1] in self.tensors
        }

    @property
    def lookups(self) -> dict[str, Any]:
        """Stored embeddings, in the same way: `/model/embed_tokens`."""
        return {
            _part(node): node
            for node in self.nodes.values()
            if node.op_type in _LOOKUPS and node.input and node.input[0] in self.tensors
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightComparison:
    """How an artifact's graph and settings compare with those of its fp32 reference export."""

    rotary_difference: float | None
    """Largest difference of their rotary tables; None where there are none to compare."""

    is_named_alike: bool
    """Whether both graphs name their layers alike, so that their weights can be compared."""

    differences: tuple[str, ...]
    """A sentence for each difference beyond rounding and packing; a few of each kind."""


def compare_with_reference_export(
    artifact: Artifact, reference_export: Artifact, source: Path, *, is_transformed: bool = False, is_bound: bool = True
) -> WeightComparison:
    """Compare an artifact with its fp32 reference export: settings, tokenizer, and every layer that both graphs name.

    A tokenizer may be as it is in the `source`'s folder, or as transformers writes it. Where weights were rescaled or
    trained on (`is_transformed`), they are not compared; where even settings are the user's (not `is_bound`), only
    the rotary tables are.

    Raises:
        ArtifactError: a graph, its data or its settings cannot be read.
    """
    ours, theirs = _open(artifact), _open(reference_export)
    named_alike = _are_named_alike(ours, theirs)
    kinds: list[Iterator[str]] = []
    if is_bound:
        kinds += [
            setting_differences(artifact.path, reference_export.path),
            tokenizer_differences(artifact.path, (source, reference_export.path)),
        ]
    if is_bound and named_alike and not is_transformed:
        kinds += _of_graphs(ours, theirs, artifact.facts.context_length or 0)
    tables = (rotary_tables(one.path, one.facts.model_file) for one in (artifact, reference_export))
    return WeightComparison(
        rotary_difference=table_difference(*tables),
        is_named_alike=named_alike,
        differences=tuple(sentence for kind in kinds for sentence in _first(kind)),
    )


def _are_named_alike(one: _Graph, other: _Graph) -> bool:
    mine, theirs = ({layer for layer in graph.products if _LAYERS in layer} for graph in (one, other))
    return bool(mine) and mine == theirs


def _of_graphs(ours: _Graph, theirs: _Graph, context_length: int) -> list[Iterator[str]]:
    return [
        _attributes(ours, theirs),
        _wiring(ours, theirs),
        _matrices(ours, theirs),
        _others(ours, theirs, context_length),
    ]


def _first(sentences: Iterator[str], count: int = 2) -> list[str]:
    found = list(sentences)
    return [*found[:count], f"{len(found) - count} more of these"] if len(found) > count else found


def _open(artifact: Artifact) -> _Graph:
    graph = read_graph(artifact.path / artifact.facts.model_file)
    return _Graph(
        folder=artifact.path,
        nodes={_untyped(node.name): node for node in graph.node},
        tensors={tensor.name: tensor for tensor in graph.initializer},
    )


def _untyped(name: str) -> str:
    """A constant's name tells its type, which may be another one."""
    return re.sub(r"(/constants|_nodes)/(FLOAT16|BFLOAT16|FLOAT)/", r"\1/", name)


def _attributes(ours: _Graph, theirs: _Graph) -> Iterator[str]:
    """Of the operators that both have: epsilons, numbers of heads, scales, windows."""
    for name, node in ours.nodes.items():
        other = theirs.nodes.get(name)
        if other is None or other.op_type != node.op_type or node.op_type in ("Cast", *_PRODUCTS):
            continue
        mine, wanted = numbers_of(node), numbers_of(other)
        for key in sorted(mine.keys() | wanted.keys()):
            default = _DEFAULT_ATTRIBUTES.get(key)
            here, there = mine.get(key, default), wanted.get(key, default)
            if here is not None and there is not None and not np.isclose(here, there, rtol=1e-3, atol=0):
                yield f"{name} has {key} {here:g}, the source gives {there:g}"


def _wiring(ours: _Graph, theirs: _Graph) -> Iterator[str]:
    """The inputs of each operator of a layer: a graph without a bias, or with another layer's cache, still runs."""
    mine, wanted = _reads(ours), _reads(theirs)
    for name, sources in wanted.items():
        if name not in mine:
            yield f"{name} is missing"
        elif mine[name] != sources:
            here, there = next(pair for pair in zip_longest(mine[name], sources) if pair[0] != pair[1])
            yield f"{name} reads {here or 'nothing'}, the source gives {there or 'nothing'}"


def _reads(graph: _Graph) -> dict[str, list[str]]:
    """Where the inputs of each operator in the layers come from; of a product only what is multiplied."""
    makers = {name: node for node in graph.nodes.values() for name in node.output if node.op_type != "Constant"}

    def origin(name: str) -> str:
        node = makers.get(name)
        while node is not None and node.op_type == "Cast":
            name = node.input[0]
            node = makers.get(name)
        if node is None:
            return _untyped(name)
        return f"{_part(node)}:{list(node.output).index(name)}"

    return {
        _part(node): [origin(name) for name in (node.input[:1] if node.op_type in _PRODUCTS else _trimmed(node))]
        for node in graph.nodes.values()
        if _LAYERS in node.name and node.op_type not in ("Cast", "Constant")
    }


def _part(node: Any) -> str:
    """The name of an operator, whatever its weights are stored in."""
    return node.name.rpartition("/")[0] if node.op_type in (*_PRODUCTS, *_LOOKUPS) else str(node.name)


def _trimmed(node: Any) -> list[str]:
    names = list(node.input)
    while names and not names[-1]:
        names.pop()
    return names


def _matrices(ours: _Graph, theirs: _Graph) -> Iterator[str]:
    for layer, node in {**ours.products, **ours.lookups}.items():
        other = theirs.products.get(layer) or theirs.lookups.get(layer)
        problem = _matrix_problem(ours, node, theirs, other) if other is not None else None
        if problem:
            yield f"the weights of {layer} are not the source's: {problem}"


def _matrix_problem(ours: _Graph, node: Any, theirs: _Graph, other: Any) -> str | None:
    """Of the same layer in both graphs; an unquantised embedding is compared by its name instead."""
    if node.op_type in _LOOKUPS:
        is_head_too = any(node.input[0] == one.input[1] for one in ours.products.values())
        if node.op_type == "Gather" or is_head_too:
            return None
        source = np.asarray(theirs.array(other.input[0]), dtype=np.float32)
        return _rounding_problem(_packed_embedding(ours, node, *source.shape), source)
    source = np.asarray(theirs.array(other.input[1]), dtype=np.float32)
    if node.op_type == "MatMul":
        return _float_problem(ours.array(node.input[1]), source, type_of(ours.tensors[node.input[1]]))
    if node.op_type != "MatMulNBits" or any(node.input[4:5]):
        return "they are stored in another order (g_idx) or form, in which they cannot be compared"
    return _rounding_problem(_packed_product(ours, node), source.T)


def _rounding_problem(weights: PackedMatrix, source: Array) -> str | None:
    rows, blocks, block_size = weights.shape
    width = source.shape[1]
    if source.shape[0] != rows or not 0 <= blocks * block_size - width < block_size:
        return f"they are {rows} x {blocks * block_size}, the source's {source.shape[0]} x {width}"
    worst, product, length = 0.0, 0.0, 0.0
    count = max(1, _PIECE // width)
    for piece in (slice(start, start + count) for start in range(0, rows, count)):
        found, unit = weights.values(piece)
        wanted = in_blocks(source[piece], blocks, block_size)
        error = found - wanted
        error.reshape(len(error), -1)[:, width:] = 0  # what fills up the last block
        steps = error / unit if (unit > 0).all() else np.divide(error, unit, out=_beyond(error), where=unit > 0)
        worst = float(np.maximum(worst, np.einsum("rbs,rbs->rb", steps, steps).max()))  # NaN stays NaN
        product += float(np.vdot(found, wanted))
        length += float(np.vdot(wanted, wanted))
    off = math.sqrt(worst / block_size)
    if not off <= _MOST_STEPS:
        return f"a block is off by {off:.2g} steps of quantisation, where rounding costs {_MOST_STEPS} at most"
    share = product / max(length, 1e-30)
    return None if abs(share - 1) <= _SHRINKAGE else f"{share:.3f} times as large"


def _beyond(error: Array) -> Array:
    """What an error counts where the scale is 0: nothing where there is none."""
    return np.where(error == 0, 0, np.inf).astype(np.float32)


def _packed_product(graph: _Graph, node: Any) -> PackedMatrix:
    numbers = numbers_of(node)
    return packed_matrix(graph.arrays(node.input[1:4]), numbers, int(numbers["N"]), int(numbers["K"]))


def _packed_embedding(graph: _Graph, node: Any, rows: int, width: int) -> PackedMatrix:
    return packed_matrix(graph.arrays([node.input[0], *node.input[2:4]]), numbers_of(node), rows, width)


def _others(ours: _Graph, theirs: _Graph, context_length: int) -> Iterator[str]:
    """Norms, biases and embeddings, which are stored unquantised if both graphs have them by one name."""
    matrices = {node.input[1] for node in theirs.products.values()}
    for name, tensor in theirs.tensors.items():
        if name in matrices or type_of(tensor) not in _FLOAT_TOLERANCE:
            continue
        if name not in ours.tensors:
            if not name.endswith("embed_tokens.weight") and name.startswith("model."):
                yield f"{name} is missing"
        elif name.startswith(_ROTARY):
            rows = int(ours.tensors[name].dims[0])
            if rows < context_length:
                yield f"{name} ends after {rows} positions, the context has {context_length}"
        else:
            problem = _float_problem(ours.array(name), theirs.array(name), type_of(ours.tensors[name]))
            if problem:
                yield f"{name} is not the source's: {problem}"


def _float_problem(found: npt.NDArray[Any], wanted: npt.NDArray[Any], kind: str) -> str | None:
    if found.shape != wanted.shape or kind not in _FLOAT_TOLERANCE:
        return f"{kind} {list(found.shape)}, the source's are {list(wanted.shape)}"
    if _is_rounded(found, wanted):  # as a rule; what follows takes ten times as long
        return None
    mine, theirs = np.asarray(found, dtype=np.float32), np.asarray(wanted, dtype=np.float32)
    is_far = ~(np.abs(mine - theirs) <= _FLOAT_TOLERANCE[kind] * np.abs(theirs) + _SMALLEST)
    if not is_far.any():
        return None
    at = tuple(int(place) for place in np.argwhere(is_far)[0])
    return f"{int(is_far.sum())} of {is_far.size} values, {mine[at]:.4g} for {theirs[at]:.4g} at {list(at)}"


def _is_rounded(found: npt.NDArray[Any], wanted: npt.NDArray[Any]) -> bool:
    """Whether one is the other in its own type, and no number became infinite on the way."""
    with np.errstate(over="ignore"):
        return bool(np.array_equal(found, wanted.astype(found.dtype)) and np.isfinite(found).all())
