"""Whether a folder has its fp32 reference export's settings and its source's tokenizer."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
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


def tokenizer_differences(folder: Path, places: tuple[Path, ...]) -> Iterator[str]:
    """A sentence for each part of tokenizer.json that is none of those in `places`.

    Vocabulary, merges, control tokens and decoder are compared as a whole: a few texts do not use all of them.

    Raises:
        ArtifactError: a file cannot be read.
    """
    mine = _read(folder / "tokenizer.json") if (folder / "tokenizer.json").is_file() else None
    others = [_read(place / "tokenizer.json") for place in places if (place / "tokenizer.json").is_file()]
    if mine is None or not others:
        return
    for part, read in _TOKENIZER_PARTS.items():
        if read(mine) not in [read(other) for other in others]:
            yield f"the {part} of tokenizer.json is not the source's"


def _merges(tokenizer: Mapping[str, Any]) -> list[str]:
    """Each pair as one text, as files had them until 2024."""
    merges = (tokenizer.get("model") or {}).get("merges") or []
    return [merge if isinstance(merge, str) else " ".join(merge) for merge in merges]


def _control_tokens(tokenizer: Mapping[str, Any]) -> dict[str, Any]:
    flags = ("id", "special", "lstrip", "rstrip", "single_word")
    return {token["content"]: [token.get(flag) for flag in flags] for token in tokenizer.get("added_tokens") or []}


_TOKENIZER_PARTS: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {
    "vocabulary": lambda tokenizer: (tokenizer.get("model") or {}).get("vocab"),
    "list of merges": _merges,
    "list of control tokens": _control_tokens,
    "decoder": lambda tokenizer: tokenizer.get("decoder"),
}
