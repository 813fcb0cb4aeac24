"""Judges one answer: is it what the case asks for, and does it have the form that the pack asks for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jsonschema

from harness.grading.json_values import json_difference, normal, parse_json
from harness.pack.pack import Case, DomainPack


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

    is_exact: bool
    """The answer is what the case asks for."""

    score: float
    """Share of what the case asks for, 0 to 1; 1 when it is exact."""

    is_valid: bool | None
    """The answer has the form that the pack asks for; None where the pack asks for none."""

    explanation: str
    """Why it is not exact or not valid; empty when it is both."""


class Grader:
    """Judges texts by the pack's criteria; model output is parsed and compared, never evaluated."""

    def __init__(self, schema: Mapping[str, Any] | None) -> None:
        self._validator = jsonschema.Draft202012Validator(schema) if schema is not None else None

    @classmethod
    def of(cls, pack: DomainPack) -> Grader:
        """The grader of a pack's answers."""
        return cls(pack.response_schema)

    @property
    def has_contract(self) -> bool:
        """Whether the pack asks for a form; without one no answer is valid or invalid."""
        return self._validator is not None

    def form_error(self, text: str) -> str:
        """Say why a text breaks the pack's form; empty when it keeps it.

        Where the pack has no form, only an empty text breaks it.
        """
        if self._validator is None:
            return "" if text.strip() else "the answer is empty"
        try:
            value = parse_json(text)
        except ValueError as error:
            return f"not JSON: {error}"
        finding = jsonschema.exceptions.best_match(self._validator.iter_errors(value))
        return f"{finding.json_path}: {finding.message}" if finding else ""

    def content_error(self, case: Case, text: str) -> str:
        """Say why a text is not the right answer to a case; empty when it is."""
        if case.pattern is not None:
            return "" if re.search(case.pattern, text) else f"does not match {case.pattern!r}"
        if case.keywords is not None:
            missing = [word for word in case.keywords if word.casefold() not in text.casefold()]
            return f"lacks {', '.join(missing)}" if missing else ""
        if isinstance(case.expected, str):
            return "" if normal(text).strip() == normal(case.expected).strip() else f"expected {case.expected!r}"
        try:
            return json_difference(case.expected, parse_json(text))
        except ValueError as error:
            return f"not JSON: {error}"


def grade(grader: Grader, case: Case, text: str, *, padding_tokens: int = 0) -> GradedAnswer:
    """Judge one answer."""
    content, form = grader.content_error(case, text), grader.form_error(text)
    return GradedAnswer(
        case_id=case.id,
        kind=case.kind,
        split=case.split,
        padding_tokens=padding_tokens,
        text=text,
        is_exact=not content,
        score=0.0 if content else 1.0,
        is_valid=not form if grader.has_contract else None,
        explanation=content or form,
    )
