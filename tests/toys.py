"""Toy sources and artifacts: files in the right form that nobody computes with."""

import json
import struct

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from harness.toolchain.toolchain import PINS

CONFIG = {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "vocab_size": 8,
    "max_position_embeddings": 64,
    "tie_word_embeddings": True,
    "eos_token_id": [2, 0],
}
TENSORS = {"model.embed_tokens.weight": (8, 32), "model.layers.0.mlp.up_proj.weight": (64, 32)}


class NoToolchain:
    """A toolchain of the pinned versions that nothing may be done with."""

    versions = PINS

    def __call__(self):
        raise AssertionError("no toolchain is needed")


def write_safetensors(file, shapes=TENSORS, kind="F16"):
    header, offset = {}, 0
    for name, shape in shapes.items():
        size = {"F16": 2, "F32": 4}[kind] * int(np.prod(shape))
        header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    raw = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(raw)) + raw + bytes(offset))


def toy_graph(*, bits=4, block_size=32, symmetric=True, accuracy_level=4, logits="logits", kind=TensorProto.FLOAT):
    """A graph with one lookup and one matrix; `bits` 16 and 32 leave the matrix unquantised."""
    rows, columns = 64, 128
    number = np.float16 if kind == TensorProto.FLOAT16 else np.float32
    tensors = {"embed": np.ones((rows, columns), number)}
    inputs = ["looked_up", "weight"]
    if bits in (4, 8):
        blocks = columns // block_size
        tensors["weight"] = np.zeros((rows, blocks, block_size * bits // 8), np.uint8)
        tensors["scales"] = np.ones((rows * blocks,), number)
        inputs.append("scales")
        if not symmetric:
            tensors["zeros"] = np.zeros((rows * ((blocks * bits + 7) // 8),), np.uint8)
            inputs.append("zeros")
        options = {"bits": bits, "block_size": block_size, "K": columns, "N": rows, "accuracy_level": accuracy_level}
        matrix = helper.make_node("MatMulNBits", inputs, [logits], domain="com.microsoft", **options)
    else:
        tensors["weight"] = np.ones((columns, rows), np.float16 if bits == 16 else np.float32)
        matrix = helper.make_node("MatMul", inputs, [logits])
    nodes = [
        helper.make_node("Gather", ["embed", "input_ids"], ["looked_up"]),
        matrix,
        helper.make_node("Identity", ["past_key_values.0.key"], ["present.0.key"]),
    ]
    graph = helper.make_graph(
        nodes,
        "toy",
        [
            helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "length"]),
            helper.make_tensor_value_info("past_key_values.0.key", kind, ["batch", "length"]),
        ],
        [
            helper.make_tensor_value_info(logits, kind, ["batch", "length", rows]),
            helper.make_tensor_value_info("present.0.key", kind, ["batch", "length"]),
        ],
        [numpy_helper.from_array(value, name) for name, value in tensors.items()],
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets)


def write_artifact(folder, **options):
    """A toy artifact with its weights in `model.onnx.data`."""
    folder.mkdir(parents=True)
    onnx.save(
        toy_graph(**options),
        str(folder / "model.onnx"),
        save_as_external_data=True,
        location="model.onnx.data",
        size_threshold=0,
    )
    decoder = {"filename": "model.onnx", "session_options": {"provider_options": []}}
    model = {"type": "qwen2", "context_length": 64, "vocab_size": 8, "eos_token_id": [2, 0], "decoder": decoder}
    (folder / "genai_config.json").write_text(json.dumps({"model": model, "search": {"top_k": 50}}))
    (folder / "tokenizer.json").write_text("{}")
    return folder
