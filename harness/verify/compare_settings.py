"""Whether a folder has its fp32 reference export's settings."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.errors import ArtifactError

_SHAPE_SETTINGS = ("head_size", "hidden_size", "num_attention_heads", "num_hidden_layers", "num_key_value_heads")
_TOKEN_SETTINGS = ("bos_token_id", "pad_token_id")
_LENGTHS = ("context_length", "max_length")
"""May both be shorter than the source's, by the same length."""

_SEARCH_SETTINGS = (
    "diversity_penalty", "do_sample", "length_penalty", "min_length", "no_repeat_ngram_size", "num_beams",
    "num_return_sequences", "repetition_penalty", "temperature", "top_k", "top_p",
)  # fmt: skip


def setting_differences(folder: Path, reference_export: Path) -> Iterator[str]:
    """A sentence for each setting in which two folders' genai_config.json differ.

    Raises:
        ArtifactError: a file cannot be read.
    """
    ours, theirs = (_flat(_read(place / "genai_config.json")) for place in (folder, reference_export))
    for key in sorted(ours.keys() & theirs.keys()):
        if ours[key] != theirs[key] and key not in _LENGTHS:
            yield f"genai_config.json says {key} {ours[key]}, the source gives {theirs[key]}"
    most, context = ours.get("max_length"), ours.get("context_length")
    if most is not None and most != context:
        yield f"genai_config.json ends answers at max_length {most}, its context at {context}"


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that shape answers; a missing one is the builder's default."""
    model, search = settings["model"], settings.get("search") or {}
    groups = [(model, _TOKEN_SETTINGS), (model["decoder"], _SHAPE_SETTINGS), (search, _SEARCH_SETTINGS)]
    found = {key: group[key] for group, keys in groups for key in keys if group.get(key) is not None}
    ports = {key: name for side in ("inputs", "outputs") for key, name in (model["decoder"].get(side) or {}).items()}
    lengths = {"context_length": model.get("context_length"), "max_length": search.get("max_length")}
    return {**found, **ports, **lengths, "type": model.get("type")}


def _read(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{file.name} cannot be read: {error}", where=str(file)) from error
