"""Drafts what a pack asks of answers from the answers of a test split: JSON, lines, numbers, labels or free text."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from harness.grading.criterion import Expected
from harness.grading.json_values import kind_of, normal, parse_json
from harness.grading.settings import THINK, AnswerSettings, FieldRule, LineRule, finite
from harness.grading.take import take_answer
from harness.pack.formats.question import Question
from harness.pack.schema_draft import MOST_VALUES, SEEN_EACH, draft_schema, is_closed, odd_answers

MOST = 0.9
"""Share of answers that must have a form before the others are taken for slips."""

SHORT_CHARACTERS = 60
"""Up to this length an answer is expected word for word."""

SIMILAR = 0.5
"""F1 of words from which a longer answer counts as right, until its owner has confirmed another number."""

_MARKERS = (
    THINK,
    ("<thinking>", "</thinking>"),
    ("<reasoning>", "</reasoning>"),
    ("<thought>", "</thought>"),
    ("[THINK]", "[/THINK]"),
)
_FINAL = r"(?m)^####\s*(.+)$"
_NUMBER = r"[-+]?[0-9][0-9,]*(\.[0-9]+)?([eE][-+]?[0-9]+)?"


@dataclass(frozen=True, slots=True, kw_only=True)
class Drafted:
    """Questions with their answers as they will be graded, and the form that the answers seem to have."""

    questions: tuple[Question, ...]
    settings: AnswerSettings
    schema: dict[str, Any] | None
    form: str
    """For the report: what answers seem to be."""

    slips: tuple[tuple[Question, str], ...] = ()
    """Questions that are left out, because their answer has not the form of the others, and why."""

    notes: tuple[str, ...] = ()
    """What was changed in answers."""


def draft_answers(questions: Sequence[Question]) -> Drafted:
    """Infer what answers look like; every inference is one to be confirmed."""
    kept, thinking, slips = _without_thinking(questions)
    base: dict[str, Any] = {"thinking": thinking} if thinking else {}
    notes = [f"answers stand behind a thinking part ({thinking_text(thinking)})"] if thinking else []
    for attempt in (_as_json, _as_final_line, _as_lines, _as_labels, _as_numbers):
        found = attempt(kept, base)
        if found is not None:
            break
    else:
        found = _as_text(kept, base)
    return replace(found, slips=(*slips, *found.slips), notes=(*notes, *found.notes))


def thinking_text(thinking: Any) -> str:
    """The markers of thinking parts, for messages."""
    pairs = (THINK,) if thinking is True else thinking
    return ", ".join(f"{first} ... {last}" for first, last in pairs)


def _without_thinking(
    questions: Sequence[Question],
) -> tuple[list[Question], Any, list[tuple[Question, str]]]:
    texts = [answer for question in questions for answer in question.answers if isinstance(answer, str)]
    pairs = [pair for pair in _MARKERS if any(text.lstrip().startswith(pair[0]) for text in texts)]
    if not pairs:
        return list(questions), None, []
    settings = AnswerSettings(thinking=tuple(pairs))
    kept, slips = [], []
    for question in questions:
        taken = [take_answer(one, settings) if isinstance(one, str) else None for one in question.answers]
        if any(one is not None and (one.problem or not one.answer.strip()) for one in taken):
            slips.append((question, "the thinking part is not closed, or nothing follows it"))
            continue
        answers = [one.answer.strip() if one else given for one, given in zip(taken, question.answers, strict=True)]
        kept.append(replace(question, answers=tuple(answers)))
    return kept, True if pairs == [THINK] else tuple(pairs), slips


Read = Callable[[Expected], Any]
"""Reads an answer as one of a form; None where it is none."""


def _split(questions: Sequence[Question], read: Read) -> tuple[list[Question], list[Question]]:
    """(questions with their answers read, the others); questions without answers of their own are kept."""
    kept, others = [], []
    for question in questions:
        values = [read(answer) for answer in question.answers]
        if any(value is None for value in values):
            others.append(question)
        else:
            kept.append(replace(question, answers=tuple(values)))
    return kept, others


def _is_form(kept: Sequence[Question], others: Sequence[Question]) -> bool:
    asked = [question for question in kept if question.answers]
    return bool(asked) and len(asked) >= MOST * (len(asked) + len(others))


def _as_json(questions: Sequence[Question], base: Mapping[str, Any]) -> Drafted | None:
    fenced: list[str] = []

    def read(answer: Expected) -> Any:
        if not isinstance(answer, str):
            return answer
        taken = take_answer(answer, AnswerSettings(code_fence=True))
        try:
            value = parse_json(taken.answer)
        except ValueError:
            return None
        if kind_of(value) not in ("object", "array") or not value:
            return None
        if taken.around_characters:
            fenced.append(answer)
        return value

    kept, others = _split(questions, read)
    if not _is_form(kept, others):
        return None
    slips = [(question, "the answer is not JSON, as nearly all others are") for question in others]
    odd = iter(odd_answers([value for question in kept for value in question.answers]))
    told = [(question, next(filter(None, [next(odd) for _ in question.answers]), "")) for question in kept]
    slips += [(question, why) for question, why in told if why]
    kept = [question for question, why in told if not why]
    values = [value for question in kept for value in question.answers]
    is_allowed = len(fenced) > (1 - MOST) * len(values)
    settings = AnswerSettings.model_validate({**base, **({"code_fence": True} if is_allowed else {})})
    stand = "answer stands" if len(fenced) == 1 else "answers stand"
    note = f"{len(fenced)} {stand} in a code fence, which is {'' if is_allowed else 'not '}allowed around answers"
    notes = (note,) if fenced else ()
    return Drafted(
        questions=tuple(kept),
        settings=settings,
        schema=draft_schema(values),
        form="JSON, with a schema drafted from the answers",
        slips=tuple(slips),
        notes=notes,
    )


def _as_final_line(questions: Sequence[Question], base: Mapping[str, Any]) -> Drafted | None:
    """Answers whose result stands behind `####`, as in GSM8K."""
    settings = AnswerSettings.model_validate({**base, "take": _FINAL})

    def read(answer: Expected) -> Any:
        return take_answer(answer, settings).answer.strip() or None if isinstance(answer, str) else None

    kept, others = _split(questions, read)
    if not _is_form(kept, others):
        return None
    if all(finite(str(answer)) is not None for question in kept for answer in question.answers):
        settings = settings.model_copy(update={"whole": FieldRule(compare="number")})
    return Drafted(
        questions=tuple(kept),
        settings=settings,
        schema=None,
        form="a result behind ####",
        slips=tuple((question, "has no line that begins with ####") for question in others),
    )


_LINE = re.compile(r"^\s*([^\W\d_][^:\n]{0,40}?)\s*:\s*(\S.*?)\s*$")


def _as_lines(questions: Sequence[Question], base: Mapping[str, Any]) -> Drafted | None:
    def read(answer: Expected) -> Any:
        if not isinstance(answer, str):
            return None
        found = [_LINE.match(line) for line in normal(answer).split("\n") if line.strip()]
        values = {match[1]: match[2] for match in found if match}
        return values if len(values) == len(found) and len(values) > 1 else None

    kept, others = _split(questions, read)
    if not _is_form(kept, others):
        return None
    values: list[Any] = [value for question in kept for value in question.answers]
    labels = list(dict.fromkeys(label for value in values for label in value))
    if len(labels) > 12:
        return None
    rules = {label: _line_rule([value[label] for value in values if label in value], len(values)) for label in labels}
    return Drafted(
        questions=tuple(kept),
        settings=AnswerSettings.model_validate({**base, "lines": rules}),
        schema=None,
        form=f"lines with the labels {', '.join(labels)}",
        slips=tuple((question, "does not consist of lines `label: value`") for question in others),
    )


def _line_rule(values: Sequence[str], total: int) -> LineRule:
    is_optional = len(values) < total
    if is_closed(values):
        return LineRule(values=tuple(sorted(set(values))), optional=is_optional)
    return LineRule(pattern=".+", optional=is_optional)


def _as_labels(questions: Sequence[Question], base: Mapping[str, Any]) -> Drafted | None:
    texts = [answer for question in questions for answer in question.answers]
    if not texts or not all(_is_short(text) for text in texts):
        return None
    spelling = _spellings([str(text) for text in texts])
    counts = Counter(spelling[str(text)] for text in texts)
    rare = {label: hint for label in counts if (hint := _likelier(label, counts))}
    common = [label for label in counts if label not in rare]
    total = sum(counts[label] for label in common)
    if not 2 <= len(common) <= MOST_VALUES or total < max(10, SEEN_EACH * len(common)):
        return None
    kept, slips = [], []
    for question in questions:
        answers = [spelling[str(answer)] for answer in question.answers]
        odd = next((answer for answer in answers if answer in rare), None)
        if odd is None:
            kept.append(replace(question, answers=tuple(dict.fromkeys(answers))))
        else:
            slips.append((question, f"the label {odd!r} stands nowhere else (did you mean {rare[odd]!r}?)"))
    changed = sorted(text for text, label in spelling.items() if text != label)
    shown = ", ".join(f"{text!r} as {spelling[text]!r}" for text in changed[:5])
    return Drafted(
        questions=tuple(kept),
        settings=AnswerSettings.model_validate({**base, "labels": sorted(common)}),
        schema=None,
        form=f"one of {len(common)} labels",
        slips=tuple(slips),
        notes=(f"labels are spelled in several ways, and were read as the commonest: {shown}",) if changed else (),
    )


def _is_short(answer: Expected) -> bool:
    return isinstance(answer, str) and len(answer) <= SHORT_CHARACTERS and "\n" not in answer.strip()


def _spellings(texts: Sequence[str]) -> dict[str, str]:
    """Each text with the commonest spelling of what differs from it in case, blanks and a full stop only."""
    counts = Counter(texts)
    groups: dict[str, list[str]] = {}
    for text in counts:
        groups.setdefault(" ".join(normal(text).casefold().split()).rstrip(".!"), []).append(text)
    return {text: max(group, key=lambda one: counts[one]) for group in groups.values() for text in group}


def _likelier(label: str, counts: Counter[str]) -> str:
    """The frequent label that a rare one is a slip of; empty where there is none."""
    if counts[label] > 2:
        return ""
    frequent = [other for other, count in counts.items() if count >= 10 * counts[label]]
    return next(iter(difflib.get_close_matches(label, frequent, n=1, cutoff=0.8)), "")


def _as_numbers(questions: Sequence[Question], base: Mapping[str, Any]) -> Drafted | None:
    kept, others = _split(questions, lambda answer: answer if finite(str(answer)) is not None else None)
    if not _is_form(kept, others):
        return None
    return Drafted(
        questions=tuple(kept),
        settings=AnswerSettings.model_validate({**base, "pattern": _NUMBER, "whole": {"compare": "number"}}),
        schema=None,
        form="a number",
        slips=tuple((question, "the answer is no number, as nearly all others are") for question in others),
    )


def _as_text(questions: Sequence[Question], base: Mapping[str, Any]) -> Drafted:
    texts = [answer for question in questions for answer in question.answers if isinstance(answer, str)]
    short = sum(_is_short(text) for text in texts)
    if short >= MOST * len(texts):
        form, settings = "short free text, expected word for word", AnswerSettings.model_validate(base)
    else:
        whole = {"compare": "similar", "at_least": SIMILAR}
        form = f"free text, of which {100 * SIMILAR:.0f} % of the words (F1) are expected"
        settings = AnswerSettings.model_validate({**base, "whole": whole})
    return Drafted(questions=tuple(questions), settings=settings, schema=None, form=form)
