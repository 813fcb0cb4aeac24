"""Whether a graph has its fp32 reference export's weights and operators, compared tensor by tensor.

Divergence cannot tell a lost bias from what int4 costs; names can. Every graph of ModelBuilder names its parts alike,
however the weights are stored, so a variant is compared with the same model converted without quantisation: its stored
values up to rounding, and its operators one by one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.artifact.artifact import Artifact
from harness.artifact.onnx_file import Node, attributes_of, type_of
from harness.verify.compare_graphs import added_tensors, are_named_alike, operator_differences
from harness.verify.compare_settings import setting_differences
from harness.verify.packed import Array, PackedMatrix, in_blocks, packed_matrix
from harness.verify.rotary import ROTARY_TABLES, rotary_tables, table_difference
from harness.verify.stored_graph import StoredGraph

_MOST_STEPS = 0.75
"""Most root mean square error of a block, in steps of its scale. Rounding costs 0.29 as a rule and 0.48 at most
(measured with every algorithm, those that clip too), a zero point that is off by one 1.04."""

_MOST_STEPS_OF_ONE = 3.0
"""Most that a single weight is off, in steps. Seen were 1.0 of algorithms that clip and 1.4 of those that search a
scale; the second highest of four bits is worth 4."""

_SHRINKAGE = 0.03
"""Most relative difference in length between all weights and the source's: rounding errors cancel out."""

_FLOAT_TOLERANCE = {"float16": 2e-3, "bfloat16": 1.6e-2, "float32": 1e-5}
_PIECE = 1 << 22
"""Weights that are unpacked at a time, to bound memory."""

_SMALLEST = 1e-6
"""Half precision flushes smaller numbers to 0."""


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
    artifact: Artifact, reference_export: Artifact, *, is_transformed: bool = False, is_bound: bool = True
) -> WeightComparison:
    """Compare an artifact with its fp32 reference export: settings, and every layer that both graphs name.

    Where weights were rescaled or
    trained on (`is_transformed`), they are not compared; where even settings are the user's (not `is_bound`), only
    the rotary tables are.

    Raises:
        ArtifactError: a graph, its data or its settings cannot be read.
    """
    ours, theirs = (StoredGraph.read(one.path / one.facts.model_file) for one in (artifact, reference_export))
    named_alike = are_named_alike(ours, theirs)
    kinds: list[Iterator[str]] = []
    if is_bound:
        kinds.append(setting_differences(artifact.path, reference_export.path))
    if is_bound and named_alike and not is_transformed:
        kinds += _of_graphs(ours, theirs, artifact.facts.context_length or 0)
    tables = (rotary_tables(one.path, one.facts.model_file) for one in (artifact, reference_export))
    return WeightComparison(
        rotary_difference=table_difference(*tables),
        is_named_alike=named_alike,
        differences=tuple(sentence for kind in kinds for sentence in _first(kind)),
    )


def _of_graphs(ours: StoredGraph, theirs: StoredGraph, context_length: int) -> list[Iterator[str]]:
    return [
        *operator_differences(ours, theirs),
        added_tensors(ours, theirs),
        _matrices(ours, theirs),
        _others(ours, theirs, context_length),
    ]


def _first(sentences: Iterator[str], count: int = 2) -> list[str]:
    found = list(sentences)
    return [*found[:count], f"{len(found) - count} more of these"] if len(found) > count else found


def _matrices(ours: StoredGraph, theirs: StoredGraph) -> Iterator[str]:
    for part, node in {**ours.products, **ours.lookups}.items():
        other = theirs.products.get(part) or theirs.lookups.get(part)
        problem = _matrix_problem(ours, node, theirs, other) if other is not None else None
        if problem:
            yield f"the weights of {part} are not the source's: {problem}"


def _matrix_problem(ours: StoredGraph, node: Node, theirs: StoredGraph, other: Node) -> str | None:
    """Of the same part in both graphs."""
    is_lookup = ours.is_lookup(node)
    source = theirs.array(other.input[0 if is_lookup else 1])
    if node.op_type in ("Gather", "MatMul"):
        stored = node.input[0 if is_lookup else 1]
        return _float_problem(ours.array(stored), source, type_of(ours.tensors[ours.root(stored)]))
    source = np.asarray(source, dtype=np.float32)
    if is_lookup:
        return _rounding_problem(_packed_embedding(ours, node, *source.shape), source)
    if node.op_type != "MatMulNBits" or any(node.input[4:5]):
        return "they are stored in another order (g_idx) or form, which cannot be compared"
    return _rounding_problem(_packed_product(ours, node), source.T)


