"""Gives a small Qwen2 model the weights and the work of a large one: `inflate.py SMALL FOLDER {0.5b,1.5b,3b}`.

The large model computes the small one's function, so its answers, its quality and its divergence are known, while time
and memory are those of the size. Runs in the toolchain: `slm-gate toolchain benchmarks/inflate.py ...`.

* The small matrices stand in the corner of larger ones; the rest is zero, so the added channels stay zero.
* RMSNorm divides by the mean over all channels: with n of N channels in use, epsilon is scaled by n / N and the norm's
  weight by sqrt(n / N).
* A wider head keeps the rotary frequencies that the narrow one had: dimension i goes to i * (wide / narrow) in its
  half, and queries are scaled by sqrt(wide / narrow), as attention divides by the root of the width.
* Further layers have norms of zero, so that they add nothing, and weights that are not zero, so that they cost what
  layers cost.
* Further rows of the vocabulary repeat the padding token's, which is never an answer.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file, save_file

Weights = npt.NDArray[np.float16]

SIZES: dict[str, dict[str, int]] = {
    "0.5b": {"hidden": 896, "ffn": 4864, "layers": 24, "heads": 14, "kv_heads": 2, "head_dim": 64},
    "1.5b": {"hidden": 1536, "ffn": 8960, "layers": 28, "heads": 12, "kv_heads": 2, "head_dim": 128},
    "3b": {"hidden": 2048, "ffn": 11008, "layers": 36, "heads": 16, "kv_heads": 2, "head_dim": 128},
}
VOCABULARY = 151_936


class Inflation:
    """Places tensors of the small model in tensors of the large one's shape."""

    def __init__(self, config: dict[str, Any], size: dict[str, int]) -> None:
        self.size, self.small_hidden = size, int(config["hidden_size"])
        self.small_ffn = int(config["intermediate_size"])
        self.small_dim = int(config.get("head_dim") or self.small_hidden // config["num_attention_heads"])
        self.rows_q = self._rows(int(config["num_attention_heads"]), size["heads"], int(config["num_key_value_heads"]))
        self.rows_kv = self._rows(int(config["num_key_value_heads"]), size["kv_heads"], size["kv_heads"])
        self.query_scale = float(np.sqrt(size["head_dim"] / self.small_dim))
        self.norm_scale = float(np.sqrt(self.small_hidden / size["hidden"]))
        self._noise = np.random.default_rng(0).normal(0, 0.02, 2**20).astype(np.float16)

    def _rows(self, small_heads: int, heads: int, groups: int) -> npt.NDArray[np.int64]:
        """Where each row of a small projection goes: heads stay with their key-value head, and pairs together."""
        wide, narrow = self.size["head_dim"], self.small_dim
        step, half = wide // narrow, narrow // 2
        dims = np.concatenate([np.arange(half) * step, wide // 2 + np.arange(half) * step])
        small_per_group, per_group = small_heads // groups, heads // groups
        starts = [(head // small_per_group * per_group + head % small_per_group) * wide for head in range(small_heads)]
        return np.concatenate([start + dims for start in starts])

    def placed(self, name: str, small: Weights) -> Weights:
        """The large tensor that does what a small one does."""
        size = self.size
        if "norm" in name:
            return self._put((size["hidden"],), (slice(self.small_hidden),), small * self.norm_scale)
        if "embed_tokens" in name:
            large = self._put((VOCABULARY, size["hidden"]), (slice(len(small)), slice(self.small_hidden)), small)
            large[len(small) :] = large[self.padding]
            return large
        if "q_proj" in name or "k_proj" in name or "v_proj" in name:
            rows, heads = (self.rows_q, size["heads"]) if "q_proj" in name else (self.rows_kv, size["kv_heads"])
            scaled = small * self.query_scale if "q_proj" in name else small
            shape = (heads * size["head_dim"], size["hidden"])[: small.ndim]
            large = np.zeros(shape, dtype=np.float16)
            large[rows if small.ndim == 1 else np.ix_(rows, np.arange(self.small_hidden))] = scaled
            return large
        if "o_proj" in name:
            large = np.zeros((size["hidden"], size["heads"] * size["head_dim"]), dtype=np.float16)
            large[np.ix_(np.arange(self.small_hidden), self.rows_q)] = small
            return large
        out, into = (size["hidden"], size["ffn"]) if "down_proj" in name else (size["ffn"], size["hidden"])
        return self._put((out, into), (slice(small.shape[0]), slice(small.shape[1])), small)

    padding = 0
    """Row of the padding token."""

    def _put(self, shape: tuple[int, ...], place: tuple[slice, ...], small: npt.NDArray[Any]) -> Weights:
        large = np.zeros(shape, dtype=np.float16)
        large[place] = small
        return large

    def idle(self, like: Weights, name: str) -> Weights:
        """A tensor of a layer that adds nothing: norms and biases are zero, matrices cost what matrices cost."""
        if like.ndim == 1:
            return np.zeros_like(like)
        return np.resize(self._noise, like.shape)


def inflate(small: Path, folder: Path, size: dict[str, int]) -> None:
    """Write the large model beside the small one's tokenizer."""
    config = json.loads((small / "config.json").read_text(encoding="utf-8"))
    made, weights = Inflation(config, size), load_file(small / "model.safetensors")
    made.padding = int(config["pad_token_id"])
    large = {name: made.placed(name, tensor) for name, tensor in weights.items()}
    first = {name: tensor for name, tensor in large.items() if name.startswith("model.layers.0.")}
    for layer in range(config["num_hidden_layers"], size["layers"]):
        for name, tensor in first.items():
            renamed = name.replace("layers.0.", f"layers.{layer}.")
            large[renamed] = made.idle(tensor, renamed)
    folder.mkdir(parents=True, exist_ok=True)
    for pattern in ("tokenizer*", "chat_template*", "generation_config.json"):
        for file in small.glob(pattern):
            shutil.copy(file, folder / file.name)
    save_file(large, folder / "model.safetensors", metadata={"format": "pt"})
    config |= {
        "hidden_size": size["hidden"],
        "intermediate_size": size["ffn"],
        "num_hidden_layers": size["layers"],
        "num_attention_heads": size["heads"],
        "num_key_value_heads": size["kv_heads"],
        "head_dim": size["head_dim"],
        "layer_types": ["full_attention"] * size["layers"],
        "rms_norm_eps": config["rms_norm_eps"] * made.small_hidden / size["hidden"],
        "vocab_size": VOCABULARY,
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 4 or sys.argv[3] not in SIZES:
        sys.exit(f"usage: inflate.py SMALL_MODEL FOLDER {{{','.join(SIZES)}}}")
    inflate(Path(sys.argv[1]), Path(sys.argv[2]), SIZES[sys.argv[3]])
