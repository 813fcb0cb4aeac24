"""What a pack is refused for: a healthy model would fail it, or a broken one pass."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from harness.config.diagnosis import did_you_mean
from harness.grading.contract import Contract, JsonContract, LinesContract, contract_of
from harness.grading.criterion import Expected, rule_problem
from harness.grading.json_values import is_same_json
from harness.grading.patterns import SlowPatternError
from harness.grading.settings import AnswerSettings, FieldRule, finite
from harness.pack.places import Diagnosis, Places, same_questions, short, too_long
from harness.pack.schema import Case, DomainPack, Remark

PLACEHOLDER = "REPLACE ME"
"""What drafted cases hold where only their owner can say what belongs there."""

MOST_CHARACTERS_PER_TOKEN = 8.0
"""No tokenizer in use puts more characters into a token, on average over an answer."""


def faults(pack: DomainPack, places: Places) -> Iterator[Remark]:
    """Everything for which a healthy model would fail, or a broken one pass."""
    try:
        contract_of(pack.response_schema, pack.answer_settings)
    except ValueError as error:
        yield Remark(what=str(error), where=places.file("domain.toml"), next_step="an answer has one form")
        return
    for diagnosis in _FAULTS:
        yield from diagnosis(pack, places)


def _placeholders(pack: DomainPack, places: Places) -> Iterator[Remark]:
    for case in pack.cases:
        if PLACEHOLDER in case.model_dump_json():
            yield Remark(
                what=f"still holds {PLACEHOLDER!r}",
                where=places.case(case),
                next_step="write a question of your domain and its right answer, or delete the line",
            )


def _rules_without_values(pack: DomainPack, places: Places) -> Iterator[Remark]:
    """Rules that name no expected field, or one whose expected value they cannot compare."""
    settings, file = pack.answer_settings, places.file("domain.toml")
    known: dict[str, None] = {}
    for case in pack.cases:
        for answer in case.right_answers:
            known |= dict.fromkeys(_paths(answer))
            for path, rule in settings.fields.items():
                found, value = _value_at(answer, path)
                problem = rule_problem(rule, _as_number(value, rule, settings)) if found else ""
                if problem:
                    yield Remark(
                        what=f"expected.{path}: [answer.fields.{path}] {problem}",
                        where=places.case(case),
                        next_step="correct the expected answer or the rule",
                    )
    for path in settings.fields:
        if path not in known:
            yield Remark(
                what=f"answer.fields.{path}: no case expects such a field{did_you_mean(path, known)}",
                where=file,
                next_step=f"expected are {', '.join(list(known)[:12]) or 'no fields at all'}",
            )


def _as_number(value: Any, rule: FieldRule, settings: AnswerSettings) -> Any:
    """The number that a labelled line holds, or the list."""
    if settings.lines is not None and isinstance(value, str):
        if rule.compare == "number":
            return finite(value) if finite(value) is not None else value
        if rule.compare == "set":
            return value.split(",")
    return value


def _paths(value: Any, path: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield f"{path}{name}"
            yield from _paths(inner, f"{path}{name}.")


def _value_at(value: Any, path: str) -> tuple[bool, Any]:
    """(whether there is a value at a path, the value)."""
    if isinstance(value, dict) and path in value:
        return True, value[path]
    name, _, rest = path.partition(".")
    if isinstance(value, dict) and rest and name in value:
        return _value_at(value[name], rest)
    return False, None


def _wholes_without_values(pack: DomainPack, places: Places) -> Iterator[Remark]:
    rule = pack.answer_settings.whole
    if rule is None or rule.compare != "number":
        return
    for case in pack.cases:
        for answer in case.right_answers:
            if not isinstance(answer, str) or finite(answer) is None:
                yield Remark(
                    what=f"expected: [answer.whole] compare = 'number' needs a number as text, not {short(answer)}",
                    where=places.case(case),
                    next_step="write it like 1234.5, or change the rule",
                )


def _uncompared(pack: DomainPack, places: Places) -> Iterator[Remark]:
    ignored = {path for path, rule in pack.answer_settings.fields.items() if rule.compare == "any"}
    if not ignored:
        return
    for case in pack.cases:
        for answer in case.right_answers:
            if isinstance(answer, dict) and answer and set(answer) <= ignored:
                yield Remark(
                    what="expected: [answer.fields] compares none of its fields, so every answer is right",
                    where=places.case(case),
                    next_step="compare at least one of them",
                )


def _answers_of_another_form(pack: DomainPack, places: Places) -> Iterator[Remark]:
    """Expected answers that break the pack's own form could never be met."""
    contract = contract_of(pack.response_schema, pack.answer_settings)
    for case in pack.cases:
        for answer in case.right_answers:
            try:
                error = next(filter(None, (_form_error(contract, one) for one in _alternatives(answer, pack))), "")
            except SlowPatternError as slow:  # the first one tells it: each further answer would take as long
                yield Remark(what=slow.what, where=places.case(case), next_step=slow.next_step or "")
                return
            if error:
                yield Remark(
                    what=f"expected: breaks {contract.name if contract else 'the form'}: {error}",
                    where=places.case(case),
                    next_step="correct the expected answer or the form",
                )


def _form_error(contract: Contract | None, answer: Expected) -> str:
    if contract is None:
        return ""
    if isinstance(contract, JsonContract) and not isinstance(answer, str):
        return contract.value_error(answer)
    if isinstance(contract, LinesContract) and isinstance(answer, dict):
        return contract.error("\n".join(f"{name}: {_line_value(value)}" for name, value in answer.items()))
    return contract.error(answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False))


def _line_value(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _alternatives(answer: Expected, pack: DomainPack) -> Iterator[Expected]:
    """The answer with each value of fields of which one of several is right."""
    lists = {
        path: value
        for path, rule in pack.answer_settings.fields.items()
        if rule.compare == "one_of" and isinstance(value := _value_at(answer, path)[1], list) and value
    }
    for at in range(max((len(values) for values in lists.values()), default=1)):
        chosen = json.loads(json.dumps(answer))
        for path, values in lists.items():
            _put(chosen, path, values[min(at, len(values) - 1)])
        yield chosen


def _put(value: Any, path: str, new: Any) -> None:
    if path in value:
        value[path] = new
        return
    name, _, rest = path.partition(".")
    _put(value[name], rest, new)


def _contradictions(pack: DomainPack, places: Places) -> Iterator[Remark]:
    for group in same_questions(pack):
        first = group[0]
        other = next((case for case in group[1:] if not _agree(first, case)), None)
        if other is not None:
            yield Remark(
                what=f"the question of {places.lines.get(first.id, first.id)} with another answer: no model gets both "
                f"right ({_criterion(first)} there, {_criterion(other)} here)",
                where=places.case(other),
                next_step="keep one of them, or name both answers in one_of",
            )


def _agree(first: Case, second: Case) -> bool:
    if first.right_answers and second.right_answers:
        return any(is_same_json(one, other) for one in first.right_answers for other in second.right_answers)
    return True  # patterns and keywords may both be met


def _criterion(case: Case) -> str:
    return short(case.right_answers[0] if case.right_answers else case.pattern or case.keywords)


def _answers_too_long(pack: DomainPack, places: Places) -> Iterator[Remark]:
    yield from too_long(pack, places, MOST_CHARACTERS_PER_TOKEN, "has")


_FAULTS: tuple[Diagnosis, ...] = (
    _placeholders,
    _rules_without_values,
    _wholes_without_values,
    _uncompared,
    _answers_of_another_form,
    _contradictions,
    _answers_too_long,
)