def _rounding_problem(weights: PackedMatrix, source: Array) -> str | None:
    rows, blocks, block_size = weights.shape
    width = source.shape[1]
    if source.shape[0] != rows or not 0 <= blocks * block_size - width < block_size:
        return f"they are {rows} x {blocks * block_size}, the source's {source.shape[0]} x {width}"
    worst, worst_of_one, product, length = 0.0, 0.0, 0.0, 0.0
    count = max(1, _PIECE // width)
    for piece in (slice(start, start + count) for start in range(0, rows, count)):
        found, unit = weights.values(piece)
        wanted = in_blocks(source[piece], blocks, block_size)
        error = found - wanted
        error.reshape(len(error), -1)[:, width:] = 0  # padding of the last block
        steps = error / unit if (unit > 0).all() else np.divide(error, unit, out=_beyond(error), where=unit > 0)
        worst = float(np.maximum(worst, np.einsum("rbs,rbs->rb", steps, steps).max()))  # NaN stays NaN
        worst_of_one = max(worst_of_one, float(steps.max()), -float(steps.min()))
        product += float(np.vdot(found, wanted))
        length += float(np.vdot(wanted, wanted))
    off = math.sqrt(worst / block_size)
    if not off <= _MOST_STEPS:
        return f"a block is off by {off:.2g} steps of quantisation, where rounding costs {_MOST_STEPS} at most"
    if worst_of_one > _MOST_STEPS_OF_ONE:  # NaN has been told
        off, most = worst_of_one, _MOST_STEPS_OF_ONE
        return f"a weight is off by {off:.2g} steps of quantisation, where rounding costs {most:g} at most"
    share = product / length if length else 1.0  # a matrix of zeros has no length to keep
    return None if abs(share - 1) <= _SHRINKAGE else f"{share:.3f} times as large"


def _beyond(error: Array) -> Array:
    """The error in steps where the scale is 0: 0 without an error, else infinite."""
    return np.where(error == 0, 0, np.inf).astype(np.float32)


def _packed_product(graph: StoredGraph, node: Node) -> PackedMatrix:
    numbers = attributes_of(node)
    return packed_matrix(graph.arrays(node.input[1:4]), numbers, int(numbers["N"]), int(numbers["K"]))


def _packed_embedding(graph: StoredGraph, node: Node, rows: int, width: int) -> PackedMatrix:
    return packed_matrix(graph.arrays([node.input[0], *node.input[2:4]]), attributes_of(node), rows, width)


def _others(ours: StoredGraph, theirs: StoredGraph, context_length: int) -> Iterator[str]:
    """Norms, biases and whatever else both graphs store by one name."""
    matrices = {theirs.root(node.input[1]) for node in theirs.products.values()}
    tables = {theirs.root(node.input[0]) for node in theirs.lookups.values()}
    for name in theirs.tensors:
        if name in matrices | tables:
            continue
        if name not in ours.tensors:
            yield f"{name} is missing"
        elif name.startswith(ROTARY_TABLES):
            rows = int(ours.tensors[name].dims[0])
            if rows < context_length:
                yield f"{name} ends after {rows} positions, the context has {context_length}"
        else:
            problem = _float_problem(ours.array(name), theirs.array(name), type_of(ours.tensors[name]))
            if problem:
                yield f"{name} is not the source's: {problem}"


def _float_problem(found: npt.NDArray[Any], wanted: npt.NDArray[Any], kind: str) -> str | None:
    """Of values that are stored one by one: numbers may be rounded to their type, whole numbers and words are equal."""
    if found.shape != wanted.shape:
        return f"{kind} {list(found.shape)}, the source's are {list(wanted.shape)}"
    off, first = 0, ""
    for piece in _pieces(found.shape):
        mine, theirs = np.atleast_1d(found)[piece], np.atleast_1d(wanted)[piece]
        if _is_rounded(mine, theirs):  # as a rule; what follows takes ten times as long
            continue
        is_far = _is_far(mine, theirs, kind)
        if is_far.any() and not off:
            at = np.argwhere(is_far)[0]
            place = [int(at[0]) + piece.start, *map(int, at[1:])][: max(found.ndim, 1)]
            first = f"{mine[tuple(at)]:.4g} for {theirs[tuple(at)]:.4g} at {place}"
        off += int(is_far.sum())
    return f"{off} of {found.size} values, {first}" if off else None


def _is_far(mine: npt.NDArray[Any], theirs: npt.NDArray[Any], kind: str) -> npt.NDArray[np.bool_]:
    if kind not in _FLOAT_TOLERANCE:
        return np.asarray(mine != theirs)
    mine, theirs = np.asarray(mine, dtype=np.float32), np.asarray(theirs, dtype=np.float32)
    return np.asarray(~(np.abs(mine - theirs) <= _FLOAT_TOLERANCE[kind] * np.abs(theirs) + _SMALLEST))  # true for NaN


def _pieces(shape: tuple[int, ...]) -> Iterator[slice]:
    """Slices of the first axis that hold few values each."""
    rows = shape[0] if shape else 1
    count = max(1, _PIECE // max(1, math.prod(shape[1:])))
    return (slice(start, start + count) for start in range(0, rows, count))


def _is_rounded(found: npt.NDArray[Any], wanted: npt.NDArray[Any]) -> bool:
    """Whether `found` is `wanted`, cast to its type without overflow."""
    with np.errstate(over="ignore"):
        is_same = np.array_equal(found, wanted.astype(found.dtype))
        return bool(is_same and (found.dtype.kind not in "fV" or np.isfinite(found).all()))
