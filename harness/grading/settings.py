"""What a pack says of its answers beyond a JSON Schema: the `[answer]` table of domain.toml."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Literal

import regex
from pydantic import Field, field_validator, model_validator

from harness.config.diagnosis import Settings
from harness.grading import patterns
from harness.grading.json_values import normal

THINK = ("<think>", "</think>")
"""The markers that most reasoning models write around their thinking."""

_Name = Annotated[str, Field(min_length=1)]


def compiled(pattern: str, name: str) -> regex.Pattern[str]:
    """Compile a pattern of the user's.

    Raises:
        ValueError: it is not a regular expression, or an empty answer meets it.
    """
    try:
        found = patterns.compiled(pattern)
    except ValueError as error:
        raise ValueError(f"{name} {error}") from None
    if found.search("") is not None:
        raise ValueError(f"{name} {pattern!r} is met by an empty answer: ask for what must stand there")
    return found


SAMPLES = ("zzz", "0", "?!", "ÄÖ", "{}", " x ", "zzz " * 5000)
"""Texts without anything in common: what all of them meet, every answer meets."""


def refuse_open_pattern(pattern: str, name: str, *, whole: bool = False) -> None:
    """Check that some answer fails a pattern, which is searched for or, as `whole`, must be all of the text.

    Raises:
        ValueError: it does not compile, or every answer meets it.
    """
    found = compiled(pattern, name)
    if all(_meets(found, text, whole=whole) for text in SAMPLES):
        raise ValueError(f"{name} {pattern!r} is met by every answer: a criterion that cannot fail says nothing")


def _meets(pattern: regex.Pattern[str], text: str, *, whole: bool) -> bool:
    """Whether a text meets a pattern; one that is still searching after a moment does not meet it at once."""
    try:
        found = pattern.fullmatch(text, timeout=0.5) if whole else pattern.search(text, timeout=0.5)
    except TimeoutError:
        return False
    return found is not None


class FieldRule(Settings):
    """`[answer.fields.NAME]` or `[answer.whole]`: how a value of the answer is compared with the expected one."""

    compare: Literal["exact", "one_of", "number", "set", "similar", "any"] = "exact"
    """`exact`: the same value. `one_of`: one of the list that is expected. `number`: as near as `tolerance` allows.
    `set`: the same entries in any order; a part of them is a part of the credit. `similar`: F1 of the words of at least
    `at_least`. `any`: not compared."""

    tolerance: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """Largest absolute difference of a `number`."""

    relative_tolerance: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Largest difference of a `number` as a share of the expected one; the larger of the two tolerances counts."""

    at_least: Annotated[float, Field(gt=0, le=1)] | None = None
    """Smallest F1 of a `similar` text that is right, 0 to 1."""

    weight: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    """What the field counts in the score, against 1 of others."""

    @model_validator(mode="after")
    def _fits_together(self) -> FieldRule:
        if self.compare != "number" and (self.tolerance or self.relative_tolerance):
            raise ValueError(f"a tolerance is for compare = 'number', not {self.compare!r}")
        if (self.compare == "similar") != (self.at_least is not None):
            raise ValueError("at_least belongs to compare = 'similar', which needs it")
        return self


class LineRule(Settings):
    """`[answer.lines]`: what may stand behind a label: one of some values, or what a pattern matches as a whole."""

    values: Annotated[tuple[_Name, ...], Field(min_length=1)] | None = None
    pattern: str | None = None
    optional: bool = False
    """The line may be missing."""

    @model_validator(mode="before")
    @classmethod
    def _in_short(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"pattern": value}
        return {"values": value} if isinstance(value, list | tuple) else value

    @model_validator(mode="after")
    def _has_one(self) -> LineRule:
        if (self.values is None) == (self.pattern is None):
            raise ValueError("give a list of values or a pattern")
        if self.pattern is not None:
            compiled(self.pattern, "pattern")
        return self


