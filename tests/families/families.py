"""The families under test: a published tokenizer each, and what a small model under it is made of."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

LLAMA2 = (
    "{%- for m in messages -%}{%- if m.role == 'user' -%}{{ bos_token + '[INST] ' + m.content + ' [/INST]' }}"
    "{%- elif m.role == 'system' -%}{{ '<<SYS>>\\n' + m.content + '\\n<</SYS>>\\n\\n' }}"
    "{%- else -%}{{ ' ' + m.content + ' ' + eos_token }}{%- endif -%}{%- endfor -%}"
)
TINYLLAMA = (
    "{%- for m in messages -%}{{ '<|' + m.role + '|>\\n' + m.content + eos_token + '\\n' }}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|assistant|>\\n' }}{%- endif -%}"
)
HARMONY = (
    "{%- for m in messages -%}{{ '<|start|>' + m.role + '<|message|>' + m.content + '<|end|>' }}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|start|>assistant<|channel|>final<|message|>' }}{%- endif -%}"
)


@dataclass(frozen=True, kw_only=True)
class Family:
    """One published tokenizer under random weights."""

    package: str
    family: str = "Llama"
    """Architecture in transformers."""

    config: dict[str, Any] = field(default_factory=dict)
    """Peculiarities of config.json."""

    tokenizer_config: dict[str, Any] = field(default_factory=dict)
    """What differs from the published tokenizer_config.json."""

    template: str | None = None
    """Chat template; None where the package has one."""

    trained_with: str = "4.57.0"
    """Release of transformers that config.json names."""

    def settings(self) -> dict[str, Any]:
        """What make_family.py is told."""
        return asdict(self)


FAMILIES: dict[str, Family] = {
    "qwen3": Family(package="qwen3", family="Qwen3", config={"tie_word_embeddings": True}),
    "llama3_1": Family(package="llama3_1"),
    "gemma3": Family(package="gemma3", family="Gemma3", config={"sliding_window": 512}),
    "llama2": Family(package="llama2", template=LLAMA2, trained_with="4.31.0"),
    "tinyllama": Family(
        package="llama2", template=TINYLLAMA, trained_with="4.35.0", tokenizer_config={"legacy": False}
    ),
    "gptoss": Family(package="gptoss", template=HARMONY),
    "deepseek_v3": Family(package="deepseek_v3"),
}
"""With the release that published models name, which decides what SentencePiece-like tokenizers are."""

TRAINED_WITH_5 = {
    name: Family(**{**asdict(FAMILIES[name]), "trained_with": "5.23.0"}) for name in ("llama2", "tinyllama")
}
"""The same files, fine-tuned with transformers 5, which rebuilds such tokenizers."""

ALL = {**FAMILIES, **{f"{name}_trained_with_5": family for name, family in TRAINED_WITH_5.items()}}
