"""What every format is read into: a question with the answer that the test split has for it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.grading.criterion import Expected
from harness.pack.schema import Case, Turn

Fields = Mapping[str, Any]
"""One row of a file, by the names of its fields or columns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A row that was not taken."""

    line: int
    """1-based line of the file where the row starts."""

    field: str
    """Field or column that is wrong; empty where the row as a whole is."""

    why: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.field}: {self.why}" if self.field else f"line {self.line}: {self.why}"


class RowError(ValueError):
    """A row cannot be taken: which field is wrong, and why."""

    def __init__(self, field: str, why: str) -> None:
        self.field = field
        self.why = why
        super().__init__(f"{field}: {why}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One question of a test split."""

    messages: tuple[Turn, ...]
    """The conversation up to the answer; its last turn is the user's."""

    answers: tuple[Expected, ...]
    """The right answers as the row has them; empty where `case` has a criterion of its own."""

    field: str
    """Where the row has its answer, for messages: `messages.2.content`."""

    turn: int = 0
    """Which answer of the conversation it is, from 1; 0 where only one is asked for."""

    later_turns: int = 0
    """Turns of the row behind the last answer that is asked for."""

    case: Case | None = None
    """The row itself, where it is a pack's own case already."""

    row: Fields
    """All fields of the row."""

    line: int = 0
    """1-based line of the file where the row starts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOptions:
    """What the owner of a test split says about it."""

    question: str | None = None
    """Field or column that holds the question; found by its name when left out."""

    answer: str | None = None
    """Field or column that holds the right answer; found by its name when left out."""

    system: str | None = None
    """Field or column that holds the system prompt."""

    kind: str | None = None
    """Field that says of which kind a question is; found by its name when left out."""

    cluster: str | None = None
    """Field that says what questions have in common: a conversation, a source document."""

    every_turn: bool = False
    """Ask for every assistant turn of a conversation, with what stood before it, and not only for the last one."""

    cases: int | None = None
    """Take this many questions, spread evenly over the file; all of them when left out."""


_MARKERS = ("<|im_start|>", "<|start_header_id|>", "[INST]", "<start_of_turn>", "<|user|>", "<|begin_of_text|>")
_ENDS = ("</s>", "<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|end_of_text|>", "<end_of_turn>", "<|end|>", "<eos>")


def question_text(value: Any, name: str) -> str:
    """The text of a question.

    Raises:
        RowError: it is no text, is blank, or has the markers of a chat template.
    """
    if not isinstance(value, str):
        raise RowError(name, f"{_shown(value)} is no text")
    if not value.strip():
        raise RowError(name, "is empty")
    _refuse_halves(value, name)
    marker = next((marker for marker in _MARKERS if marker in value), None)
    if marker:
        raise RowError(
            name, f"holds {marker} of a chat template: give the bare text, the model's own template is added"
        )
    return value.strip()


def answer_value(value: Any, name: str) -> Expected:
    """A right answer as it stands in a row: a text without the token that ends it, or a JSON value.

    Raises:
        RowError: it is empty.
    """
    if value is None:
        raise RowError(name, "is empty")
    _refuse_halves(value, name)
    if isinstance(value, dict | list):
        if not value:
            raise RowError(name, "is empty")
        return value
    text = value if isinstance(value, str) else json.dumps(value)
    text, _ = split_ends(text)
    if not text or text.lower() in ("nan", "<na>", "tbd", "todo"):
        raise RowError(name, f"{value!r} is no answer" if text else "is empty")
    return text


def _refuse_halves(value: Any, name: str) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise RowError(name, "holds half of a character (a lone surrogate), which no tokenizer takes") from None


def split_ends(text: str) -> tuple[str, tuple[str, ...]]:
    """(a text without blanks around it and end-of-sequence tokens at its end, these tokens)."""
    text, found = text.strip(), []
    for end in _ENDS:
        if text.endswith(end):
            found.append(end)
            text = text.removesuffix(end).rstrip()
    return text, tuple(found)


def field_value(row: Fields, name: str) -> Any:
    """The value of a field by its name, whatever its case; None where there is none."""
    if name in row:
        return row[name]
    return next((value for key, value in row.items() if key.lower() == name.lower()), None)


def optional_text(row: Fields, name: str) -> str:
    """The text of a field that may be missing or null; empty then."""
    value = field_value(row, name)
    return value.strip() if isinstance(value, str) else ""


def with_system(system: str, turns: tuple[Turn, ...]) -> tuple[Turn, ...]:
    """The turns with a system prompt in front, where there is one and they have none."""
    if not system or (turns and turns[0].role == "system"):
        return turns
    return (Turn(role="system", content=system), *turns)


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."
