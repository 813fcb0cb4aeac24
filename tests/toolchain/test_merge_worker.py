"""The worker that merges, on files of a few numbers; tests/source/test_merge_live.py holds its sums against PEFT."""

import json
import struct
import subprocess

import numpy as np
import pytest

from harness.errors import ChildError
from harness.system.child import run_job
from harness.toolchain.toolchain import worker

pytestmark = pytest.mark.toolchain

PICKLE = """
import os, sys, torch
class Evil:
    def __reduce__(self):
        return os.mkdir, (sys.argv[1],)
torch.save({"A": torch.full((2,), 3.0).half()}, sys.argv[2])
torch.save(Evil(), sys.argv[3])
"""
EMBEDDING, HEAD = "embed_tokens.weight", "lm_head.weight"
TIE = {"embedding": EMBEDDING, "head": HEAD, "shared": [], "follows": False}
NOTHING = {"replacement": None, "lora": None, "rows": None, "addend": None}
LORA = {"down": "A", "up": "B", "scale": 2.0, "magnitude": None, "is_embedding": False}


def write(file, tensors):
    """A safetensors file of [type, shape, the value of all]."""
    header, body = {}, b""
    for name, (kind, shape, value) in tensors.items():
        number = np.full(shape, float(value), np.float16 if kind == "F16" else np.float32)
        raw = (number.view(np.uint32) >> 16).astype(np.uint16).tobytes() if kind == "BF16" else number.tobytes()
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [len(body), len(body) + len(raw)]}
        body += raw
    told = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(told)) + told + body)


def read(file):
    """What `write` was given; the first value stands for all."""
    raw = file.read_bytes()
    start = 8 + struct.unpack("<Q", raw[:8])[0]
    found = {}
    for name, entry in json.loads(raw[8:start]).items():
        if name != "__metadata__":
            first = raw[start + entry["data_offsets"][0] :][:4]
            kind = np.float16 if entry["dtype"] == "F16" else np.float32
            bits = bytes(2) + first[:2] if entry["dtype"] == "BF16" else first
            found[name] = [entry["dtype"], entry["shape"], float(np.frombuffer(bits, kind)[0])]
    return found


@pytest.fixture
def merge(toolchain, tmp_path):
    """Merges `adapter` into `files`, all tensors as [type, shape, value]; the merged files and the result."""

    def call(files, adapter, changes, tie=None):
        for name, tensors in {**files, "adapter.safetensors": adapter}.items():
            write(tmp_path / name, tensors)
        job = {
            "files": [str(tmp_path / name) for name in files],
            "adapter": str(tmp_path / "adapter.safetensors"),
            "target": str(tmp_path / "merged"),
            "plan": {"tie": tie, "changes": {name: {**NOTHING, **change} for name, change in changes.items()}},
        }
        result = run_job(toolchain.command(worker("merge_worker")), job, log=tmp_path / "log", timeout_s=60)
        return {file.name: read(file) for file in (tmp_path / "merged").glob("*.safetensors")}, result

    return call


def test_each_file_of_several_is_merged_and_the_index_is_written_anew(merge, tmp_path):
    files = {
        "model-1.safetensors": {"q.weight": ["F16", [2, 3], 1]},
        "model-2.safetensors": {"v.weight": ["BF16", [2, 3], 1], "norm.weight": ["F32", [2], 5]},
    }
    adapter = {"A": ["F32", [4, 3], 0.5], "B": ["F32", [2, 4], 0.25]}
    found, result = merge(files, adapter, {"q.weight": {"lora": LORA}, "v.weight": {"lora": LORA}})
    assert found["model-1.safetensors"]["q.weight"] == ["F16", [2, 3], 2.0]
    assert found["model-2.safetensors"] == {"v.weight": ["BF16", [2, 3], 2.0], "norm.weight": ["F32", [2], 5.0]}
    index = json.loads((tmp_path / "merged" / "model.safetensors.index.json").read_text())
    assert index["weight_map"] == {
        "q.weight": "model-1.safetensors",
        "v.weight": "model-2.safetensors",
        "norm.weight": "model-2.safetensors",
    }
    assert index["metadata"]["total_size"] == 12 + 12 + 8
    assert result == {"is_untied": False}


