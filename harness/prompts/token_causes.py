"""Where a runtime gives a text other token ids than the model was trained with, and what is likely to cause it."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any, Final

Ids = Sequence[int]

NORMALIZER: Final = "the runtime skips the Unicode normalizer of tokenizer.json"
WHITESPACE: Final = "runs of spaces and line breaks are cut elsewhere"
PREFIX: Final = "a space in front of the text, or behind a control token, is handled otherwise"
ADDED: Final = "a control token is read otherwise"
REPETITION: Final = "a long run of one character is cut elsewhere"
SPLIT: Final = "words and marks are cut elsewhere"
REFUSED: Final = "the runtime refuses the text"

_FORMS: Final = {"NFC", "NFD", "NFKC", "NFKD"}
_BYTE: Final = re.compile(r"<0x([0-9A-F]{2})>")
_SHOWN: Final = 48
_LONGEST_PIECE: Final = 12
_AROUND: Final = 3
"""Tokens shown of each side of a difference."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizerFile:
    """What a tokenizer.json says that explains differences."""

    pieces: Mapping[int, str] = field(repr=False)
    """Texts of tokens by id, whitespace as itself."""

    controls: frozenset[int]
    """Ids of control tokens."""

    forms: tuple[str, ...]
    """Unicode normal forms that it asks for."""

    has_prefix: bool
    """Whether it puts a space in front of texts."""

    @classmethod
    def read(cls, file: Path) -> TokenizerFile:
        """The file's contents; an empty tokenizer where there is no file, or one that cannot be read."""
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            content = {}
        vocabulary = (content.get("model") or {}).get("vocab") or {}
        pairs = (
            ((piece, index) for piece, index in vocabulary.items())
            if isinstance(vocabulary, dict)
            else ((entry[0], index) for index, entry in enumerate(vocabulary))
        )
        entries = content.get("added_tokens") or []
        added = {token["id"]: token["content"].replace("\u2581", " ") for token in entries}
        steps = list(_steps(content.get("normalizer"))) + list(_steps(content.get("pre_tokenizer")))
        kinds = {step.get("type") for step in steps}
        read = _of_bytes if "ByteLevel" in kinds else _readable
        return cls(
            pieces={index: read(piece) for piece, index in pairs} | added,
            controls=frozenset(token["id"] for token in entries if token.get("special")),
            forms=tuple(sorted(_FORMS & kinds)),
            has_prefix=bool({"Prepend", "Metaspace"} & kinds),
        )

    def texts(self, ids: Ids) -> list[str]:
        """The pieces of tokens, `?` for an unknown one."""
        return [self.pieces.get(token, "?") for token in ids]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenDifference:
    """One text whose ids differ."""

    text: str
    expected: tuple[int, ...]
    """Ids in transformers."""

    found: tuple[int, ...] | None
    """Ids in the runtime; None where it refuses the text."""

    cause: str
    """What is likely to cause it."""

    shown: str
    """The pieces around the first difference, of both sides."""


def compare_ids(text: str, expected: Ids, found: Ids | None, tokenizer: TokenizerFile) -> TokenDifference | None:
    """What differs between the ids of one text; None where nothing does."""
    if found is not None and list(expected) == list(found):
        return None
    return TokenDifference(
        text=text,
        expected=tuple(expected),
        found=None if found is None else tuple(found),
        cause=_cause(text, expected, found, tokenizer),
        shown=_shown(text, expected, found, tokenizer),
    )


def describe_differences(differences: Sequence[TokenDifference], *, most: int = 1) -> str:
    """Causes with their counts, and the first differing texts."""
    return "\n".join([describe_causes(count_causes(differences)), *(one.shown for one in differences[:most])])


def count_causes(differences: Iterable[TokenDifference]) -> dict[str, int]:
    """How many texts differ for each cause, the most frequent first."""
    return dict(Counter(one.cause for one in differences).most_common())


