"""Patches ModelBuilder to quantise one MatMul at a time, and Olive to link its result instead of copying it.

* ModelBuilder copies the whole unquantised graph twice before it quantises anything: 7 bytes of memory for each byte of
  the source. With the patch its quantiser gets one matrix after the other; nodes and tensor bytes are the same.
* Olive copies its result out of its cache, which the gate deletes afterwards. With the patch it links the files.

Runs inside the conversion worker, where the harness cannot be imported.
"""

import contextlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any


@contextlib.contextmanager
def low_memory_quantizer() -> Iterator[None]:
    """Apply both patches; undo them at the end."""
    from olive import resource_path  # only in the toolchain
    from olive.common.utils import hardlink_copy_dir
    from onnxruntime_genai.models.builder import Model  # type: ignore[import-not-found, unused-ignore]

    to_int4, copy_dir = Model.to_int4, resource_path.copy_dir
    Model.to_int4 = one_by_one(to_int4)
    resource_path.copy_dir = lambda source, target, dirs_exist_ok=True: hardlink_copy_dir(source, target)
    try:
        yield
    finally:
        Model.to_int4, resource_path.copy_dir = to_int4, copy_dir


def one_by_one(to_int4: Any) -> Any:
    """`Model.to_int4`, applied to a graph of one node at a time."""

    def amended(self: Any) -> Any:
        graph = self.model.graph
        for node in list(graph):
            if node.op_type in kinds(self) and any(value.is_initializer() for value in node.inputs):
                alone = SimpleNamespace(model=model_of(node, self.model), quant_attrs=self.quant_attrs)
                put_in_place(graph, node, to_int4(alone).graph, self.make_value)
        return self.model

    return amended


def kinds(builder: Any) -> set[str]:
    """Operators that may be quantised; the quantiser decides whether one is."""
    return {"MatMul", *builder.quant_attrs["int4"]["op_types_to_quantize"]}


def model_of(node: Any, whole: Any) -> Any:
    """A model of one node and its stored tensors."""
    import onnx_ir as ir  # type: ignore[import-not-found, unused-ignore]  # only in the toolchain

    def copy_of(value: Any) -> Any:
        return ir.Value(name=value.name, shape=value.shape, type=value.type, const_value=value.const_value)

    inputs, outputs = [copy_of(value) for value in node.inputs], [copy_of(value) for value in node.outputs]
    copied = ir.Node(node.domain, node.op_type, inputs, node.attributes.values(), outputs=outputs, name=node.name)
    stored = [mine for mine, theirs in zip(inputs, node.inputs, strict=True) if theirs.is_initializer()]
    fed = [mine for mine in inputs if mine not in stored]
    graph = ir.Graph(fed, outputs, nodes=[copied], initializers=stored, opset_imports=whole.graph.opset_imports)
    return ir.Model(graph, ir_version=whole.ir_version)


def put_in_place(graph: Any, node: Any, made: Any, value_named: Any) -> None:
    """Replace a node of `graph` by the nodes of `made`, which have its inputs and outputs."""
    import onnx_ir as ir

    if [one.name for one in made] == [node.name]:
        return  # the quantiser left it as it is
    known = {value.name: value for value in node.inputs}
    for value in made.initializers.values():
        known[value.name] = value_named(value.name, value.dtype, value.shape)
        # a copy: the original lies in one block of memory with the unquantised matrix
        known[value.name].const_value = ir.tensor(value.const_value.numpy().copy(), name=value.name)
        graph.register_initializer(known[value.name])
    for one in made:
        inputs = [known[value.name] for value in one.inputs]
        outputs = len(one.outputs)
        copied = ir.Node(one.domain, one.op_type, inputs, one.attributes.values(), num_outputs=outputs, name=one.name)
        for mine, theirs in zip(copied.outputs, one.outputs, strict=True):
            mine.name, mine.type, mine.shape = theirs.name, theirs.type, theirs.shape
            known[mine.name] = mine
        graph.insert_before(node, copied)
    for former in node.outputs:
        former.replace_all_uses_with(known[former.name], replace_graph_outputs=True)
    unquantised = [value for value in node.inputs if value.is_initializer()]
    graph.remove(node, safe=True)  # safe: it also releases its inputs
    for value in unquantised:
        if not value.uses():
            del graph.initializers[value.name]
            value.const_value = None  # the builder keeps every value, but does not need this one any more
