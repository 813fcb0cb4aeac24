"""Faults to plant into a healthy artifact; each takes a copy of its folder and spoils it the way the field does."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx


def shuffle_one_layer(folder: Path) -> None:
    """The quantised weights of all projections of one layer, byte by byte in another order."""
    model = onnx.load(folder / "model.onnx", load_external_data=False)
    for tensor in model.graph.initializer:
        if tensor.name.startswith("model.layers.1.") and tensor.name.endswith("qweight"):
            _rewrite(folder, tensor, lambda content: np.random.default_rng(0).permutation(content))


def break_positions_beyond(folder: Path, tokens: int = 600) -> None:
    """The rotary embedding's tables, wrong from a position on: short prompts work, long ones do not."""
    model = onnx.load(folder / "model.onnx", load_external_data=False)
    for name in ("cos_cache", "sin_cache"):
        table = next(tensor for tensor in model.graph.initializer if name in tensor.name)
        rows = table.dims[0]

        def spoil(content: np.ndarray, rows: int = rows) -> np.ndarray:
            grid = content.reshape(rows, -1).copy()
            grid[tokens:] = np.random.default_rng(1).permutation(grid[tokens:])
            return grid.reshape(-1)

        _rewrite(folder, table, spoil)


def use_an_unknown_operator(folder: Path) -> None:
    """A graph that no runtime of this version can load."""
    model = onnx.load(folder / "model.onnx", load_external_data=False)
    node = next(node for node in model.graph.node if node.op_type == "SkipSimplifiedLayerNormalization")
    node.op_type = "SkipSimplifiedLayerNormalizationV9"
    onnx.save(model, folder / "model.onnx")


def drop_the_assistants_newline(folder: Path) -> None:
    """The prompt template that tutorials print: no newline after the assistant's opening."""
    for file in (folder / "chat_template.jinja", folder / "tokenizer_config.json"):
        if file.exists():
            text = file.read_text(encoding="utf-8")
            for newline in ("\\\\n", "\\n"):
                text = text.replace(f"<|im_start|>assistant{newline}", "<|im_start|>assistant")
            file.write_text(text, encoding="utf-8")


def end_answers_elsewhere(folder: Path) -> None:
    """A config whose end of sequence is not the source's: answers run on until the limit."""
    file = folder / "genai_config.json"
    settings = json.loads(file.read_text(encoding="utf-8"))
    settings["model"]["eos_token_id"] = 0
    file.write_text(json.dumps(settings), encoding="utf-8")


def forget_most_merges(folder: Path) -> None:
    """A tokenizer that was cut: it still encodes every text, into other tokens than the model has learned."""
    file = folder / "tokenizer.json"
    settings = json.loads(file.read_text(encoding="utf-8"))
    settings["model"]["merges"] = settings["model"]["merges"][:10]
    file.write_text(json.dumps(settings), encoding="utf-8")


def ask_for_free_text(pack: Path, *, every: int) -> None:
    """A pack of patterns in place of JSON, of every so many cases: an answer is right that goes on behind it."""
    (pack / "response.schema.json").unlink()
    rows = [json.loads(line) for line in (pack / "cases.jsonl").read_text(encoding="utf-8").splitlines()]
    for row in rows:
        expected = row.pop("expected")
        row["pattern"] = re.escape(str(expected["fault" if "fault" in expected else "status"]))
    (pack / "cases.jsonl").write_text("\n".join(map(json.dumps, rows[::every])), encoding="utf-8")
    domain = (pack / "domain.toml").read_text(encoding="utf-8").replace("cases = 12", "cases = 2")
    (pack / "domain.toml").write_text(domain, encoding="utf-8")


def _rewrite(folder: Path, tensor: onnx.TensorProto, change: Callable[[np.ndarray], np.ndarray]) -> None:
    where = {entry.key: entry.value for entry in tensor.external_data}
    file = folder / where["location"]
    offset, length = int(where.get("offset", 0)), int(where["length"])
    content = bytearray(file.read_bytes())
    changed = change(np.frombuffer(bytes(content[offset : offset + length]), dtype=np.uint8))
    content[offset : offset + length] = changed.tobytes()
    file.unlink()  # a copy may be a hard link
    file.write_bytes(bytes(content))


LEAKY_SITE = '''
"""Planted: every request to onnxruntime-genai loses 64 bytes of native memory."""
import ctypes, os, sys

if os.environ.get("PLANT_LEAK"):
    import onnxruntime_genai as og

    leak = ctypes.CDLL(os.environ["PLANT_LEAK"]).keep_64_bytes
    original = og.Generator.append_tokens

    def append_tokens(self, tokens):
        leak()
        return original(self, tokens)

    og.Generator.append_tokens = append_tokens
'''

OLIVE_WITHOUT_A_MODEL = json.dumps(
    {
        "input_model": {"type": "HfModel"},
        "systems": {
            "local": {
                "type": "LocalSystem",
                "accelerators": [{"device": "cpu", "execution_providers": ["CPUExecutionProvider"]}],
            }
        },
        "passes": {"builder": {"type": "ModelBuilder", "precision": "int8"}},
        "host": "local",
        "target": "local",
    }
)
