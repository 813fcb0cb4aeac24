"""The form that a pack asks of every answer: JSON that meets a schema, labelled lines, a label, a pattern, or none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from jsonschema import exceptions

from harness.grading.json_schema import schema_validator
from harness.grading.json_values import normal, parse_json
from harness.grading.patterns import matched_whole
from harness.grading.settings import AnswerSettings, LineRule


class Contract(Protocol):
    """A form of answers."""

    name: str
    """For messages and tables."""

    def error(self, answer: str) -> str:
        """Say why an answer breaks the form; empty when it keeps it."""
        ...


def contract_of(schema: Mapping[str, Any] | None, settings: AnswerSettings) -> Contract | None:
    """The form that a pack's schema or `[answer]` states; None where it states none.

    Raises:
        ValueError: they state two.
    """
    stated: list[Contract] = [JsonContract(schema)] if schema is not None else []
    if settings.lines is not None:
        stated.append(LinesContract(settings))
    if settings.labels is not None:
        stated.append(LabelContract(settings))
    if settings.pattern is not None:
        stated.append(PatternContract(settings.pattern))
    if len(stated) > 1:
        raise ValueError(f"{stated[0].name} and {stated[1].name} state two forms of an answer: keep one of them")
    return stated[0] if stated else None


class JsonContract:
    """Strict JSON that meets a schema."""

    name = "response.schema.json"

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._validator = schema_validator(dict(schema))

    def error(self, answer: str) -> str:
        """Say why an answer breaks the schema; empty when it keeps it."""
        try:
            return self.value_error(parse_json(answer))
        except ValueError as error:
            return f"not JSON: {error}"

    def value_error(self, value: Any) -> str:
        """The same of a value that was read already."""
        try:
            finding = exceptions.best_match(self._validator.iter_errors(value))
        except RecursionError:
            return "nested too deeply"
        return f"{finding.json_path}: {finding.message}" if finding else ""


class LabelContract:
    """One of a closed set of texts."""

    name = "[answer] labels"

    def __init__(self, settings: AnswerSettings) -> None:
        self._settings = settings
        self._labels = {_key(label, settings) for label in settings.labels or ()}

    def error(self, answer: str) -> str:
        """Say why an answer is no label; empty when it is one."""
        if _key(answer, self._settings) in self._labels:
            return ""
        return f"{_short(answer)} is none of {', '.join(self._settings.labels or ())}"


class PatternContract:
    """A text that as a whole matches a regular expression."""

    name = "[answer] pattern"

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern

    def error(self, answer: str) -> str:
        """Say that an answer does not match; empty when it does."""
        is_met = matched_whole(self._pattern, normal(answer).strip())
        return "" if is_met else f"{_short(answer)} does not match {self._pattern!r}"


class LinesContract:
    """Lines `label: value`, in any order."""

    name = "[answer.lines]"

    def __init__(self, settings: AnswerSettings) -> None:
        self._settings = settings
        self._rules: Mapping[str, LineRule] = settings.lines or {}

    def error(self, answer: str) -> str:
        """Say which line is missing or wrong; empty when none is."""
        try:
            values = self.values(answer)
        except ValueError as error:
            return str(error)
        for label, rule in self._rules.items():
            if label not in values and not rule.optional:
                return f"the line {label!r} is missing"
            if label in values and not self._fits(rule, values[label]):
                return f"{label}: {_short(values[label])} is not allowed"
        return ""

    def values(self, answer: str) -> dict[str, str]:
        """What stands behind each label.

        Raises:
            ValueError: a line has no label that is known, or one stands twice.
        """
        names = {_key(label, self._settings): label for label in self._rules}
        values: dict[str, str] = {}
        for line in normal(answer).split("\n"):
            if not line.strip():
                continue
            label, colon, value = line.partition(":")
            name = names.get(_key(label, self._settings))
            if not colon or name is None:
                raise ValueError(f"{_short(line)} is no line `label: value` with one of {', '.join(self._rules)}")
            if name in values:
                raise ValueError(f"the line {name!r} stands twice")
            values[name] = value.strip()
        return values

    def _fits(self, rule: LineRule, value: str) -> bool:
        if rule.values is not None:
            return _key(value, self._settings) in {_key(one, self._settings) for one in rule.values}
        return matched_whole(rule.pattern or "", value, ignore_case=self._settings.ignore_case)


def _key(text: str, settings: AnswerSettings) -> str:
    plain = normal(text).strip()
    return normal(plain.casefold()) if settings.ignore_case else plain


def _short(text: str) -> str:
    shown = repr(text.strip())
    return shown if len(shown) <= 80 else f"{shown[:77]}..."
