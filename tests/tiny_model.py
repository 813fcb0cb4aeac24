"""Writes real models with random weights: `TOOLCHAIN_PYTHON tiny_model.py FOLDER [ARCHITECTURE ...]`.

Without an architecture, a Qwen2 model goes to FOLDER; with some, each goes to FOLDER/ARCHITECTURE.
"""

import json
import sys
from pathlib import Path

import torch
import transformers
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

# transformers gives every qwen2 model this split, whatever tokenizer.json says; so tokenizer.json says it too.
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEMPLATE = (
    "{%- for m in messages -%}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}"
    "{%- endfor -%}{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\n' }}{%- endif -%}"
)
TEXTS = ["The quick brown fox jumps over the lazy dog.", "Error E4: the drain pump is blocked.", '{"code": "F2"}'] * 30
COMMON = {
    "vocab_size": 320,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.2,
    "bos_token_id": None,
    "eos_token_id": 2,
    "pad_token_id": 0,
    "tie_word_embeddings": False,
}
# Name in transformers, and what is peculiar to the architecture: everything here that can be left out of a graph
# unnoticed (multipliers, soft caps, partial rotation, layers without rotation, windows) is there to be noticed.
ARCHITECTURES = {
    "llama": ("Llama", {}),
    "mistral": ("Mistral", {"sliding_window": 128}),
    "qwen2": ("Qwen2", {"tie_word_embeddings": True}),
    "qwen3": ("Qwen3", {"head_dim": 32}),
    "gemma2": ("Gemma2", {"head_dim": 16, "query_pre_attn_scalar": 24, "sliding_window": 128}),
    "gemma3": ("Gemma3", {"head_dim": 16, "query_pre_attn_scalar": 24, "sliding_window": 128, "num_hidden_layers": 6}),
    "phi": ("Phi", {"num_attention_heads": 2, "partial_rotary_factor": 0.5}),
    "phi3": ("Phi3", {"original_max_position_embeddings": 512, "sliding_window": 128}),
    "granite": (
        "Granite",
        {
            "embedding_multiplier": 12.0,
            "residual_multiplier": 0.22,
            "attention_multiplier": 0.25,
            "logits_scaling": 4.0,
        },
    ),
    "smollm3": ("SmolLM3", {"no_rope_layer_interval": 4}),
    "smollm3-nope": ("SmolLM3", {"no_rope_layer_interval": 2}),
    "olmo": ("Olmo", {}),
}


def scaled(name, rope_type, *, original=None, table=(), **peculiar):
    """One of the above, stretched from a shorter context."""
    family, usual = ARCHITECTURES[name]
    lengths = {"original_max_position_embeddings": original} if original else {}
    tables = {"rope_theta": 1e4, "rope_type": rope_type, **lengths, **dict(table)}
    own = lengths if name == "phi3" else {}  # where it counts for more than the table's
    return family, {**usual, **own, **peculiar, "rope_parameters": tables}


# For each of eight pairs that rotate.
FACTORS = {"short_factor": [1 + 0.1 * pair for pair in range(8)], "long_factor": [2.0 + pair for pair in range(8)]}
LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
HALF = {**FACTORS, "partial_rotary_factor": 0.5}
PHI3 = {"max_position_embeddings": 8192, "sliding_window": None}
SCALED = {
    "llama-llama3": scaled("llama", "llama3", original=128, table=LLAMA3),
    "llama-linear": scaled("llama", "linear", table={"factor": 4.0}),
    "llama-dynamic": scaled("llama", "dynamic", table={"factor": 4.0}),
    "llama-longrope": scaled("llama", "longrope", original=128, table={"factor": 4.0, **FACTORS}),
    "qwen2-yarn": scaled("qwen2", "yarn", original=128, table={"factor": 4.0}),
    "qwen3-yarn": scaled("qwen3", "yarn", original=256, table={"factor": 2.0}),
    "phi3-longrope": scaled("phi3", "longrope", original=4096, table=FACTORS, **PHI3),
    "phi3-longrope-half": scaled("phi3", "longrope", original=4096, table=HALF, num_attention_heads=2, **PHI3),
    "phi3-longrope-128": scaled("phi3", "longrope", original=128, table=FACTORS),
    "gemma3-linear": (
        "Gemma3",
        {
            **ARCHITECTURES["gemma3"][1],
            "rope_parameters": {
                "full_attention": {"rope_type": "linear", "rope_theta": 1e6, "factor": 8.0},
                "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
            },
        },
    ),
}
ARCHITECTURES |= SCALED


def make_tokenizer(folder, tokenizer_class="Qwen2Tokenizer"):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    split = pre_tokenizers.Split(Regex(SPLIT), "isolated")
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, level])
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        TEXTS,
        trainers.BpeTrainer(vocab_size=320, initial_alphabet=alphabet, special_tokens=CONTROL, show_progress=False),
    )
    wrapped = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=CONTROL[2], pad_token=CONTROL[0], model_max_length=512
    )
    wrapped.chat_template = TEMPLATE
    wrapped.save_pretrained(folder)
    settings = folder / "tokenizer_config.json"
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "tokenizer_class": tokenizer_class}))


def make_model(folder, name):
    torch.manual_seed(0)
    family, peculiar = ARCHITECTURES[name]
    config_class = "Gemma3TextConfig" if family == "Gemma3" else f"{family}Config"
    config = getattr(transformers, config_class)(**{**COMMON, **peculiar})
    model = getattr(transformers, f"{family}ForCausalLM")(config).to(torch.float16)
    model.generation_config.eos_token_id = [2, 0]
    model.save_pretrained(folder)


def make(folder, name):
    folder.mkdir(parents=True)
    make_tokenizer(folder, "Qwen2Tokenizer" if name == "qwen2" else "PreTrainedTokenizerFast")
    make_model(folder, name)


def main(folder, *names):
    if not names:
        make(folder, "qwen2")
    for name in names:
        make(folder / name, name)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
