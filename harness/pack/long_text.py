"""Texts that are surely longer than a context."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from harness.errors import MeasureError

_MOST_CHARACTERS = 256
"""Most characters for each token of context that are tried: no tokenizer merges more."""


def over_context_text(content: str, encode: Callable[[str], Sequence[int]], context_length: int) -> str:
    """Repeat a text until it has more tokens than a context, counted as a whole.

    Repeated words merge into fewer tokens than one of them has alone (`word word word`, runs of blanks), so that tokens
    of a single one say nothing.

    Raises:
        MeasureError: its repetitions merge so far that it never gets there.
    """
    repeat = max(2, context_length // max(1, len(encode(content))) + 1)
    while content and repeat * len(content) <= context_length * _MOST_CHARACTERS:
        text = content * repeat
        tokens = len(encode(text))
        if tokens > context_length:
            return text
        repeat = max(repeat + 1, repeat * (context_length + 1) // max(1, tokens) + 1)
    raise MeasureError(
        f"{content[:40]!r} cannot be repeated until it has more than {context_length} tokens",
        next_step="give the over_context case a text of several words",
    )


def over_any_context(context_length: int) -> str:
    """Digits that have more tokens than a context in every tokenizer: none puts more than three of them into one.

    A byte-level vocabulary may hold longer numbers, but hardly those of an arbitrary sequence: there is a third more.
    """
    groups = context_length * 4 // 6 + 1
    return " ".join(f"{at * 48271 % 99991:05d}" for at in range(1, groups + 1))