def one_file(**more):
    return {"model.safetensors": {EMBEDDING: ["F32", [3, 2], 1], **more}}


@pytest.mark.parametrize(
    ("tie", "changes", "expected", "is_untied"),
    [
        ({}, {EMBEDDING: {"replacement": "E"}}, {EMBEDDING: 2, HEAD: 1}, True),
        ({}, {HEAD: {"replacement": "E"}}, {EMBEDDING: 1, HEAD: 2}, True),
        ({"shared": ["E", "F"]}, {}, {EMBEDDING: 2}, False),
        ({"follows": True}, {EMBEDDING: {"replacement": "E"}}, {EMBEDDING: 2}, False),
        ({}, {EMBEDDING: {"replacement": "E"}, HEAD: {"replacement": "F"}}, {EMBEDDING: 2}, False),
    ],
)
def test_a_shared_matrix_parts_only_where_its_two_uses_differ(merge, tie, changes, expected, is_untied):
    adapter = {"E": ["F32", [3, 2], 2], "F": ["F32", [3, 2], 2]}
    files = one_file(**{HEAD: ["F32", [3, 2], 9]})  # a copy that transformers never reads
    found, result = merge(files, adapter, changes, {**TIE, **tie})
    assert {name: tensor[2] for name, tensor in found["model.safetensors"].items()} == expected
    assert result == {"is_untied": is_untied}


@pytest.mark.parametrize(
    ("adapter", "changes", "tie", "told"),
    [
        ({"E": ["F32", [3, 2], 1]}, {EMBEDDING: {"replacement": "E"}}, None, "the adapter changes nothing"),
        ({"A": ["F32", [4, 2], 0], "B": ["F32", [3, 4], 1]}, {EMBEDDING: {"lora": LORA}}, None, "changes nothing"),
        ({"E": ["F32", [3, 2], 1]}, {}, {**TIE, "shared": ["E"]}, "changes nothing"),
        ({"E": ["F32", [3, 2], 7e4]}, {"q.weight": {"replacement": "E"}}, None, "q.weight holds NaN or infinity in float16"),
        ({"E": ["F32", [3, 2], "nan"]}, {EMBEDDING: {"replacement": "E"}}, None, "holds NaN or infinity in float32"),
        ({"E": ["F32", [3, 2], 2], "F": ["F32", [3, 2], 3]}, {}, {**TIE, "shared": ["E", "F"]}, "one matrix for what E and F hold two of"),
    ],
)  # fmt: skip
def test_what_only_the_numbers_show_is_told(merge, adapter, changes, tie, told):
    files = one_file(**{"q.weight": ["F16", [3, 2], 1]})
    with pytest.raises(ChildError, match=told):
        merge(files, adapter, changes, tie)


def test_a_pickled_adapter_is_rewritten_and_code_in_it_is_not_run(toolchain, tmp_path):
    good, hostile, ran = tmp_path / "a.bin", tmp_path / "b.bin", tmp_path / "ran"
    subprocess.run([str(part) for part in (toolchain.python, "-c", PICKLE, ran, good, hostile)], check=True)
    command, target = toolchain.command(worker("merge_worker")), tmp_path / "a.safetensors"
    run_job(command, {"pickled": str(good), "target": str(target)}, log=tmp_path / "log", timeout_s=60)
    assert read(target) == {"A": ["F16", [2], 3.0]}
    with pytest.raises(ChildError, match="holds more than tensors"):
        run_job(command, {"pickled": str(hostile), "target": str(target)}, log=tmp_path / "log", timeout_s=60)
    assert not ran.exists()
