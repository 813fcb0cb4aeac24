"""Toy sources and artifacts for the fast tests, one real conversion for the others."""

import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from harness.convert.convert import convert
from harness.recipes.recipe import load_recipe
from harness.source.source import resolve_source
from harness.toolchain.toolchain import Toolchain, quiet_environment

TINY_MODEL = Path(__file__).with_name("tiny_model.py")
CONFIG = {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "vocab_size": 8,
    "max_position_embeddings": 64,
    "tie_word_embeddings": True,
    "eos_token_id": [2, 0],
}
TENSORS = {"model.embed_tokens.weight": (8, 32), "model.layers.0.mlp.up_proj.weight": (64, 32)}


def write_safetensors(file, shapes=TENSORS, kind="F16"):
    header, offset = {}, 0
    for name, shape in shapes.items():
        size = {"F16": 2, "F32": 4}[kind] * int(np.prod(shape))
        header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    raw = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(raw)) + raw + bytes(offset))


@pytest.fixture
def toy_source(tmp_path):
    """A folder that passes for a model as long as nobody computes with it."""
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG))
    write_safetensors(folder / "model.safetensors")
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"vocab": {"a": 0, "b": 7}}, "added_tokens": []}))
    (folder / "tokenizer_config.json").write_text("{}")
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    return folder


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


@pytest.fixture
def make_artifact(tmp_path):
    """Writes toy artifacts: `make_artifact("name", bits=8)`."""
    return lambda name="artifact", **options: write_artifact(tmp_path / name, **options)


def auto_opt_command(python, model, out, precision):
    """The tutorial's first method, as it is printed there."""
    return [
        str(python), "-m", "olive", "auto-opt", "--model_name_or_path", str(model), "--output_path", str(out),
        "--device", "cpu", "--provider", "CPUExecutionProvider", "--use_model_builder", "--precision", precision,
    ]  # fmt: skip


def find_models(folder):
    """Every folder below that holds a model for onnxruntime-genai."""
    return [file.parent for file in folder.rglob("genai_config.json") if any(file.parent.glob("*.onnx"))]


@pytest.fixture(scope="session")
def toolchain(toolchain) -> Toolchain:
    """The real conversion environment, made if need be."""
    return toolchain()


@pytest.fixture(scope="session")
def tiny_source(toolchain, tmp_path_factory):
    """A real Qwen2 model with random weights."""
    folder = tmp_path_factory.mktemp("tiny") / "model"
    command = [str(part) for part in (*toolchain.command(TINY_MODEL), folder)]
    subprocess.run(command, check=True, env={**os.environ, **quiet_environment()}, stderr=sys.stderr)
    return resolve_source(str(folder))


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def converted(toolchain, tiny_source, shared_cache):
    """Four variants of the tiny model, made by one worker."""
    recipes = {name: load_recipe(name) for name in ("int4", "int8", "fp16", "fp32")}
    return convert(tiny_source, recipes, cache=shared_cache, toolchain=toolchain, notify=print)


ADAPTER = """
import json, sys, torch
from pathlib import Path
from safetensors.torch import load_file, save_file
base, folder, size = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
torch.manual_seed(1)
weight = load_file(base / "model.safetensors")["model.layers.0.mlp.down_proj.weight"]
name = "base_model.model.model.layers.0.mlp.down_proj"
down, up = size * torch.randn(4, weight.shape[1]), torch.randn(weight.shape[0], 4)
tensors = {f"{name}.lora_A.weight": down, f"{name}.lora_B.weight": up}
save_file(tensors, folder / "adapter_model.safetensors")
settings = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "base_model_name_or_path": str(base)}
(folder / "adapter_config.json").write_text(json.dumps(settings))
torch.save((weight.float() + 2.0 * up @ down).half(), folder / "expected.pt")
"""


@pytest.fixture
def make_adapter(toolchain, tiny_source, tmp_path):
    """Writes a LoRA adapter of the tiny model, and in `expected.pt` the matrix that it should give."""

    def make(*, size):
        folder = tmp_path / f"adapter-{size}"
        folder.mkdir()
        command = [toolchain.python, "-c", ADAPTER, tiny_source.path, folder, str(size)]
        subprocess.run([str(part) for part in command], check=True)
        return folder

    return make