class AnswerSettings(Settings):
    """`[answer]`: what may stand around an answer, which form it has, and how it is compared."""

    code_fence: bool = False
    """The answer may stand in a code fence, the only one of the text; what stands around it is counted."""

    thinking: bool | tuple[tuple[_Name, _Name], ...] = False
    """The answer stands behind a thinking part: true for `<think>` and `</think>`, or pairs of other markers."""

    take: str | None = None
    """A regular expression that finds the answer in the text: its group `answer`, its only group, or all that it
    matches. Where it matches twice with different answers there is none."""

    labels: Annotated[tuple[_Name, ...], Field(min_length=1)] | None = None
    """Every answer is one of these texts."""

    pattern: str | None = None
    """Every answer as a whole matches this regular expression."""

    lines: Annotated[dict[_Name, LineRule], Field(min_length=1)] | None = None
    """Every answer consists of lines `label: value`, each label at most once."""

    ignore_case: bool = False
    """Labels, expected texts and values of lines are compared without regard to upper and lower case."""

    whole: FieldRule | None = None
    """How an answer that is one text is compared with the expected one."""

    fields: dict[_Name, FieldRule] = Field(default_factory=dict)
    """How single fields are compared, by name; inside of others by `outer.inner`."""

    @property
    def thinking_markers(self) -> tuple[tuple[str, str], ...]:
        """Opening and closing markers of thinking parts; empty where answers have none."""
        if isinstance(self.thinking, bool):
            return (THINK,) if self.thinking else ()
        return self.thinking

    @field_validator("thinking")
    @classmethod
    def _has_two_markers(cls, value: bool | tuple[tuple[str, str], ...]) -> bool | tuple[tuple[str, str], ...]:
        pairs = () if isinstance(value, bool) else value
        if pairs == () and not isinstance(value, bool):
            raise ValueError("give true, or pairs of an opening and a closing marker")
        if any(not first.strip() or first.strip() == last.strip() or not last.strip() for first, last in pairs):
            raise ValueError("the opening and the closing marker must differ, and be more than blanks")
        return value

    @field_validator("take")
    @classmethod
    def _takes_one_thing(cls, value: str | None) -> str | None:
        if value is not None:
            found = compiled(value, "take")
            if found.groups > 1 and "answer" not in found.groupindex:
                raise ValueError(
                    f"take {value!r} has {found.groups} groups: name the one that is the answer (?P<answer>...)"
                )
        return value

    @field_validator("labels")
    @classmethod
    def _are_different(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        names = [normal(label).strip() for label in value or ()]
        if not all(names):
            raise ValueError("a label is blank")
        if len(set(names)) != len(names):
            raise ValueError("a label stands twice")
        return value

    @field_validator("pattern")
    @classmethod
    def _can_fail(cls, value: str | None) -> str | None:
        if value is not None:
            refuse_open_pattern(value, "pattern", whole=True)
        return value

    @model_validator(mode="after")
    def _has_one_form(self) -> AnswerSettings:
        given = [name for name in ("labels", "pattern", "lines") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"give at most one of labels, pattern and lines, not {' and '.join(given)}")
        if self.whole is not None and self.whole.compare in ("any", "set", "one_of"):
            raise ValueError("whole: compare is exact, number or similar")
        if self.whole is not None and self.fields:
            raise ValueError("whole is for answers that are one text, fields for those that have fields: give one")
        if self.ignore_case and self.labels and len({label.casefold() for label in self.labels}) < len(self.labels):
            raise ValueError("two labels differ in upper and lower case only, which ignore_case passes over")
        return self


def finite(text: str) -> float | None:
    """The number that a text is, as English writes it (`1,234.5`, `-2e3`); None for anything else."""
    plain = text.strip()
    if re.fullmatch(r"[-+]?[0-9]{1,3}(,[0-9]{3})+(\.[0-9]+)?", plain):
        plain = plain.replace(",", "")
    if not re.fullmatch(r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?", plain):
        return None
    value = float(plain)
    return value if math.isfinite(value) else None
