"""A layer of a model as ModelBuilder writes it, open to faults before it is saved."""

import json
from types import SimpleNamespace

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from harness.system.hashing import sha256_of

WIDTH, ROWS, BLOCK, VOCABULARY, CONTEXT = 64, 32, 32, 16, 8
LAYER = "/model/layers.0/attn"
EMBEDDING = "model.embed_tokens.weight"
QKV, BIAS, NORM = "model.layers.0.attn.qkv_proj", "model.layers.0.attn.qkv_proj.Add.bias", "model.layers.0.norm.weight"
SETTINGS = {
    "model": {
        "type": "qwen2",
        "context_length": CONTEXT,
        "pad_token_id": 0,
        "decoder": {"head_size": 8, "inputs": {"past_key_names": "past.%d.key"}},
    },
    "search": {"do_sample": False, "repetition_penalty": 1.0, "max_length": CONTEXT},
}
TOKENIZER = {
    "model": {"vocab": {"a": 0, "b": 1, "ab": 2}, "merges": [["a", "b"]]},
    "added_tokens": [{"id": 3, "content": "<end>", "special": True, "lstrip": False}],
    "decoder": {"type": "ByteLevel"},
}


def quantised(matrix, bits, symmetric):
    """As MatMulNBits stores a [K, N] matrix: packed, scales, zero points."""
    blocks = matrix.T.reshape(matrix.shape[1], -1, BLOCK)
    low, high = blocks.min(-1, keepdims=True), blocks.max(-1, keepdims=True)
    steps = 2**bits - 1
    if symmetric:
        scale, zero = 2 * np.maximum(-low, high) / steps, np.full(low.shape, 2 ** (bits - 1))
    else:
        scale = (high - low) / steps
        zero = np.round(-low / scale)
    whole = np.clip(np.round(blocks / scale + zero), 0, steps).astype(np.uint8)

    def packed(values):
        if bits == 8:
            return values
        values = np.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, values.shape[-1] % 2)])
        return values[..., ::2] | (values[..., 1::2] << 4)

    points = None if symmetric else packed(zero[..., 0].astype(np.uint8))
    return packed(whole), scale[..., 0].astype(np.float32), points


class Model:
    """A layer as ModelBuilder writes it, open to faults before it is saved."""

    def __init__(self, bits, symmetric=True, layer=LAYER):
        random = np.random.default_rng(0)
        matrix = random.normal(size=(WIDTH, ROWS)).astype(np.float32)
        self.settings, self.tokenizer = json.loads(json.dumps(SETTINGS)), json.loads(json.dumps(TOKENIZER))
        number = np.float16 if bits == 16 else np.float32
        self.tensors = {
            EMBEDDING: random.normal(size=(VOCABULARY, WIDTH)).astype(number),
            NORM: random.normal(size=WIDTH).astype(number),
            BIAS: random.normal(size=ROWS).astype(number),
            "cos_cache": np.ones((CONTEXT, 4), number),
        }
        inputs, options, kind = ["normed", f"{QKV}.weight"], {}, "MatMul"
        if bits in (4, 8):
            parts = zip(("weight", "scales", "zeros"), quantised(matrix, bits, symmetric), strict=True)
            stored = {f"{QKV}.{name}": part for name, part in parts if part is not None}
            inputs, kind = ["normed", *stored], "MatMulNBits"
            options = {"bits": bits, "block_size": BLOCK, "K": WIDTH, "N": ROWS}
            self.tensors |= stored
        else:
            self.tensors[f"{QKV}.weight"] = matrix.astype(number)
        cache = ["past.0.key", "past.0.value"]
        self.nodes = {
            "/model/embed_tokens/Gather": helper.make_node("Gather", [EMBEDDING, "input_ids"], ["embedded"]),
            f"{layer}/norm": helper.make_node("LayerNorm", ["embedded", NORM], ["normed"], epsilon=1e-6),
            f"{layer}/qkv_proj/{kind}": helper.make_node(kind, inputs, ["product"], **options),
            f"{layer}/qkv_proj/Add": helper.make_node("Add", ["product", BIAS], ["qkv"]),
            f"{layer}/Attention": helper.make_node("Attention", ["qkv", *cache, "cos_cache"], ["logits"], num_heads=4),
        }
        for name, node in self.nodes.items():
            node.name = name
        self.unnamed, self.functions = [], []

    def save(self, folder):
        folder.mkdir()
        values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("input_ids", "logits")]
        tensors = [numpy_helper.from_array(value, name) for name, value in self.tensors.items()]
        nodes = [*self.nodes.values(), *self.unnamed]
        graph = helper.make_graph(nodes, "layer", values[:1], values[1:], tensors)
        onnx.save(helper.make_model(graph, functions=self.functions), str(folder / "model.onnx"))
        (folder / "genai_config.json").write_text(json.dumps(self.settings))
        (folder / "tokenizer.json").write_text(json.dumps(self.tokenizer))
        facts = SimpleNamespace(model_file="model.onnx", context_length=CONTEXT, weights_per_bits={4: 1})
        return SimpleNamespace(
            variant="theirs",
            path=folder,
            facts=facts,
            recipe=SimpleNamespace(olive_config=None),
            is_adopted=True,
            digest=sha256_of(folder / "model.onnx"),
        )
