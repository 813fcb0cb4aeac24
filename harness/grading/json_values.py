"""JSON in answers: read strictly, compared as JSON and not as Python."""

from __future__ import annotations

import json
import math
import unicodedata
from typing import Any


def parse_json(text: str) -> Any:
    """Read strict JSON: no NaN or infinity, no number beyond a double, no repeated keys, nothing around the value.

    Raises:
        ValueError: it is not.
    """
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({normal(name) for name, _ in pairs}) != len(pairs):
        raise ValueError("a key stands twice")
    return dict(pairs)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _finite(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise ValueError(f"the number {digits[:20]} is out of range")
    return value


def is_same_json(first: Any, second: Any) -> bool:
    """Compare two JSON values: true is not 1, 1 is 1.0, texts are compared after Unicode normalisation (NFC)."""
    kind = kind_of(first)
    if kind != kind_of(second):
        return False
    if kind == "object":
        ours, theirs = _by_name(first), _by_name(second)
        return ours.keys() == theirs.keys() and all(is_same_json(ours[key], theirs[key]) for key in ours)
    if kind == "array":
        return len(first) == len(second) and all(map(is_same_json, first, second))
    if kind == "string":
        return normal(first) == normal(second)
    return bool(first == second)


def kind_of(value: Any) -> str:
    """Name a value's JSON type: `object`, `array`, `string`, `number`, `boolean` or `null`."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    names: tuple[tuple[Any, str], ...] = (
        (dict, "object"),
        (list | tuple, "array"),
        (str, "string"),
        (int | float, "number"),
    )
    return next(name for kind, name in names if isinstance(value, kind))


def normal(text: str) -> str:
    """A text as it is compared: NFC, and one kind of line end."""
    return unicodedata.normalize("NFC", text.replace("\r\n", "\n"))


def _by_name(value: dict[str, Any]) -> dict[str, Any]:
    return {normal(name): entry for name, entry in value.items()}


def json_difference(expected: Any, value: Any) -> str:
    """Say where a value differs from the expected one, field by field; empty when it does not."""
    if is_same_json(expected, value):
        return ""
    if isinstance(value, dict) and isinstance(expected, dict):
        ours, theirs = _by_name(value), _by_name(expected)
        return "; ".join(filter(None, (_field_difference(ours, theirs, key) for key in {**theirs, **ours})))
    return f"{value!r}, expected {expected!r}"


def _field_difference(ours: dict[str, Any], theirs: dict[str, Any], key: str) -> str:
    if key not in ours:
        return f"{key}: is missing, expected {theirs[key]!r}"
    if key not in theirs:
        return f"{key}: {ours[key]!r}, not expected"
    return "" if is_same_json(ours[key], theirs[key]) else f"{key}: {ours[key]!r}, expected {theirs[key]!r}"
