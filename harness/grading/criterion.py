"""What makes an answer right, and how much of it an answer has."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from harness.config.diagnosis import Settings
from harness.grading.json_values import is_same_json, json_difference, kind_of, normal
from harness.grading.patterns import searched
from harness.grading.settings import AnswerSettings, FieldRule, finite, refuse_open_pattern
from harness.grading.similarity import word_f1

Expected = dict[str, Any] | list[Any] | str | bool | int | float
"""A JSON value that the answer must be, or a text."""


class Criterion(Settings):
    """A case's name and what makes an answer right: exactly one of `expected`, `one_of`, `pattern`, `keywords`."""

    id: Annotated[str, Field(min_length=1)]
    kind: Annotated[str, Field(min_length=1)]
    """Groups cases in tables; `out_of_scope` is counted apart."""

    split: Literal["dev", "final"] = "dev"
    """`final`: kept back, nothing was tuned on it."""

    cluster: Annotated[str, Field(min_length=1)] | None = None
    """What cases have in common that makes their answers depend on each other: a conversation, a source document."""

    expected: Expected | None = None
    """The JSON value or the text that the whole answer must equal, or that `[answer]` compares it with."""

    one_of: Annotated[tuple[Expected, ...], Field(min_length=1)] | None = None
    """Several right answers, of which one must be given."""

    pattern: str | None = None
    """A regular expression that must match somewhere in the answer."""

    keywords: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Words that must all stand in the answer, whatever their case; `pump` does not stand in `pumpkin`."""

    @field_validator("expected", "one_of", "keywords")
    @classmethod
    def _asks_for_something(cls, value: Any) -> Any:
        for one in value if isinstance(value, tuple) else (value,):
            if isinstance(one, str) and not one.strip():
                raise ValueError("an empty text is no right answer: a refused prompt would meet it")
        return value

    @field_validator("pattern")
    @classmethod
    def _can_fail(cls, value: str | None) -> str | None:
        if value is not None:
            refuse_open_pattern(value, "pattern")
        return value

    @model_validator(mode="after")
    def _has_one_criterion(self) -> Criterion:
        names = ("expected", "one_of", "pattern", "keywords")
        given = [name for name in names if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of {', '.join(names[:-1])} and {names[-1]}, not {given or 'none'}")
        return self

    @property
    def right_answers(self) -> tuple[Expected, ...]:
        """The answers that are named as right; empty for patterns and keywords."""
        return self.one_of or (() if self.expected is None else (self.expected,))


@dataclass(frozen=True, slots=True, kw_only=True)
class Credit:
    """How much of what is asked for an answer has."""

    score: float
    """0 to 1."""

    is_exact: bool
    """Nothing is wrong with it."""

    explanation: str
    """What is wrong with it; empty when nothing is."""

    @classmethod
    def of(cls, error: str, score: float | None = None) -> Credit:
        """Full credit without an error; else `score`, or none."""
        return cls(score=(score or 0.0) if error else 1.0, is_exact=not error, explanation=error)


def pattern_credit(pattern: str, text: str) -> Credit:
    """Credit for a text in which a pattern must match."""
    return Credit.of("" if searched(pattern, text) else f"does not match {pattern!r}")


def keyword_credit(keywords: tuple[str, ...], text: str) -> Credit:
    """Credit for a text in which all keywords must stand as words; the score is the share of those that do."""
    missing = [word for word in keywords if not _stands_in(word, text)]
    return Credit.of(f"lacks {', '.join(missing)}" if missing else "", 1 - len(missing) / len(keywords))


_SUFFIXED = r"[\uac00-\ud7af]"
"""A syllable of Hangul, whose words take their particles without a blank."""

_SPACED = r"[^\W\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u9fff\uf900-\ufaff\u3040-\u30ff]"
"""A letter or digit of a script that puts blanks between words."""


def _stands_in(keyword: str, text: str) -> bool:
    word = normal(keyword).strip().casefold()
    before = rf"(?<!{_SPACED})" if re.match(_SPACED, word) else ""
    after = rf"(?!{_SPACED})" if re.match(_SPACED, word[-1]) and not re.match(_SUFFIXED, word[-1]) else ""
    if word[0].isdigit():  # neither the end of 1.5 nor -5
        before += r"(?<![0-9][.,'\u2019])(?<![\s(\[][-\u2212])(?<!^[-\u2212])"
    if word[-1].isdigit():
        after += r"(?![.,'\u2019][0-9])"
    return re.search(before + re.escape(word) + after, normal(text).casefold()) is not None


def text_credit(expected: str, text: str, settings: AnswerSettings) -> Credit:
    """Credit for a text that must be the expected one as `[answer]` compares them."""
    rule = settings.whole or FieldRule()
    if rule.compare == "number":
        wanted, number = finite(expected), finite(text)
        is_near = wanted is not None and number is not None and _is_near(wanted, number, rule)
        return Credit.of("" if is_near else f"{_short(text)}, expected {expected!r}")
    if rule.compare == "similar":
        return _similar(expected, text, rule)
    first, second = normal(expected).strip(), normal(text).strip()
    if settings.ignore_case:
        first, second = normal(first.casefold()), normal(second.casefold())
    return Credit.of("" if first == second else f"expected {expected!r}")


def value_credit(expected: Any, value: Any, rules: Mapping[str, FieldRule], path: str = "") -> Credit:
    """Credit for a JSON value or for labelled lines, field by field: the weighted share of fields that are right.

    A field that is missing has none, and one that nobody asked for counts as wrong.
    """
    if path in rules:
        return _ruled(expected, value, rules[path], path)
    if not (isinstance(expected, dict) and isinstance(value, dict)):
        error = json_difference(expected, value)
        return Credit.of(f"{path}: {error}" if error and path else error)
    ours, theirs = _by_name(value), _by_name(expected)
    credits, weights = [], []
    for name in {**theirs, **ours}:
        inner = f"{path}.{name}" if path else name
        rule = rules.get(inner, FieldRule())
        if rule.compare == "any":
            continue
        credits.append(_field(theirs, ours, name, inner, rules))
        weights.append(rule.weight)
    if not credits:
        return Credit.of("")
    score = sum(c.score * w for c, w in zip(credits, weights, strict=True)) / sum(weights)
    return Credit.of("; ".join(credit.explanation for credit in credits if not credit.is_exact), score)


def _field(
    theirs: dict[str, Any], ours: dict[str, Any], name: str, path: str, rules: Mapping[str, FieldRule]
) -> Credit:
    if name not in ours:
        return Credit.of(f"{path}: is missing, expected {theirs[name]!r}")
    if name not in theirs:
        return Credit.of(f"{path}: {ours[name]!r}, not expected")
    return value_credit(theirs[name], ours[name], rules, path)


def _by_name(value: dict[str, Any]) -> dict[str, Any]:
    return {normal(name): entry for name, entry in value.items()}


def _ruled(expected: Any, value: Any, rule: FieldRule, path: str) -> Credit:
    if rule.compare == "one_of":
        is_right = any(is_same_json(one, value) for one in expected)
        return Credit.of("" if is_right else f"{path}: {value!r}, expected one of {expected!r}")
    if rule.compare == "number":
        is_right = _is_number(value) and _is_near(expected, value, rule)
        return Credit.of("" if is_right else f"{path}: {value!r}, expected about {expected!r}")
    if rule.compare == "set":
        return _set(expected, value, path)
    if rule.compare == "similar":
        credit = _similar(expected, value, rule) if isinstance(value, str) else Credit.of(f"{value!r} is no text")
        return Credit.of(f"{path}: {credit.explanation}" if credit.explanation else "", credit.score)
    error = "" if rule.compare == "any" else json_difference(expected, value)
    return Credit.of(f"{path}: {error}" if error else "")


def rule_problem(rule: FieldRule, expected: Any) -> str:
    """Say why a rule cannot be applied to an expected value; empty when it can."""
    kind = kind_of(expected)
    if rule.compare in ("set", "one_of") and (kind != "array" or not expected):
        return f"compare = {rule.compare!r} needs a list that is not empty, not {_short(expected)}"
    if rule.compare == "number" and not _is_number(expected):
        return f"compare = 'number' needs a number, not {_short(expected)}"
    if rule.compare == "similar" and kind != "string":
        return f"compare = 'similar' needs a text, not {_short(expected)}"
    return ""


def _is_number(value: Any) -> bool:
    return kind_of(value) == "number"


def _is_near(expected: float, value: float, rule: FieldRule) -> bool:
    """Whether two numbers are near, as they are written: in floating point, 2.6 - 2.5 is more than 0.1."""
    wanted = Fraction(str(expected))
    tolerance = max(Fraction(str(rule.tolerance)), Fraction(str(rule.relative_tolerance)) * abs(wanted))
    return abs(Fraction(str(value)) - wanted) <= tolerance


def _set(expected: Any, value: Any, path: str) -> Credit:
    if kind_of(value) != "array":
        return Credit.of(f"{path}: {value!r} is no list")
    missing = [one for one in expected if not any(is_same_json(one, other) for other in value)]
    extra = [one for one in value if not any(is_same_json(one, other) for other in expected)]
    if not missing and not extra:
        return Credit.of("")
    shared = len(expected) - len(missing)
    return Credit.of(f"{path}: lacks {missing!r}, and has {extra!r} besides", shared / (len(expected) + len(extra)))


def _similar(expected: str, text: str, rule: FieldRule) -> Credit:
    score = word_f1(expected, text)
    if score >= (rule.at_least or 1.0):
        return Credit(score=score, is_exact=True, explanation="")
    return Credit.of(
        f"{100 * score:.0f} % of the words of {_short(expected)}, not {100 * (rule.at_least or 1):.0f} %", score
    )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:97]}..."
