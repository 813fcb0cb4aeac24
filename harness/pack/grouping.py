"""Which questions of a test split belong together, by the fields of its rows: kinds, and clusters."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Any

from harness.errors import PackError
from harness.pack import defaults
from harness.pack.answer_draft import Drafted
from harness.pack.formats.question import Question, ReadOptions, field_value
from harness.pack.schema import OUT_OF_SCOPE, Case
from harness.pack.schema_draft import discriminator

_KINDS = ("kind", "category", "type", "task", "topic", "intent", "domain", "subject")
_CLUSTERS = (
    "cluster", "conversation_id", "conv_id", "document_id", "doc_id", "document", "source_document", "source_id",
    "source", "context_id", "group", "thread_id", "session_id", "context",
    "passage", "paragraph", "article",
)  # fmt: skip
_SOURCES = ("source", "group")
"""Names of clusters that as often say where rows come from: a handful of files or teams, in which nothing depends."""

_MOST_TOGETHER = 20
"""Questions of a cluster, on average, above which a name of `_SOURCES` is not taken for one."""

_MOST_KINDS = 40


def kinds_of_questions(drafted: Drafted, options: ReadOptions, notes: list[str]) -> list[str]:
    """The kind of each question, and a note of where it comes from.

    Raises:
        PackError: the rows have no field of the name that their owner gave.
    """
    questions = drafted.questions
    if all(question.case is not None for question in questions):
        return [question.case.kind for question in questions if question.case is not None]
    field = options.kind or next((name for name in _KINDS if _is_grouping(questions, name)), None)
    if field is not None:
        if not any(field_value(question.row, field) is not None for question in questions):
            raise PackError(f"has no field {field!r}", where="--kind", next_step="name a field of the rows")
        notes.append(f"kinds are the values of {field}")
        return [_kind(field_value(question.row, field)) for question in questions]
    by_answer = discriminator([question.answers[0] for question in questions if question.answers])
    if by_answer is not None and all(question.answers for question in questions):
        notes.append(f"kinds are the values of {by_answer} in the expected answers")
        return [_kind(question.answers[0][by_answer]) for question in questions]  # type: ignore[call-overload,index]
    if drafted.settings.labels is not None:
        notes.append("kinds are the expected labels")
        return [_kind(question.answers[0]) for question in questions]
    return ["question"] * len(questions)


def _is_grouping(questions: Sequence[Question], name: str) -> bool:
    values = [field_value(question.row, name) for question in questions]
    if not all(isinstance(value, str) and value.strip() for value in values):
        return False
    different = len(set(values))
    return 2 <= different <= min(_MOST_KINDS, len(values) // 2)


def _kind(value: Any) -> str:
    text = str(value).strip() if value is not None else ""
    if re.sub(r"[^a-z]", "", text.lower()) in ("outofscope", "oos", "offtopic"):
        return OUT_OF_SCOPE
    return text or "question"


def cluster_field(questions: Sequence[Question], notes: list[str]) -> str | None:
    """The field that several rows share a value of, and that is named like one."""
    for name in _CLUSTERS:
        values = [field_value(question.row, name) for question in questions]
        texts = [str(value) for value in values if isinstance(value, str | int) and str(value).strip()]
        is_provenance = name in _SOURCES and len(texts) > _MOST_TOGETHER * len(set(texts))
        if len(texts) == len(values) and 2 <= len(set(texts)) < len(texts) and not is_provenance:
            notes.append(f"questions with the same {name} are clusters: their answers depend on each other")
            return name
    return None


def cluster_of(question: Question, field: str | None, options: ReadOptions) -> str | None:
    """What a question shares with others, by the value of a field; None where it stands alone."""
    if question.case is not None and question.case.cluster:
        return question.case.cluster
    value = field_value(question.row, field) if field else None
    if isinstance(value, str | int) and str(value).strip():
        text = str(value).strip()
        return text if len(text) <= 80 else f"{text[:60]}...{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    return f"row-{question.line}" if options.every_turn and question.turn else None


def unused_fields(questions: Sequence[Question], cases: Sequence[Case]) -> list[str]:
    """Fields with texts, or with what texts are made of, that neither a question nor its answer nor its kind shows."""
    found: dict[str, bool] = {}
    for question, case in zip(questions, cases, strict=True):
        used = {question.field.split(".")[0], "id", "split", "messages", "conversations", "conversation", "weight"}
        turns = [part for turn in question.messages for part in (turn.role, turn.content)]
        answers = [defaults.written(answer) for answer in question.answers]
        shown = "\n".join([*turns, "assistant", *answers, case.kind, case.cluster or "", case.id])
        for name, value in question.row.items():
            if name.lower() not in used and name not in used and value not in (None, "", [], {}):
                found[name] = found.get(name, False) or not _is_shown(value, shown)
    return [name for name, is_unused in found.items() if is_unused]


def _is_shown(value: Any, text: str) -> bool:
    """Whether a value, or all that it is made of, stands in a text."""
    if isinstance(value, dict | list):
        inner = value.values() if isinstance(value, dict) else value
        return all(_is_shown(one, text) for one in inner)
    return " ".join(str(value).split()) in " ".join(text.split())
