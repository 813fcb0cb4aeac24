"""The tensors of an adapter's file, sorted by the names that PEFT gives them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from harness.source.adapter import Adapter

Shape = tuple[int, ...]

_PREFIX = "base_model.model."
_PARTS = {
    "down": r"(.+)\.lora_A\.weight",
    "up": r"(.+)\.lora_B\.weight",
    "bias": r"(.+)\.lora_B\.bias",
    "embedding_down": r"(.+)\.lora_embedding_A",
    "embedding_up": r"(.+)\.lora_embedding_B",
    "magnitude": r"(.+)\.lora_magnitude_vector(?:\.weight)?",
    "rows": r"(.+)\.token_adapter\.trainable_tokens_delta",
}
"""How PEFT calls the tensors that it adds to a module."""

_VECTORS = ("bias", "magnitude")
"""All others are matrices."""

_WHOLE = re.compile(r"(.+?)(?:\.token_adapter)?(?:\.base_layer)?\.(weight|bias)")
_COPY = re.compile(r"(.+)\.(?:modules_to_save|original_module)\.(\w+)")
_WRAPPER = re.compile(r"\.(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module|default)\.")


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterTensors:
    """The adapter's tensors by what they are for."""

    parts: Mapping[str, Mapping[str, str]]
    """Of each module, the names of what PEFT added to it."""

    wholes: Mapping[str, str]
    """Of each tensor of the base that the adapter holds itself, the adapter's name of it."""


def sort_tensors(adapter: Adapter, tensors: Mapping[str, Shape]) -> AdapterTensors:
    """The tensors of an adapter's file by what PEFT made them for.

    Raises:
        SourceError: they are empty, PEFT would not load one, or one is of a method that is not merged here.
    """
    _require_full(adapter, tensors)
    parts: dict[str, dict[str, str]] = {}
    wholes: dict[str, str] = {}
    for name in tensors:
        plain = name.removeprefix(_PREFIX)
        wrapper = _WRAPPER.search(name)
        if plain == name or wrapper:
            reason = f"{wrapper[1]} is in its name" if wrapper else f"its name does not begin with {_PREFIX}"
            raise adapter.refused(
                f"PEFT would not load the adapter's {name}: {reason}",
                "save the unwrapped model with its own save_pretrained(folder)",
            )
        copied = _COPY.fullmatch(plain)
        if copied and f"{_PREFIX}{copied[1]}.{copied[2]}" in tensors:
            continue  # peft saves what it trained as a whole twice where the vocabulary was resized
        added = next(((part, at) for part, own in _PARTS.items() if (at := re.fullmatch(own, plain))), None)
        whole = _WHOLE.fullmatch(plain)
        if added and len(tensors[name]) != (1 if added[0] in _VECTORS else 2):
            raise adapter.refused(f"the adapter's {name} has the shape {list(tensors[name])}, which is not LoRA's")
        if added:
            parts.setdefault(added[1][1], {})[added[0]] = name
        elif whole and not copied and ".lora_" not in plain:
            wholes[f"{whole[1]}.{whole[2]}"] = name
        else:
            raise adapter.refused(f"the adapter's {name} is no part of LoRA that is merged here")
    return AdapterTensors(parts=parts, wholes=wholes)


def _require_full(adapter: Adapter, tensors: Mapping[str, Shape]) -> None:
    empty = [name for name, shape in tensors.items() if 0 in shape]
    if empty:
        raise adapter.refused(
            f"the adapter's tensors are empty ({len(empty)} of {len(tensors)}, first {empty[0]}): "
            "gather them before saving",
            "each process held a part of the weights (DeepSpeed ZeRO-3, FSDP) when it was saved: have them gathered, "
            "for DeepSpeed with stage3_gather_16bit_weights_on_model_save, and save the adapter again",
        )
