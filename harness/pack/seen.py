"""Which answers a draft was made from, field by field: what its owner checks before confirming it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from harness.pack.schema import Case

_LISTED = 24
"""Different values of a field up to which all are listed."""

_EXAMPLES = 3
_WIDTH = 40
"""Characters of a value that are shown."""


def seen_answers(cases: Sequence[Case]) -> list[str]:
    """One line for each field of the right answers: in how many it stands, and its values with their numbers.

    Fields of objects inside of objects are called `address.city`. Empty where answers have no fields and are not from
    a short list either.
    """
    answers = [answer for case in cases for answer in case.right_answers]
    found: dict[str, Counter[str]] = {}
    for answer in answers:
        for name, value in _fields(answer, ""):
            found.setdefault(name, Counter())[_shown(value)] += 1
    is_free = set(found) == {""} and len(found[""]) > _LISTED
    return [] if is_free else [_line(name, counts, len(answers)) for name, counts in found.items()]


def _fields(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, dict) or not value:
        yield name, value
        return
    for key, inner in value.items():
        yield from _fields(inner, f"{name}.{key}" if name else str(key))


def _line(name: str, counts: Counter[str], total: int) -> str:
    is_listed = len(counts) <= _LISTED
    values = counts.most_common(None if is_listed else _EXAMPLES)
    shown = ", ".join(f"{value} ({count})" if is_listed else value for value, count in values)
    how_many = "" if is_listed else f"{len(counts)} different ones, such as "
    place = f"{_plain(name)}, in {counts.total()} of {total} answers" if name else f"{total} answers"
    return f"{place}: {how_many}{shown}"


def _shown(value: Any) -> str:
    text = _plain(value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False))
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 3]}..."


def _plain(text: str) -> str:
    """A text on one line, without signs that a comment may not have."""
    return "".join(sign if sign.isprintable() else " " for sign in text)
