"""Plants faults in real graphs: what a converter could have added, waiting for a token or a position."""

import os
import shutil

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def planted(folder, target, plant):
    """A copy of a converted folder (its weights linked) whose graph `plant` has edited."""
    target.mkdir()
    for file in folder.iterdir():
        if file.name != "model.onnx":
            link_or_copy(file, target / file.name)
    model = onnx.load(str(folder / "model.onnx"), load_external_data=False)
    plant(Graph(model.graph, folder))
    onnx.save(model, str(target / "model.onnx"))
    return target


def link_or_copy(file, target):
    try:
        os.link(file, target)
    except OSError:  # another file system
        shutil.copyfile(file, target)


class Graph:
    """A graph that operators can be put into."""

    def __init__(self, graph, folder):
        self.graph, self.folder, self.count = graph, folder, 0
        head = next(node for node in graph.node if "logits" in node.output)
        out = next(value for value in graph.output if value.name == "logits")
        self.type = out.type.tensor_type.elem_type
        self.number = helper.tensor_dtype_to_np_dtype(self.type)
        self.head = head

    def constant(self, value, number=None):
        name = f"planted/constant.{len(self.graph.initializer)}"
        self.graph.initializer.append(numpy_helper.from_array(np.asarray(value, number or self.number), name))
        return name

    def add(self, op_type, *inputs, domain="", output=None, **options):
        self.count += 1
        output = output or f"planted/{self.count}"
        self.graph.node.append(
            helper.make_node(op_type, inputs, [output], f"/planted/{op_type}_{self.count}", domain=domain, **options)
        )
        return output

    def behind_the_logits(self):
        """Takes the logits away from the head, and returns what it gives instead."""
        self.head.output[list(self.head.output).index("logits")] = "planted/logits"
        return "planted/logits"

    def times(self, factor):
        self.add("Mul", self.behind_the_logits(), factor, output="logits")

    def any_of(self, tokens):
        """Whether the prompt holds one of some tokens, as a boolean of no dimension."""
        ids = self.add("Unsqueeze", "input_ids", self.constant([2], np.int64))
        seen = self.add("Cast", self.add("Equal", ids, self.constant(sorted(tokens), np.int64)), to=TensorProto.INT32)
        return self.add("Cast", self.add("ReduceMax", seen, keepdims=0), to=TensorProto.BOOL)

    def is_long(self, tokens):
        """Whether there are more than so many tokens, those of the cache included."""
        length = self.add("Gather", self.add("Shape", "attention_mask"), self.constant(1, np.int64))
        return self.add("Greater", length, self.constant(tokens, np.int64))

    def is_single_step(self):
        length = self.add("Gather", self.add("Shape", "input_ids"), self.constant(1, np.int64))
        return self.add("Equal", length, self.constant(1, np.int64))

    def choose(self, condition, yes, no):
        return self.add("Where", condition, self.constant(yes), self.constant(no))
