"""Says in words where two prompts begin to differ, and what it means to the model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import takewhile
from typing import Final

_PIECE: Final = re.compile(r"<\|[^|<>]*\|>|</?[A-Za-z_]+>|\[/?[A-Z_]+\]|\n|[^\S\n]+|\w+|.", re.DOTALL)
"""What a person sees as one thing: a control token, a line break, a run of spaces, a word."""

_ASSISTANTS: Final = frozenset({"assistant", "model", "<|assistant|>"})
_SHOWN: Final = 60
_ALIGNED: Final = 16
"""So many equal characters after a difference show that it ends there."""


def template_differences(expected: str, actual: str) -> str | None:
    """What `actual` does otherwise than `expected`, at the first place where they part; None if they are equal.

    `expected` is the prompt that the model was trained on, as its chat template makes it; `actual` the one in doubt.
    """
    if expected == actual:
        return None
    difference = _line_break_difference(expected, actual) or _first_difference(
        _PIECE.findall(expected), _PIECE.findall(actual)
    )
    if difference.missing and difference.added:
        return f"{_where(difference)}, {_quoted(difference.added)} in place of {_quoted(difference.missing)}"
    return _one_sided(difference)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Difference:
    """The first run of pieces that only one of the prompts has."""

    before: str
    """What both say in front of it; empty at the beginning."""

    missing: str
    """What only the expected prompt says."""

    added: str
    """What only the actual prompt says."""

    at_end: bool
    """Nothing follows in the prompt that says more."""

    @property
    def opens_assistant(self) -> bool:
        """It stands where the assistant's turn opens."""
        last = _PIECE.findall(self.before)[-2:]
        opener = bool(last) and (last[-1] in _ASSISTANTS or last[0] in _ASSISTANTS)
        return opener or (self.at_end and not (self.missing + self.added).strip())


def _line_break_difference(expected: str, actual: str) -> _Difference | None:
    """The first difference, if only line breaks make it: without them the next characters are the same."""
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(expected, actual, strict=False)))
    rest, other = expected[same:], actual[same:]
    missing, added = _line_breaks(rest), _line_breaks(other)
    if rest[len(missing) :][:_ALIGNED] != other[len(added) :][:_ALIGNED]:
        return None
    at_end = len(rest) == len(missing)
    return _Difference(before=expected[:same], missing=missing, added=added, at_end=at_end)


def _line_breaks(text: str) -> str:
    return text[: len(text) - len(text.lstrip("\n"))]


def _first_difference(expected: Sequence[str], actual: Sequence[str]) -> _Difference:
    same = 0
    while same < min(len(expected), len(actual)) and expected[same] == actual[same]:
        same += 1
    matcher = SequenceMatcher(None, expected[same:], actual[same:], autojunk=False)
    _, _, missing_end, _, added_end = matcher.get_opcodes()[0]
    missing, added = expected[same : same + missing_end], actual[same : same + added_end]
    longer = expected if missing else actual
    return _Difference(
        before="".join(expected[:same]),
        missing="".join(missing),
        added="".join(added),
        at_end=same + max(missing_end, added_end) == len(longer),
    )


def _one_sided(difference: _Difference) -> str:
    missing = bool(difference.missing)
    text = difference.missing or difference.added
    if text.strip("\n"):
        if difference.at_end and missing and _opens_turn(text):
            return f"the assistant turn is not opened: {_quoted(text)} is missing at the end"
        return f"{_where(difference)}, {_quoted(text)} is {'missing' if missing else 'added'}"
    newlines = "newline" if len(text) == 1 else f"{len(text)} newlines"
    if difference.opens_assistant:
        return f"the assistant turn opens {'without its' if missing else 'with a further'} {newlines}"
    return f"{_where(difference)}, {'without the' if missing else 'with a further'} {newlines}"


def _opens_turn(text: str) -> bool:
    return any(piece in _ASSISTANTS for piece in _PIECE.findall(text))


def _where(difference: _Difference) -> str:
    if not difference.before:
        return "at the beginning"
    context = difference.before[-24:] if len(difference.before) > 24 else difference.before
    return f"after {context!r}"


def _quoted(text: str) -> str:
    shown = text if len(text) <= _SHOWN else f"{text[: _SHOWN - 20]}...{text[-17:]}"
    return repr(shown)
