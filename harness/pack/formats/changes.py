"""What reading has taken from the texts of rows: ends of sequence, blanks around them, turns that nobody asks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from harness.pack.formats.question import Question, split_ends

_BLANKS = "blanks and line ends taken from around"
_MIXED = ("prompt", "input")
"""Fields that hold a text or a list of messages."""


def reading_notes(questions: Sequence[Question]) -> list[str]:
    """One line for each kind of change, with the number of questions or answers that it was made to."""
    counts = Counter(change for question in questions for change in set(_changes(question)))
    notes = [f"{what} {count} {noun}{'s' * (count != 1)}" for (what, noun), count in sorted(counts.items())]
    lists = sum(map(_is_list_of_messages, questions))
    if 0 < lists < len(questions):
        notes.append(f"rows hold lists of messages ({lists}) and texts ({len(questions) - lists})")
    return notes


def _changes(question: Question) -> Iterator[tuple[str, str]]:
    """(what was done to, `question`, `answer` or `conversation`), as far as the row still shows it."""
    if question.case is not None:  # asked as it stands
        return
    asked = question.messages[-1].content
    for text in _texts(question.row):
        bare = text.strip()
        if text != bare and _holds(asked, bare):
            yield _BLANKS, "question"
        rest, ends = split_ends(bare)
        if rest not in question.answers or text in question.answers:
            continue
        if text != bare:
            yield _BLANKS, "answer"
        for end in ends:
            yield f"'{end}' taken from the end of", "answer"
    if question.later_turns:
        yield "turns behind the last answer are not asked in", "conversation"


def _holds(asked: str, part: str) -> bool:
    """Whether a question is a text of its row, or was put together of it and of others."""
    return bool(part) and (asked == part or asked.endswith(f"\n{part}") or asked.startswith(f"{part}\n"))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _texts(inner)


def _is_list_of_messages(question: Question) -> bool:
    return any(isinstance(question.row.get(name), list) for name in _MIXED)
