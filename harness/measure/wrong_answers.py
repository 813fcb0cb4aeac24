"""The wrong answers of a variant, some of them in full: a rate that passes hides them otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from harness.grading.grade import GradedAnswer
from harness.measure.failures import asked_of, expectation, said_by
from harness.pack.choose import spread
from harness.pack.schema import DomainPack

_SHOWN: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class WrongAnswer:
    """One of them, in words: what models and users wrote is in quotes, and without its middle where it is long."""

    case_id: str
    kind: str
    asked: str
    expected: str
    said: str
    is_source_wrong: bool | None
    """The source model's answer to the same question is wrong too; None where it was not asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WrongAnswers:
    """How many answers of a variant are wrong, and some of them."""

    answers: int
    """All that were given."""

    wrong: int
    shown: tuple[WrongAnswer, ...]
    """Some of the wrong ones, spread over the pack."""


def wrong_answers(own: Sequence[GradedAnswer], source: Sequence[GradedAnswer], pack: DomainPack) -> WrongAnswers:
    """Count the answers that are not what their case asks for, and show up to five of them."""
    wrong = [answer for answer in own if not answer.is_exact]
    cases = {case.id: case for case in pack.cases}
    was_right = {answer.case_id: answer.is_exact for answer in source}
    shown = [
        WrongAnswer(
            case_id=answer.case_id,
            kind=answer.kind,
            asked=asked_of(cases[answer.case_id].messages),
            expected=expectation(cases[answer.case_id]),
            said=said_by(answer),
            is_source_wrong=None if answer.case_id not in was_right else not was_right[answer.case_id],
        )
        for answer in spread(wrong, _SHOWN)
    ]
    return WrongAnswers(answers=len(own), wrong=len(wrong), shown=tuple(shown))
