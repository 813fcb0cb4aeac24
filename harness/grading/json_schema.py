"""JSON Schema of the user's: obeyed in its own dialect, or refused with the reason."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from typing import Any

import referencing.exceptions
import referencing.jsonschema
from jsonschema import exceptions, validators
from jsonschema.protocols import Validator
from jsonschema_specifications import REGISTRY

from harness.grading.patterns import searched

_DEFAULT = "https://json-schema.org/draft/2020-12/schema"
_DRAFTS = {
    "http://json-schema.org/draft-03/schema": validators.Draft3Validator,
    "http://json-schema.org/draft-04/schema": validators.Draft4Validator,
    "http://json-schema.org/draft-06/schema": validators.Draft6Validator,
    "http://json-schema.org/draft-07/schema": validators.Draft7Validator,
    "https://json-schema.org/draft/2019-09/schema": validators.Draft201909Validator,
    _DEFAULT: validators.Draft202012Validator,
}
_SAMPLES: tuple[Any, ...] = (None, True, 0, -1.5, "", "zzz", [], [None], {}, {"zzz": None})
"""Values of every type: a schema that accepts all of them asks for nothing."""

_WITHOUT_EFFECT = frozenset(
    [
        "$schema",
        "$id",
        "id",
        "$anchor",
        "$dynamicAnchor",
        "$recursiveAnchor",
        "$vocabulary",
        "$comment",
        "$defs",
        "definitions",
        "title",
        "description",
        "default",
        "examples",
        "example",
        "readOnly",
        "writeOnly",
        "deprecated",
        "contentMediaType",
        "contentEncoding",
        "contentSchema",
        "format",
        "then",
        "else",
    ]
)
"""Keywords that state no requirement of their own in any dialect."""

_EVERY_KEYWORD = frozenset(keyword for draft in _DRAFTS.values() for keyword in draft.VALIDATORS) | {
    "minContains",
    "maxContains",
}


def schema_validator(schema: dict[str, Any]) -> Validator:
    """The validator of a schema's own dialect (`$schema`, else 2020-12); formats are checked, nothing is fetched.

    Raises:
        ValueError: the dialect is none that is obeyed here.
    """
    draft = _draft(schema)
    patient = validators.extend(draft, _patterned(draft))  # type: ignore[no-untyped-call]
    plain = {name: value for name, value in schema.items() if name != "$schema"}  # or "$ref": "#" has the stock class
    validator: Validator = patient(plain, registry=REGISTRY, format_checker=draft.FORMAT_CHECKER)
    return validator


def _patterned(draft: Any) -> dict[str, Any]:
    """The keywords of a dialect that search with patterns, by an engine that gives up instead of hanging."""
    own = {"pattern": _pattern, "patternProperties": _pattern_properties, "additionalProperties": _additional}
    return {name: check for name, check in own.items() if name in draft.VALIDATORS}


def _pattern(_validator: Any, pattern: str, value: Any, _schema: Any) -> Iterator[exceptions.ValidationError]:
    if isinstance(value, str) and not searched(pattern, value):
        yield exceptions.ValidationError(f"{value!r} does not match {pattern!r}")


def _pattern_properties(
    validator: Any, rules: dict[str, Any], value: Any, _schema: Any
) -> Iterator[exceptions.ValidationError]:
    if not isinstance(value, dict):
        return
    for pattern, rule in rules.items():
        for name, inner in value.items():
            if searched(pattern, name):
                yield from validator.descend(inner, rule, path=name, schema_path=pattern)


def _additional(validator: Any, rule: Any, value: Any, schema: dict[str, Any]) -> Iterator[exceptions.ValidationError]:
    if not isinstance(value, dict):
        return
    named, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    others = [name for name in value if name not in named and not any(searched(one, name) for one in patterns)]
    if isinstance(rule, dict):
        for name in others:
            yield from validator.descend(value[name], rule, path=name)
    elif rule is False and others:
        yield exceptions.ValidationError(f"{', '.join(map(repr, others))}: not allowed beside the other properties")


def _draft(schema: dict[str, Any]) -> Any:
    name = schema.get("$schema", _DEFAULT)
    draft = _DRAFTS.get(name.rstrip("#")) if isinstance(name, str) else None
    if draft is None:
        known = ", ".join(_DRAFTS)
        raise ValueError(f"$schema: {name!r} is no dialect that is obeyed here; they are {known}")
    return draft


def schema_problems(schema: Any) -> Iterator[tuple[str, str]]:
    """(word to look for, what is wrong) for everything that keeps a schema from deciding what it seems to decide."""
    if not isinstance(schema, dict):
        yield "", f"a schema is a JSON object, not {json.dumps(schema)[:40]}: that accepts or refuses everything"
        return
    try:
        draft = _draft(schema)
    except ValueError as error:
        yield "$schema", str(error)
        return
    try:
        draft.check_schema(schema)
    except exceptions.SchemaError as error:
        yield _last_name(error), f"{error.json_path}: not a JSON Schema: {error.message}"
        return
    except RecursionError:
        yield "", "nested too deeply"
        return
    found = list(_problems_inside(schema, draft))
    yield from found
    if not found:
        yield from _openness(schema)


def _last_name(error: exceptions.SchemaError) -> str:
    return next((part for part in reversed(error.absolute_path) if isinstance(part, str)), "")


def _problems_inside(schema: dict[str, Any], draft: Any) -> Iterator[tuple[str, str]]:
    for part, resolver in _subschemas(schema):
        yield from _keyword_problems(part, draft)
        reference = part.get("$ref")
        if isinstance(reference, str):
            try:
                resolver.lookup(reference)
            except (referencing.exceptions.Unresolvable, ValueError):
                yield reference, f"$ref: {reference!r} leads nowhere in this file, and nothing is fetched"


def _subschemas(schema: dict[str, Any]) -> Iterator[tuple[dict[str, Any], Any]]:
    """Every schema inside a schema that is an object, with what resolves its references."""
    dialect = referencing.jsonschema.specification_with(schema.get("$schema", _DEFAULT))
    root: Any = dialect.create_resource(schema)
    waiting = [(root, REGISTRY.resolver_with_root(root))]
    while waiting:
        resource, resolver = waiting.pop(0)
        if isinstance(resource.contents, dict):
            yield resource.contents, resolver
        for inner in resource.subresources():
            waiting.append((inner, resolver.in_subresource(inner)))


def _keyword_problems(part: dict[str, Any], draft: Any) -> Iterator[tuple[str, str]]:
    known = set(draft.VALIDATORS) | _WITHOUT_EFFECT | _helpers(draft)
    is_alone = "$ref" in part and "unevaluatedItems" not in draft.VALIDATORS
    for name in part:
        if is_alone and name != "$ref" and name in draft.VALIDATORS:
            yield name, f"{name}: has no effect beside $ref in this dialect: put both into allOf"
        elif name in known or name.startswith("x-"):
            continue
        elif name in _EVERY_KEYWORD:
            yield name, f"{name}: is a keyword of another dialect, and would not be obeyed: say which with $schema"
        elif near := difflib.get_close_matches(name, known, n=1, cutoff=0.8):
            yield name, f"{name}: is no keyword, and would not be obeyed (did you mean {near[0]!r}?)"


def _helpers(draft: Any) -> set[str]:
    """Keywords that the validator reads while it obeys others."""
    if "unevaluatedItems" in draft.VALIDATORS:
        return {"minContains", "maxContains"}
    if "exclusiveMinimum" not in draft.VALIDATORS:  # drafts 3 and 4, where these two are yes or no
        return {"exclusiveMinimum", "exclusiveMaximum", "required"}
    return set()


def _openness(schema: dict[str, Any]) -> Iterator[tuple[str, str]]:
    validator = schema_validator(schema)
    try:
        accepted = [value for value in _SAMPLES if validator.is_valid(value)]
    except RecursionError:
        yield "$ref", "$ref: refers to itself without end"
        return
    if len(accepted) == len(_SAMPLES):
        yield "", "accepts every JSON value: give at least type, and required for an object"


def unchecked(schema: dict[str, Any]) -> list[str]:
    """Names in a sound schema that state a requirement which is not enforced: unknown keywords and formats."""
    draft = _draft(schema)
    known = set(draft.VALIDATORS) | _WITHOUT_EFFECT | _helpers(draft)
    names: dict[str, None] = {}
    for part, _ in _subschemas(schema):
        names |= {name: None for name in part if name not in known and not name.startswith("x-")}
        form = part.get("format")
        if isinstance(form, str) and form not in draft.FORMAT_CHECKER.checkers:
            names[f"format {form!r}"] = None
    return list(names)
