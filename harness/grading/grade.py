"""Judges one answer: is it what the case asks for, and does it have the form that the pack asks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from harness.grading.contract import LinesContract, contract_of
from harness.grading.criterion import (
    Credit,
    Criterion,
    Expected,
    keyword_credit,
    pattern_credit,
    text_credit,
    value_credit,
)
from harness.grading.json_values import normal, parse_json
from harness.grading.patterns import SlowPatternError
from harness.grading.settings import AnswerSettings, FieldRule, finite
from harness.grading.take import Taken, take_answer


@dataclass(frozen=True, slots=True, kw_only=True)
class GradedAnswer:
    """One answer and what was found in it; kept as raw sample."""

    case_id: str
    kind: str
    split: str
    padding_tokens: int
    """Tokens of unrelated text in front of the question; 0 for a plain case."""

    text: str
    """What the model said, whole."""

    answer: str
    """What was taken out of `text` and graded; the same where nothing may stand around an answer."""

    thinking_characters: int
    """Length of the thinking part in front of the answer."""

    around_characters: int
    """Length of what else stood around the answer, blanks at its ends not counted."""

    is_exact: bool
    """The answer is what the case asks for."""

    score: float
    """How much it has of what is asked for, 0 to 1: the share of right fields or keywords, or how similar it is."""

    is_valid: bool | None
    """The answer has the form that the pack asks for; None where the pack asks for none."""

    explanation: str
    """Why it is not exact or not valid; empty when it is both."""

    cluster: str | None = None
    """What the case shares with others that makes their answers depend on each other."""

    refusal: str = ""
    """Why the runtime refused the prompt; empty where it answered, though with an empty text."""

    finish_reason: Literal["stop", "length"] | None = None
    """`stop`: the model ended its answer; `length`: it was cut; None where the prompt was refused."""

    prompt_tokens: int | None = None
    """Length of the whole prompt; None where the runtime does not tell, or refused it."""

    answer_tokens: int | None = None
    """Generated tokens without end-of-sequence; None where the runtime does not tell."""

    answer_s: float | None = None
    """Request handed over -> last token; None where answers are not timed, as in a batch."""


class AsksForAnswers(Protocol):
    """What a grader needs to know of a pack."""

    @property
    def response_schema(self) -> Mapping[str, Any] | None:
        """The JSON Schema of every answer."""
        ...

    @property
    def answer_settings(self) -> AnswerSettings:
        """The pack's `[answer]`."""
        ...


class Grader:
    """Judges texts by the pack's criteria; model output is parsed and compared, never evaluated."""

    def __init__(self, schema: Mapping[str, Any] | None, settings: AnswerSettings | None = None) -> None:
        self._settings = settings or AnswerSettings()
        self._contract = contract_of(schema, self._settings)

    @classmethod
    def of(cls, pack: AsksForAnswers) -> Grader:
        """The grader of a pack's answers."""
        return cls(pack.response_schema, pack.answer_settings)

    @property
    def has_contract(self) -> bool:
        """Whether the pack asks for a form; without one no answer is valid or invalid."""
        return self._contract is not None

    def take(self, text: str) -> Taken:
        """The answer in a text, and what stood around it."""
        return take_answer(text, self._settings)

    def form_error(self, text: str) -> str:
        """Say why a text breaks the pack's form; empty when it keeps it.

        Where the pack has no form, only an empty answer breaks it.
        """
        return self._form_error(self.take(text))

    def _form_error(self, taken: Taken) -> str:
        if taken.problem:
            return taken.problem
        if self._contract is not None:
            return self._contract.error(taken.answer)
        return "" if taken.answer.strip() else "the answer is empty"

    def content_error(self, case: Criterion, text: str) -> str:
        """Say why a text is not the right answer to a case; empty when it is."""
        return self._credit(case, self.take(text)).explanation

    def _credit(self, case: Criterion, taken: Taken) -> Credit:
        if taken.problem:
            return Credit.of(taken.problem)
        if not taken.answer.strip():
            return Credit.of("the answer is empty")
        if case.pattern is not None:
            return pattern_credit(case.pattern, taken.answer)
        if case.keywords is not None:
            return keyword_credit(case.keywords, taken.answer)
        credits = [self._expected_credit(expected, taken.answer) for expected in case.right_answers]
        return max(credits, key=lambda credit: (credit.is_exact, credit.score))

    def _expected_credit(self, expected: Expected, answer: str) -> Credit:
        if isinstance(expected, str):
            return text_credit(expected, answer, self._settings)
        rules = self._settings.fields
        if isinstance(self._contract, LinesContract):
            try:
                values = self._contract.values(answer)
            except ValueError as error:
                return Credit.of(str(error))
            return value_credit(self._of_lines(expected), self._of_lines(values), rules)
        try:
            return value_credit(expected, parse_json(answer), rules)
        except ValueError as error:
            return Credit.of(f"not JSON: {error}")
        except RecursionError:
            return Credit.of("nested too deeply")

    def _of_lines(self, values: Any) -> Any:
        """Values of lines as their rules compare them; all of them are texts where there is no rule."""
        if not isinstance(values, dict):
            return values
        rules = self._settings.fields
        return {name: _typed(value, rules.get(name, FieldRule()), self._settings) for name, value in values.items()}

    def grade(self, case: Criterion, text: str, *, padding_tokens: int = 0) -> GradedAnswer:
        """Judge one answer.

        Raises:
            SlowPatternError: a pattern of the pack searches it without end; the message names pattern, case and answer.
        """
        try:
            taken = self.take(text)
            credit, form = self._credit(case, taken), self._form_error(taken)
        except SlowPatternError as error:
            raise SlowPatternError(error.what, where=f"case {case.id!r}", next_step=error.next_step) from None
        return GradedAnswer(
            case_id=case.id,
            kind=case.kind,
            split=case.split,
            cluster=case.cluster,
            padding_tokens=padding_tokens,
            text=text,
            answer=taken.answer,
            thinking_characters=taken.thinking_characters,
            around_characters=taken.around_characters,
            is_exact=credit.is_exact,
            score=credit.score,
            is_valid=not form if self.has_contract else None,
            explanation=credit.explanation or (form if self.has_contract else ""),
        )


def grade(grader: Grader, case: Criterion, text: str, *, padding_tokens: int = 0) -> GradedAnswer:
    """Judge one answer."""
    return grader.grade(case, text, padding_tokens=padding_tokens)


def _typed(value: Any, rule: FieldRule, settings: AnswerSettings) -> Any:
    if rule.compare == "number" and isinstance(value, str):
        number = finite(value)
        return value if number is None else number
    if rule.compare == "set" and isinstance(value, str):
        return [_plain(part.strip(), settings) for part in value.split(",")]
    if isinstance(value, list):
        return [_plain(part, settings) for part in value]
    return value if rule.compare == "number" else _plain(value, settings)


def _plain(value: Any, settings: AnswerSettings) -> str:
    text = normal(str(value)).strip()
    return normal(text.casefold()) if settings.ignore_case else text
