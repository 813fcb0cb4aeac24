"""Regular expressions of the user's, over texts that a model wrote: none of them may search without end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import regex

from harness.errors import PackError
from harness.grading.json_values import normal

PATIENCE_S: Final = 5.0
"""Processor time for one search; sound patterns need a thousandth of it for an answer of any length."""

_SHOWN: Final = 60


class SlowPatternError(PackError):
    """A pattern searches a text longer than anybody waits: whether it matches is not known."""


def compiled(pattern: str) -> regex.Pattern[str]:
    """Compile a pattern, in NFC as the texts that it is searched in.

    Raises:
        ValueError: it is not a regular expression.
    """
    try:
        return regex.compile(normal(pattern), cache_pattern=True)
    except (regex.error, OverflowError, RecursionError) as error:
        raise ValueError(f"{pattern!r} is not a regular expression: {error}") from None


def searched(pattern: str, text: str, *, ignore_case: bool = False) -> regex.Match[str] | None:
    """The first place of a text that a pattern matches.

    Raises:
        SlowPatternError: it takes longer than `PATIENCE_S`.
    """
    flags = regex.IGNORECASE if ignore_case else 0
    try:
        return regex.search(normal(pattern), normal(text), flags, timeout=PATIENCE_S)
    except TimeoutError:
        raise _slow(pattern, text) from None


def matched_whole(pattern: str, text: str, *, ignore_case: bool = False) -> bool:
    """Whether a pattern matches a text as a whole.

    Raises:
        SlowPatternError: it takes longer than `PATIENCE_S`.
    """
    flags = regex.IGNORECASE if ignore_case else 0
    try:
        return regex.fullmatch(normal(pattern), normal(text), flags, timeout=PATIENCE_S) is not None
    except TimeoutError:
        raise _slow(pattern, text) from None


def all_matches(pattern: str, text: str) -> Iterator[regex.Match[str]]:
    """Every place of a text that a pattern matches.

    Raises:
        SlowPatternError: it takes longer than `PATIENCE_S`.
    """
    try:
        yield from regex.finditer(normal(pattern), normal(text), timeout=PATIENCE_S)
    except TimeoutError:
        raise _slow(pattern, text) from None


def _slow(pattern: str, text: str) -> SlowPatternError:
    shown = repr(text) if len(text) <= _SHOWN else f"{text[:_SHOWN]!r}..."
    return SlowPatternError(
        f"the pattern {pattern!r} was still searching after {PATIENCE_S:g} s, in an answer of {len(text)} characters: "
        f"{shown}",
        next_step="a repetition inside of a repetition, such as (a+)+, tries every way to split a text: write it with "
        "one repetition, or possessive as in (?:a++)+",
    )
