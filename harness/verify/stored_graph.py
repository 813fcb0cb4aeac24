"""A graph as comparisons see it: operators by name, where each of their inputs comes from, tensors read one by one.

Storage is not part of it: casts between floating-point types, and what gives a stored tensor another shape, are looked
through.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.artifact.onnx_file import (
    Graph,
    Node,
    Tensor,
    attributes_of,
    branches_of,
    read_model,
    read_tensor,
    type_name,
)

PRODUCTS = ("MatMul", "Gemm", "MatMulNBits")
LOOKUPS = ("Gather", "GatherBlockQuantized")
LAYERS = "/layers."
_FLOATS = ("float16", "bfloat16", "float32", "float64")
_SHAPERS = ("Reshape", "Transpose", "Identity", "Cast")
_BIAS = 5
"""Where MatMulNBits takes a bias."""


@dataclass(frozen=True, kw_only=True)
class StoredGraph:
    """A model file without its weights, which stay on the disk."""

    folder: Path

    nodes: Mapping[str, Node]
    """By name, those of branches too; a name tells no element type, and a second one of a name has `#2` behind it."""

    tensors: Mapping[str, Tensor]
    """Stored tensors by name."""

    outputs: Sequence[str]

    functions: Sequence[str]
    """Operators that the model itself defines; they come before the runtime's own of the same name."""

    @classmethod
    def read(cls, file: Path) -> StoredGraph:
        """The graph in a file.

        Raises:
            ArtifactError: it cannot be read.
        """
        model = read_model(file)
        return cls(
            folder=file.parent,
            nodes=dict(_numbered(_all_nodes(model.graph))),
            tensors={tensor.name: tensor for tensor in _all_tensors(model.graph)},
            outputs=[value.name for value in model.graph.output],
            functions=[f"{one.domain}.{one.name}".lstrip(".") for one in model.functions],
        )

    @cached_property
    def operators(self) -> Mapping[str, Node]:
        """What computes something, by the part of the model that it is, however its weights are stored."""
        parts = ((name, node) for name, node in self.nodes.items() if not self._is_storage(node))
        return dict(_numbered((self.part(name, node), node) for name, node in parts))

    @cached_property
    def products(self) -> Mapping[str, Node]:
        """Products with a stored matrix: `/model/layers.0/mlp/down_proj`."""
        return {part: node for part, node in self.operators.items() if self.is_product(node)}

    @cached_property
    def lookups(self) -> Mapping[str, Node]:
        """Lookups in a stored table: `/model/embed_tokens`."""
        return {part: node for part, node in self.operators.items() if self.is_lookup(node)}

    def is_product(self, node: Node) -> bool:
        """Whether it multiplies by a stored matrix."""
        return node.op_type in PRODUCTS and len(node.input) > 1 and self.is_stored(node.input[1])

    def is_lookup(self, node: Node) -> bool:
        """Whether it looks rows of a stored table up."""
        return node.op_type in LOOKUPS and bool(node.input) and self.is_stored(node.input[0])

    def part(self, name: str, node: Node) -> str:
        """The part of the model that an operator is: its name, for matrices and tables without how they are stored."""
        has_weights = self.is_product(node) or self.is_lookup(node)
        return name.rpartition("/")[0] if has_weights and "/" in name else name

    def root(self, name: str) -> str:
        """The stored tensor, or the constant's output, of which a stored tensor is another shape or type."""
        node = self._maker(name)
        return name if node is None or node.op_type == "Constant" else self.root(node.input[0])

    def is_stored(self, name: str) -> bool:
        """Whether something is known before the graph runs: a tensor, a constant, or another shape or type of one."""
        node = self._maker(name)
        if node is None:
            return name in self.tensors
        if node.op_type == "Constant":
            return True
        return node.op_type in _SHAPERS and all(self.is_stored(one) for one in node.input if one)

    def array(self, name: str) -> npt.NDArray[Any]:
        """A stored tensor as the operator that reads it gets it, but for its floating-point type."""
        node = self._maker(name)
        if node is None:
            return read_tensor(self.folder, self.tensors[name])
        told = attributes_of(node)
        if node.op_type == "Constant":
            return np.asarray(next(iter(told.values())))
        values = self.array(node.input[0])
        if node.op_type == "Transpose":
            return np.asarray(values.transpose(told.get("perm")))
        if node.op_type == "Reshape":
            return np.asarray(values.reshape([int(size) for size in self.array(node.input[1])]))
        return values

    def arrays(self, names: Sequence[str]) -> list[npt.NDArray[Any]]:
        """The stored tensors of an operator's inputs; an input that is left out has no name."""
        return [self.array(name) for name in names if name]

    def reads(self, node: Node) -> list[str]:
        """Where the inputs of an operator come from, but for the weights of products and lookups."""
        names = list(node.input)
        if self.is_product(node):
            names = [names[0], *names[_BIAS if node.op_type == "MatMulNBits" else 2 :]]
        elif self.is_lookup(node):
            names = names[1:2]
        while names and not names[-1]:
            names.pop()
        branches = [output.name for _, branch in branches_of(node) for output in branch.output]
        return [self.origin(name) for name in (*names, *branches)]

    def origin(self, name: str) -> str:
        """What gives a value: the operator's part and the number of its output, or an input or a stored tensor."""
        node = self._maker(name)
        while node is not None and self._is_float_cast(node):
            name = node.input[0]
            node = self._maker(name)
        if node is None or self.is_stored(name):
            return untyped(self.root(name))
        return f"{self._parts[name]}:{list(node.output).index(name)}"

    @cached_property
    def _parts(self) -> Mapping[str, str]:
        return {output: part for part, node in self.operators.items() for output in node.output}

    @cached_property
    def _makers(self) -> Mapping[str, Node]:
        return {name: node for node in self.nodes.values() for name in node.output}

    def _maker(self, name: str) -> Node | None:
        return self._makers.get(name)

    def _is_float_cast(self, node: Node) -> bool:
        return node.op_type == "Cast" and type_name(attributes_of(node).get("to", 0)) in _FLOATS

    def _is_storage(self, node: Node) -> bool:
        """Whether a node only stores something, or says how it is stored."""
        return self._is_float_cast(node) or (bool(node.output) and self.is_stored(node.output[0]))


def untyped(name: str) -> str:
    """A constant's name tells its type, which may be another one; one part has another name since builder 0.18."""
    name = name.replace("/rotemb_caches_subgraph/", "/rope_caches_subgraph/")
    return re.sub(r"(/constants|_nodes)/(FLOAT16|BFLOAT16|FLOAT)/", r"\1/", name)


def _all_nodes(graph: Graph) -> Iterator[tuple[str, Node]]:
    for node in graph.node:
        name = untyped(node.name or next(iter(node.output), node.op_type))
        yield name, node
        for key, branch in branches_of(node):
            yield from ((f"{name}/{key}{inner}", one) for inner, one in _all_nodes(branch))


def _all_tensors(graph: Graph) -> Iterator[Tensor]:
    yield from graph.initializer
    yield from (tensor.values for tensor in graph.sparse_initializer)
    for node in graph.node:
        for _, branch in branches_of(node):
            yield from _all_tensors(branch)


def _numbered(named: Iterator[tuple[str, Node]]) -> Iterator[tuple[str, Node]]:
    """Names are optional in a graph, and may be given twice."""
    seen: dict[str, int] = {}
    for name, node in named:
        seen[name] = seen.get(name, 0) + 1
        yield (name if seen[name] == 1 else f"{name}#{seen[name]}"), node
