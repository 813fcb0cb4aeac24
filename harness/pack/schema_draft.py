"""Drafts a JSON Schema from answers: what all of them have in common, to be confirmed by someone who knows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from harness.config.diagnosis import did_you_mean
from harness.grading.json_values import kind_of

MOST_VALUES = 40
"""More different values than this are no closed set."""

SEEN_EACH = 4
"""How often each value of a closed set must have been seen on average: fewer, and some were never seen."""

ODD = 0.02
"""Share of answers up to which another type or another field name is a slip rather than a choice."""

_LEADING = ("status", "type", "kind", "intent", "action", "category", "label")


def odd_answers(values: Sequence[Any]) -> list[str]:
    """Say of each answer in what it differs from nearly all others; empty where it does not.

    One such answer would take a required field, a type or the closing of an object from the whole schema.
    """
    objects = [value for value in values if isinstance(value, dict)]
    if not objects:
        return [""] * len(values)
    kinds: dict[str, Counter[str]] = {}
    for value in objects:
        for name, inner in value.items():
            kinds.setdefault(name, Counter())[kind_of(inner)] += 1
    are_objects = len(objects) >= (1 - ODD) * len(values)
    return [
        _odd_object(value, kinds, len(objects))
        if isinstance(value, dict)
        else "is no object, as the others are" * are_objects
        for value in values
    ]


def _odd_object(value: Mapping[str, Any], kinds: Mapping[str, Counter[str]], total: int) -> str:
    found = (_odd_field(value, name, kinds, total) for name in value)
    odd = next(filter(None, found), "")
    missing = [name for name, counted in kinds.items() if name not in value and counted.total() >= (1 - ODD) * total]
    return odd or (f"lacks {missing[0]}, which the others have" if missing else "")


def _odd_field(value: Mapping[str, Any], name: str, kinds: Mapping[str, Counter[str]], total: int) -> str:
    counted, kind = kinds[name], kind_of(value[name])
    usual, most = counted.most_common(1)[0]
    if kind not in (usual, "null") and counted[kind] <= ODD * counted.total() and most > SEEN_EACH:
        return f"{name} is a {kind}, where the others have a {usual}"
    is_alone = counted.total() == 1 and total * ODD >= 1
    if not is_alone and counted.total() > ODD * total:
        return ""
    hint = did_you_mean(name, [other for other in kinds if other not in value])
    return f"{name} is a field that {'no' if is_alone else 'nearly no'} other has{hint}" if is_alone or hint else ""


def draft_schema(values: Sequence[Any]) -> dict[str, Any]:
    """A JSON Schema (2020-12) that accepts every one of the values, and little else."""
    schema: dict[str, Any] = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    name = discriminator(values)
    if name is None:
        return {**schema, **_described(values)}
    branches = []
    for value in dict.fromkeys(one[name] for one in values):
        described = _described([one for one in values if one[name] == value])
        described["properties"][name] = {"const": value}
        branches.append(described)
    return {**schema, "type": "object", "required": [name], "oneOf": branches}


def discriminator(values: Sequence[Any]) -> str | None:
    """The field whose value says which other fields an answer has; None where all have the same, or none says it."""
    if not values or not all(isinstance(value, dict) for value in values):
        return None
    shared = set.intersection(*(set(value) for value in values))
    found = [name for name in shared if _says_fields(values, name)]
    return min(found, key=_preference, default=None)


def _preference(name: str) -> tuple[int, str]:
    return (_LEADING.index(name) if name in _LEADING else len(_LEADING), name)


def _says_fields(values: Sequence[Mapping[str, Any]], name: str) -> bool:
    fields: dict[str, set[frozenset[str]]] = {}
    for value in values:
        if not isinstance(value[name], str):
            return False
        fields.setdefault(value[name], set()).add(frozenset(value))
    is_small = 2 <= len(fields) <= 12 and len(values) >= SEEN_EACH * len(fields)
    return is_small and all(len(sets) == 1 for sets in fields.values()) and len(set.union(*fields.values())) > 1


def is_closed(values: Sequence[str]) -> bool:
    """Whether some texts look like all values that there are."""
    different = len(set(values))
    return different <= MOST_VALUES and len(values) >= max(10, SEEN_EACH * different)


def _described(values: Sequence[Any]) -> dict[str, Any]:
    kinds = list(dict.fromkeys(kind_of(value) for value in values))
    if kinds == ["object"]:
        return _object(values)
    if kinds == ["array"]:
        items = [item for value in values for item in value]
        return {"type": "array", **({"items": _described(items)} if items else {})}
    texts = [value for value in values if isinstance(value, str)]
    if set(kinds) <= {"string", "null"} and texts and is_closed(texts):
        nothing = [None] if "null" in kinds else []
        return {"enum": [*sorted(set(texts)), *nothing]}
    types = ["integer" if kind == "number" and _are_whole(values) else kind for kind in kinds]
    return {"type": types[0] if len(types) == 1 else types}


def _are_whole(values: Sequence[Any]) -> bool:
    return all(isinstance(value, int) for value in values if kind_of(value) == "number")


def _object(values: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    names = list(dict.fromkeys(name for value in values for name in value))
    return {
        "type": "object",
        "properties": {name: _described([value[name] for value in values if name in value]) for name in names},
        "required": [name for name in names if all(name in value for value in values)],
        "additionalProperties": False,
    }
