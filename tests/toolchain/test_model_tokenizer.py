"""Which of two tokenizers in one folder is the model's follows from who wrote the folder."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from harness.toolchain.toolchain import Toolchain, worker

pytestmark = pytest.mark.toolchain

META = "\u2581"
PIECES = ["<unk>", "<s>", "</s>", META, "a", "b", META + "a"]
FILE = {
    "version": "1.0",
    "truncation": None,
    "padding": None,
    "added_tokens": [
        {"id": number, "content": piece, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
        for number, piece in enumerate(PIECES[:3])
    ],
    "normalizer": {
        "type": "Sequence",
        "normalizers": [{"type": "Prepend", "prepend": META}, {"type": "Replace", "pattern": {"String": " "}, "content": META}],
    },
    "pre_tokenizer": None,
    "post_processor": None,
    "decoder": {"type": "Fuse"},
    "model": {
        "type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None, "end_of_word_suffix": None,
        "fuse_unk": True, "byte_fallback": False, "vocab": {piece: number for number, piece in enumerate(PIECES)},
        "merges": [f"{META} a"],
    },
}  # fmt: skip
BY_FILE, BY_CLASS = [3, 6], [6]
"""Ids of a text that begins with a space: only the file's step puts another one in front."""

LOAD = """
import json, runpy, sys
load = runpy.run_path(sys.argv[1])["load_tokenizer"]
tokenizer, facts = load(sys.argv[2], False)
said = {key: facts[key] for key in ("class", "pipeline", "is_rebuilt", "trained_with", "is_saved_by_5")}
print(json.dumps({**said, "ids": tokenizer(" a", add_special_tokens=False)["input_ids"]}))
"""


@pytest.fixture
def load(toolchain: Toolchain, tmp_path: Path) -> Any:
    def run(trained_with: str | None, **settings: object) -> Any:
        config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "transformers_version": trained_with}
        files = {
            "config.json": {key: value for key, value in config.items() if value is not None},
            "tokenizer.json": FILE,
            "tokenizer_config.json": {"tokenizer_class": "LlamaTokenizer", "unk_token": "<unk>", **settings},
        }
        for name, content in files.items():
            (tmp_path / name).write_text(json.dumps(content), encoding="utf-8")
        command = [toolchain.python, "-c", LOAD, worker("model_tokenizer"), tmp_path]
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=True)
        return json.loads(done.stdout.splitlines()[-1])

    return run


@pytest.mark.parametrize(
    ("trained_with", "settings", "pipeline", "ids"),
    [
        ("4.57.1", {}, "file", BY_FILE),
        (None, {}, "file", BY_FILE),
        ("a fork of mine", {}, "file", BY_FILE),
        ("5.0.0", {}, "class", BY_CLASS),
        ("10.1", {}, "class", BY_CLASS),
        ("5.0.0", {"backend": "tokenizers"}, "file", BY_FILE),
    ],
    ids=["transformers 4", "no release", "no number", "transformers 5", "a later one", "saved by transformers 5"],
)
def test_the_models_tokenizer_is_the_one_that_training_used(
    load: Any, trained_with: str | None, settings: dict[str, object], pipeline: str, ids: list[int]
) -> None:
    said = load(trained_with, **settings)
    assert (said["is_rebuilt"], said["class"], said["trained_with"]) == (True, "LlamaTokenizer", trained_with)
    assert (said["pipeline"], said["ids"]) == (pipeline, ids)
    assert said["is_saved_by_5"] is bool(settings)


def test_a_class_that_obeys_the_file_leaves_no_question(load: Any) -> None:
    said = load("5.0.0", tokenizer_class="PreTrainedTokenizerFast")
    assert (said["is_rebuilt"], said["ids"]) == (False, BY_FILE)
