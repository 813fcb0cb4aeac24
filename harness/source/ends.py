"""What ends an answer: what the configs say, held against the chat template and the tokenizer.

A model is tuned to close its turn with one token; generation stops at those that the configs name. Where the former is
not among the latter, no answer ends before the limit of tokens.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from harness.errors import GateError, SourceError
from harness.prompts.chat_template import ChatTemplate

_FILES = ("generation_config.json", "config.json")
"""Where a source's ends stand; the first file that names any counts, as in transformers and in ModelBuilder."""

_OF_ARTIFACTS = "genai_config.json"
"""Where those of a converted model stand, and nowhere else."""

_ASKED, _REPLIED = "Qaskedq", "Qrepliedq"
"""Contents that no chat template contains."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfiguredEnds:
    """The tokens at which generation stops."""

    ids: tuple[int, ...]
    """Token ids; empty where no file names one."""

    file: str
    """Name of the file that names them, or that should."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndToken:
    """A token that the model was, or may have been, tuned to end with."""

    id: int
    text: str


def configured_ends(folder: Path) -> ConfiguredEnds:
    """What the configs of a model's folder, a source's or a converted one, name.

    Raises:
        SourceError: a config cannot be read.
    """
    is_converted = (folder / _OF_ARTIFACTS).is_file()
    files = (_OF_ARTIFACTS,) if is_converted else _FILES
    for name in files:
        settings = _read(folder / name)
        stated = (settings.get("model") or {} if is_converted else settings).get("eos_token_id")
        ids = tuple(token for token in (stated if isinstance(stated, list) else [stated]) if _is_id(token))
        if ids:
            return ConfiguredEnds(ids=ids, file=name)
    return ConfiguredEnds(ids=(), file=files[0])


def end_of_turn(folder: Path) -> EndToken | None:
    """The token with which the chat template closes an assistant's turn: the first one behind the words of the answer.

    None where the template cannot be rendered, or closes a turn with no token of its own.
    """
    turns = [{"role": "user", "content": _ASKED}, {"role": "assistant", "content": _REPLIED}]
    try:
        text = ChatTemplate(folder).render(turns, add_generation_prompt=False)
        ids = _added_tokens(folder)
    except GateError:  # told by who needs the template
        return None
    behind = text.rpartition(_REPLIED)[2]
    found = [(behind.index(token), -len(token), token) for token in ids if token in behind]
    if _REPLIED not in text or not found:
        return None
    token = min(found)[2]
    return EndToken(id=ids[token], text=token)


def end_of_sequence(folder: Path) -> EndToken | None:
    """The tokenizer's own end of sequence; None where it names none, or one that it does not have."""
    stated = _read(folder / "tokenizer_config.json").get("eos_token")
    text = stated.get("content") if isinstance(stated, dict) else stated
    ids = _added_tokens(folder)
    return EndToken(id=ids[text], text=text) if isinstance(text, str) and text in ids else None


def require_ends(folder: Path) -> None:
    """Refuse a model of which no config says how an answer ends.

    Raises:
        SourceError: with the token that template or tokenizer suggest.
    """
    if configured_ends(folder).ids:
        return
    known = end_of_turn(folder) or end_of_sequence(folder)
    entry = f'"eos_token_id": {known.id} ({known.text})' if known else "eos_token_id"
    raise SourceError(
        "nothing says how an answer ends: no config names an eos_token_id",
        where=str(folder / _FILES[0]),
        next_step=f"put {entry} into generation_config.json",
    )


def end_remark(folder: Path) -> str | None:
    """Why answers may never end, and what to do; None where the configs name what the model was tuned to end with.

    A tokenizer's end of sequence that no config names is harmless as long as the template's end of turn is named:
    published chat models have more ends than one.

    Raises:
        SourceError: a config cannot be read.
    """
    configured = configured_ends(folder)
    turn = end_of_turn(folder)
    expected = turn or end_of_sequence(folder)
    if expected is None:
        return _unknown_remark(folder, configured)
    if expected.id in configured.ids or not configured.ids:
        return None
    who = "the chat template closes a turn" if turn else "the tokenizer ends a sequence"
    ids = json.dumps([*configured.ids, expected.id])
    fix = configured.file if configured.file == _OF_ARTIFACTS else _FILES[0]
    return (
        f"answers may never end: {who} with {expected.text!r} ({expected.id}), {configured.file} names "
        f'{_named(folder, configured.ids)} only; put "eos_token_id": {ids} into {fix}'
    )


def _unknown_remark(folder: Path, configured: ConfiguredEnds) -> str | None:
    """Ends of which the tokenizer has none: it was saved without the tokens that tuning added."""
    known = _token_ids(folder)
    if not known or not configured.ids or known & set(configured.ids):
        return None
    return (
        f"answers may never end: {configured.file} names token {', '.join(map(str, configured.ids))}, which "
        "tokenizer.json does not have; save the tokenizer that the model was tuned with"
    )


def _named(folder: Path, ids: tuple[int, ...]) -> str:
    texts = {number: text for text, number in _added_tokens(folder).items()}
    return ", ".join(f"{texts[number]!r} ({number})" if number in texts else str(number) for number in ids)


def _added_tokens(folder: Path) -> dict[str, int]:
    """Ids of the tokens that stand outside a tokenizer's ordinary vocabulary, by their text."""
    added = _read(folder / "tokenizer.json").get("added_tokens")
    entries = [entry for entry in added or [] if isinstance(entry, dict)] if isinstance(added, list) else []
    named = _read(folder / "tokenizer_config.json").get("added_tokens_decoder")
    if not entries and isinstance(named, dict):  # a tokenizer of SentencePiece's alone
        entries = [{**entry, "id": int(number)} for number, entry in named.items() if number.isdigit()]
    return {entry["content"]: entry["id"] for entry in entries if entry.get("content") and _is_id(entry.get("id"))}


def _token_ids(folder: Path) -> set[int]:
    """Every id of tokenizer.json; empty where there is no such file."""
    model = _read(folder / "tokenizer.json").get("model") or {}
    pieces = model.get("vocab") or {}
    ids = set(range(len(pieces))) if isinstance(pieces, list) else {*filter(_is_id, pieces.values())}
    return ids | {*_added_tokens(folder).values()} if pieces else set()


def _is_id(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _read(file: Path) -> Mapping[str, Any]:
    """The object in a JSON file; empty where there is no such file."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{file.name} is not valid JSON: {error}", where=str(file)) from error
    return content if isinstance(content, dict) else {}