def describe_causes(counts: Mapping[str, int]) -> str:
    """The same in words."""
    return f"likely cause: {'; '.join(f'{cause} ({count})' for cause, count in counts.items())}"


def _cause(text: str, expected: Ids, found: Ids | None, tokenizer: TokenizerFile) -> str:
    if found is None:
        return REFUSED
    if any(unicodedata.normalize(form, text) != text for form in tokenizer.forms):  # type: ignore[arg-type]
        return NORMALIZER
    at, missing, added = _first_difference(expected, found)
    if tokenizer.controls & {*missing, *added}:
        return ADDED
    letters = "".join(tokenizer.texts([*missing, *added]))
    is_at_start = at == 0 or expected[at - 1] in tokenizer.controls
    if tokenizer.has_prefix and is_at_start and _is_same_but_for_spaces(missing, added, tokenizer):
        return PREFIX
    if not letters.strip():
        return WHITESPACE
    if len(set(letters)) == 1:
        return REPETITION
    blank = [not piece.strip() or "\n" in piece or "\r" in piece for piece in tokenizer.texts([*missing, *added])]
    return WHITESPACE if blank and all(blank) else SPLIT


def _is_same_but_for_spaces(missing: Ids, added: Ids, tokenizer: TokenizerFile) -> bool:
    one, other = ("".join(tokenizer.texts(side)) for side in (missing, added))
    return one != other and one.lstrip(" ") == other.lstrip(" ")


def _first_difference(expected: Ids, found: Ids) -> tuple[int, list[int], list[int]]:
    """Where the ids first part, and the ids of both sides up to where they meet again."""
    matcher = SequenceMatcher(None, expected, found, autojunk=False)
    kind = next(code for code in matcher.get_opcodes() if code[0] != "equal")
    return kind[1], list(expected[kind[1] : kind[2]]), list(found[kind[3] : kind[4]])


def _shown(text: str, expected: Ids, found: Ids | None, tokenizer: TokenizerFile) -> str:
    quoted = repr(text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}...")
    if found is None:
        return f"{quoted} is refused"
    at, _, _ = _first_difference(expected, found)
    start = max(0, at - 1)
    sides = (_shown_pieces(ids[start : at + _AROUND], tokenizer) for ids in (expected, found))
    return f"{quoted}: transformers has {next(sides)} at token {start}, the runtime {next(sides)}"


def _shown_pieces(ids: Ids, tokenizer: TokenizerFile) -> list[str]:
    """Texts of tokens, long ones cut; the id of one that is only a part of a character."""
    pieces = zip(ids, tokenizer.texts(ids), strict=True)
    return [f"#{token}" if "\ufffd" in piece else _short(piece) for token, piece in pieces]


def _short(piece: str) -> str:
    return piece if len(piece) <= _LONGEST_PIECE else f"{piece[:4]}...({len(piece)})"


def _steps(step: Any) -> Iterator[Mapping[str, Any]]:
    """A normalizer or pre-tokenizer, and what it is made of."""
    if isinstance(step, dict):
        yield step
        for inner in (*(step.get("normalizers") or ()), *(step.get("pretokenizers") or ())):
            yield from _steps(inner)


def _readable(piece: str) -> str:
    """A piece as the text that it stands for, as far as it is whole characters."""
    byte = _BYTE.fullmatch(piece)
    if byte and int(byte[1], 16) < 0x80:
        return chr(int(byte[1], 16))
    return piece.replace("\u2581", " ")


def _of_bytes(piece: str) -> str:
    """The same of a byte-level vocabulary, whose letters are bytes (Radford et al., 2019)."""
    try:
        return bytes(_BYTE_OF_LETTER[letter] for letter in piece).decode("utf-8", errors="replace")
    except KeyError:
        return piece


def _byte_of_letter() -> dict[str, int]:
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(0x100) if byte not in shown]
    return {chr(byte): byte for byte in shown} | {chr(0x100 + place): byte for place, byte in enumerate(hidden)}


_BYTE_OF_LETTER: Final = _byte_of_letter()
