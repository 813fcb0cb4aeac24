"""Writes a Qwen2-shaped model of 494 M random parameters: `make_half_billion.py FOLDER [TOKENIZER_FOLDER]`.

Its size is what counts, so any tokenizer will do: that of the demo model, unless another folder is named.
"""

import shutil
import sys
from pathlib import Path

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

TOKENIZER = Path(__file__).resolve().parent.parent / "fixtures/data/demo/model"
CONFIG = {
    "vocab_size": 151_936,
    "hidden_size": 896,
    "intermediate_size": 4864,
    "num_hidden_layers": 24,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32_768,
    "tie_word_embeddings": True,
    "bos_token_id": None,
    "eos_token_id": 2,
    "pad_token_id": 0,
}


def main(folder: Path, tokenizer: Path = TOKENIZER) -> None:
    """Make and save it."""
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float16)
    Qwen2ForCausalLM(Qwen2Config(**CONFIG)).save_pretrained(folder)
    for pattern in ("tokenizer*", "chat_template*"):
        for file in tokenizer.glob(pattern):
            shutil.copy(file, folder / file.name)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
