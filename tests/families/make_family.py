"""Runs in the toolchain: a small random model under a published tokenizer, its files as they were published.

`python make_family.py TOKENIZER_FOLDER MODEL_FOLDER SETTINGS_JSON`; the settings are those of `families.FAMILIES`.
"""

import json
import shutil
import sys
from pathlib import Path

import torch
import transformers

HIDDEN = 64
SPECIAL = ("bos_token", "eos_token", "pad_token", "unk_token")


def largest_id(tokenizer):
    vocabulary = tokenizer["model"]["vocab"]
    return max([*vocabulary.values(), *(token["id"] for token in tokenizer["added_tokens"])])


def content_of(token):
    return token["content"] if isinstance(token, dict) else token


def ids_of(tokenizer, config):
    known = tokenizer["model"]["vocab"] | {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    return {f"{name}_id": known.get(content_of(config.get(name))) for name in SPECIAL}


def make(source, folder, settings):
    torch.manual_seed(0)
    folder.mkdir(parents=True)
    tokenizer = json.loads((source / "tokenizer.json").read_text(encoding="utf-8"))
    config = json.loads((source / "tokenizer_config.json").read_text(encoding="utf-8")) | settings["tokenizer_config"]
    for name in SPECIAL:  # one package writes them as its own library does
        if isinstance(config.get(name), dict):
            config[name] = content_of(config[name])
    ids = ids_of(tokenizer, config)
    family = settings["family"]
    config_class = getattr(transformers, "Gemma3TextConfig" if family == "Gemma3" else f"{family}Config")
    shape = config_class(
        vocab_size=(largest_id(tokenizer) + 64) // 64 * 64, hidden_size=HIDDEN, intermediate_size=2 * HIDDEN,
        num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=32, max_position_embeddings=2048,
        bos_token_id=ids["bos_token_id"], eos_token_id=ids["eos_token_id"],
        pad_token_id=ids["pad_token_id"] if ids["pad_token_id"] is not None else ids["eos_token_id"],
        **settings["config"],
    )  # fmt: skip
    model = getattr(transformers, f"{family}ForCausalLM")(shape).half()
    model.save_pretrained(folder)
    shutil.copy(source / "tokenizer.json", folder)
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    if settings["template"]:
        (folder / "chat_template.jinja").write_text(settings["template"], encoding="utf-8")
    for name in ("config.json", "generation_config.json"):
        said = json.loads((folder / name).read_text(encoding="utf-8"))
        said["transformers_version"] = settings["trained_with"]
        (folder / name).write_text(json.dumps(said), encoding="utf-8")


if __name__ == "__main__":
    make(Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3]))
