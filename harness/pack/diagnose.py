"""What makes a pack mislead: faults, for which it is refused, and remarks, which its owner is told."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.config.diagnosis import did_you_mean
from harness.errors import PackError
from harness.grading.contract import Contract, JsonContract, LinesContract, contract_of
from harness.grading.criterion import Expected, rule_problem
from harness.grading.grade import Grader
from harness.grading.json_values import is_same_json, normal
from harness.grading.settings import AnswerSettings, FieldRule, finite
from harness.pack.schema import OUT_OF_SCOPE, Case, DomainPack, Remark

PLACEHOLDER = "REPLACE ME"
"""What drafted cases hold where only their owner can say what belongs there."""

INFERRED = "the form of answers was inferred, and nobody has confirmed it"
"""What is told of a draft."""

MOST_CHARACTERS_PER_TOKEN = 8.0
"""No tokenizer in use puts more characters into a token, on average over an answer."""

USUAL_CHARACTERS_PER_TOKEN = 3.0
"""What most tokenizers put at least into a token of prose or JSON in Latin script."""

ENOUGH_CASES = 30
"""Fewer leave an interval of more than 11 points below a perfect score."""

MANY_CASES = 2000
"""More take hours, and say little that the first thousand do not."""

_SHOWN = 4
_MOJIBAKE = re.compile(r"\ufffd|Ã[\u0080-\u00bf]|â€|Â[\u00a0-\u00bf]")
_TEMPLATE_MARKERS = (
    "<|im_start|>",
    "<|im_end|>",
    "<|start_header_id|>",
    "<|eot_id|>",
    "[INST]",
    "<start_of_turn>",
    "<|user|>",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where the parts of a pack were read, for messages."""

    files: Mapping[str, Path]
    """Each file of a pack by its name; for a test split all of them are that one file."""

    lines: Mapping[str, int] = field(default_factory=dict)
    """Line of each case by its id."""

    def file(self, name: str) -> str:
        """A file as messages name it."""
        return str(self.files.get(name, name))

    def case(self, case: Case) -> str:
        """A case as messages name it."""
        line = self.lines.get(case.id)
        file = self.file("cases.jsonl")
        return f"{file}, line {line}" if line else f"{file}, case {case.id!r}"

    def cases(self, cases: Sequence[Case]) -> str:
        """Some cases: the file, and the lines of the first of them."""
        lines = ", ".join(str(self.lines.get(case.id, case.id)) for case in cases[:_SHOWN])
        more = f" and {len(cases) - _SHOWN} more" if len(cases) > _SHOWN else ""
        return f"{self.file('cases.jsonl')}, line{'s' if len(cases) > 1 else ''} {lines}{more}"


Diagnosis = Callable[[DomainPack, Places], Iterator[Remark]]


def faults(pack: DomainPack, places: Places) -> Iterator[Remark]:
    """Everything for which a healthy model would fail, or a broken one pass."""
    try:
        contract_of(pack.response_schema, pack.answer_settings)
    except ValueError as error:
        yield Remark(what=str(error), where=places.file("domain.toml"), next_step="an answer has one form")
        return
    for diagnosis in _FAULTS:
        yield from diagnosis(pack, places)


def remarks(pack: DomainPack, places: Places) -> Iterator[Remark]:
    """Everything that makes results say less than they seem to."""
    for diagnosis in _REMARKS:
        yield from diagnosis(pack, places)


# Faults


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
                    what=f"expected: [answer.whole] compare = 'number' needs a number as text, not {_short(answer)}",
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
            error = next(filter(None, (_form_error(contract, one) for one in _alternatives(answer, pack))), "")
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
    for group in _same_questions(pack):
        first = group[0]
        other = next((case for case in group[1:] if not _agree(first, case)), None)
        if other is not None:
            yield Remark(
                what=f"the question of {places.lines.get(first.id, first.id)} with another answer: no model gets both "
                f"right ({_criterion(first)} there, {_criterion(other)} here)",
                where=places.case(other),
                next_step="keep one of them, or name both answers in one_of",
            )


def _same_questions(pack: DomainPack) -> list[list[Case]]:
    groups: dict[str, list[Case]] = defaultdict(list)
    for case in pack.cases:
        groups[question_key(pack.conversation(case.messages))].append(case)
    return [group for group in groups.values() if len(group) > 1]


def question_key(conversation: Sequence[Mapping[str, str]]) -> str:
    """What is the same for conversations that differ in blanks and upper case only."""
    turns = [[turn["role"], " ".join(normal(turn["content"]).casefold().split())] for turn in conversation]
    return json.dumps(turns)


def _agree(first: Case, second: Case) -> bool:
    if first.right_answers and second.right_answers:
        return any(is_same_json(one, other) for one in first.right_answers for other in second.right_answers)
    return True  # patterns and keywords may both be met


def _criterion(case: Case) -> str:
    return _short(case.right_answers[0] if case.right_answers else case.pattern or case.keywords)


def _answers_too_long(pack: DomainPack, places: Places) -> Iterator[Remark]:
    yield from _too_long(pack, places, MOST_CHARACTERS_PER_TOKEN, "has")


def _too_long(pack: DomainPack, places: Places, characters_per_token: float, how: str) -> Iterator[Remark]:
    room = pack.domain.max_new_tokens
    needed = {case.id: _least_tokens(case, characters_per_token) for case in pack.cases}
    long = [case for case in pack.cases if needed[case.id] > room]
    if long:
        most = max(needed.values())
        yield Remark(
            what=f"expected: {how} {needed[long[0].id]} tokens or more, and max_new_tokens = {room} cuts it off",
            where=places.cases(long),
            next_step=f"say max_new_tokens = {rounded_up(2 * most)} in domain.toml; short answers end before it",
        )


def _least_tokens(case: Case, characters_per_token: float) -> int:
    """The fewest tokens of any right answer and its end-of-sequence token."""
    texts = [shortest_text(answer) for answer in case.right_answers]
    return min((int(token_width(text) / characters_per_token) + 1 for text in texts), default=0)


def token_width(text: str) -> float:
    """Characters of a text, where a sign of a script without blanks counts for three."""
    wide = len(re.findall(r"[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\u3040-\u30ff]", text))
    return len(text) + 2 * wide


def shortest_text(answer: Expected) -> str:
    """The shortest way to write a right answer."""
    if isinstance(answer, str):
        return answer.strip()
    return json.dumps(answer, ensure_ascii=False, separators=(",", ":"))


def rounded_up(tokens: float, step: int = 16) -> int:
    """The next multiple of `step`."""
    return -(-int(tokens) // step) * step


# Remarks


def _draft(pack: DomainPack, places: Places) -> Iterator[Remark]:
    if not pack.domain.draft:
        return
    file = places.file("domain.toml")
    is_written = file.endswith(".toml")
    yield Remark(
        what=INFERRED,
        where=file,
        next_step="read what it says of answers, correct it, and delete `draft = true`"
        if is_written
        else "write it down with `slm-gate pack FILE --out DIR`, correct it, and use --domain DIR",
    )


def _answers_probably_too_long(pack: DomainPack, places: Places) -> Iterator[Remark]:
    yield from _too_long(pack, places, USUAL_CHARACTERS_PER_TOKEN, "has probably")
    is_guessed = not pack.domain.draft  # a draft has seen the thinking parts themselves
    if is_guessed and pack.answer_settings.thinking_markers and pack.domain.max_new_tokens < 256:
        yield Remark(
            what=f"answers stand behind a thinking part, and max_new_tokens = {pack.domain.max_new_tokens} may end it",
            where=places.file("domain.toml"),
            next_step="give room for both",
        )


def _in_both_splits(pack: DomainPack, places: Places) -> Iterator[Remark]:
    """Questions that are kept back and seen at once, and questions that count twice."""
    groups = _same_questions(pack)
    seen = [group for group in groups if len({case.split for case in group}) > 1]
    if seen:
        cases = [case for group in seen for case in group]
        yield Remark(
            what=f"{len(seen)} questions stand in dev and in final: what was tuned on is not kept back",
            where=places.cases(cases),
            next_step="delete them from one of the splits",
        )
    twice = [group for group in groups if group not in seen]
    if twice:
        yield Remark(
            what=f"{len(twice)} questions stand more than once, and count as often",
            where=places.cases([case for group in twice for case in group]),
            next_step="keep one of each",
        )


def _one_answer(pack: DomainPack, places: Places) -> Iterator[Remark]:
    asked = [case for case in pack.cases if case.kind != OUT_OF_SCOPE and case.right_answers]
    if len(asked) < 5:
        return
    counts = Counter(json.dumps(case.right_answers[0], sort_keys=True) for case in asked)
    answer, count = counts.most_common(1)[0]
    if count >= 0.9 * len(asked):
        yield Remark(
            what=f"{count} of {len(asked)} cases expect {_short(json.loads(answer))}, so that one fixed answer passes",
            where=places.file("cases.jsonl"),
            next_step="add cases with other answers, or look at the score of each kind",
        )


def _met_by_the_question(pack: DomainPack, places: Places) -> Iterator[Remark]:
    grader = Grader(None)
    met = [
        case
        for case in pack.cases
        if (case.pattern or case.keywords) and not grader.content_error(case, case.messages[-1].content or " ")
    ]
    if met:
        yield Remark(
            what="pattern or keywords: a model that repeats the question meets them",
            where=places.cases(met),
            next_step="ask for what only the answer holds",
        )


def _kinds(pack: DomainPack, places: Places) -> Iterator[Remark]:
    for kind in dict.fromkeys(case.kind for case in pack.cases):
        plain = re.sub(r"[^a-z]", "", kind.lower())
        if kind != OUT_OF_SCOPE and plain in ("outofscope", "oos", "outscope", "offtopic"):
            yield Remark(
                what=f"kind {kind!r} counts as in scope (did you mean {OUT_OF_SCOPE!r}?)",
                where=places.case(next(case for case in pack.cases if case.kind == kind)),
                next_step=f"call it {OUT_OF_SCOPE}, or otherwise if it is not meant",
            )
    if all(case.kind == OUT_OF_SCOPE for case in pack.cases):
        yield Remark(
            what="every case is out of scope: exact_match_rate has no data",
            where=places.file("cases.jsonl"),
            next_step="add cases that the model is for",
        )


def _number_of_cases(pack: DomainPack, places: Places) -> Iterator[Remark]:
    count = len(pack.cases)
    if count < ENOUGH_CASES:
        lowest = 100 * count / (count + 3.84)  # Wilson's lower end at a perfect score
        yield Remark(
            what=f"{count} cases: even if all are right, the rate may be as low as {lowest:.0f} % (95 %)",
            where=places.file("cases.jsonl"),
            next_step=f"give at least {ENOUGH_CASES}, better a few hundred",
        )
    if count > MANY_CASES:
        yield Remark(
            what=f"{count} cases: every variant is asked all of them",
            where=places.file("cases.jsonl"),
            next_step="take fewer, spread over the file: slm-gate pack FILE --cases 500 --out DIR",
        )


def _texts_that_look_wrong(pack: DomainPack, places: Places) -> Iterator[Remark]:
    broken = [case for case in pack.cases if _MOJIBAKE.search(_all_text(case))]
    if broken:
        yield Remark(
            what="holds signs that a wrong encoding leaves, such as 'Ã¼' or '\ufffd'",
            where=places.cases(broken),
            next_step="export the texts again as UTF-8",
        )
    marked = [case for case in pack.cases if any(marker in _all_text(case) for marker in _TEMPLATE_MARKERS)]
    if marked:
        yield Remark(
            what="holds markers of a chat template, and the model's own template is put around it once more",
            where=places.cases(marked),
            next_step="give the bare text of each turn",
        )


def _all_text(case: Case) -> str:
    answers = [one if isinstance(one, str) else json.dumps(one, ensure_ascii=False) for one in case.right_answers]
    return "\n".join([*(turn.content for turn in case.messages), *answers])


def _json_as_text(pack: DomainPack, places: Places) -> Iterator[Remark]:
    found = [case for case in pack.cases if any(_is_json_text(answer) for answer in case.right_answers)]
    if found and pack.answer_settings.whole is None:
        yield Remark(
            what="expected: is JSON written as a text, so that one blank more counts as wrong",
            where=places.cases(found),
            next_step="write it as JSON, without quotation marks around it",
        )


def _is_json_text(answer: Expected) -> bool:
    if not isinstance(answer, str) or answer.strip()[:1] not in ("{", "["):
        return False
    try:
        json.loads(answer)
    except ValueError:
        return False
    return True


def _length_sweep(pack: DomainPack, places: Places) -> Iterator[Remark]:
    usable = sum(case.kind != OUT_OF_SCOPE and case.is_single_turn for case in pack.cases)
    sweep, file = pack.domain.length, places.file("domain.toml")
    if 0 < usable < sweep.cases and "cases" in sweep.model_fields_set:
        yield Remark(
            what=f"length.cases = {sweep.cases}, and {usable} in-scope cases of a single turn are there",
            where=file,
            next_step="add some, or lower it",
        )
    yield from _repeated(pack, places, int(token_width(pack.padding) / 2), "at most about ")


def _repeated(pack: DomainPack, places: Places, tokens: int, how: str) -> Iterator[Remark]:
    most = max(pack.domain.length.padding_tokens)
    if tokens < most:
        yield Remark(
            what=f"{how}{tokens} tokens, of which length.padding_tokens makes {most}: the text is repeated "
            f"{-(-most // max(1, tokens))} times, and models answer otherwise behind repetitions",
            where=places.file("padding.txt"),
            next_step="put more prose into it, or leave the file out",
        )


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


_FAULTS: tuple[Diagnosis, ...] = (
    _placeholders,
    _rules_without_values,
    _wholes_without_values,
    _uncompared,
    _answers_of_another_form,
    _contradictions,
    _answers_too_long,
)
_REMARKS: tuple[Diagnosis, ...] = (
    _draft,
    _answers_probably_too_long,
    _in_both_splits,
    _one_answer,
    _met_by_the_question,
    _kinds,
    _number_of_cases,
    _texts_that_look_wrong,
    _json_as_text,
    _length_sweep,
)


# With a tokenizer at hand


def diagnose_tokens(
    pack: DomainPack, encode: Callable[[str], Sequence[int]], context_length: int
) -> tuple[Remark, ...]:
    """What only a tokenizer shows: answers that are cut, questions that do not fit, padding that comes again.

    Raises:
        PackError: no model with this tokenizer could answer a case.
    """
    places = Places(files={})
    room = pack.domain.max_new_tokens
    for case in pack.cases:
        answers = [len(encode(shortest_text(answer))) + 1 for answer in case.right_answers]
        if answers and min(answers) > room:
            raise PackError(
                f"expected: has {min(answers)} tokens with its end, and max_new_tokens = {room} cuts it off",
                where=f"{pack.folder}, case {case.id!r}",
                next_step=f"say max_new_tokens = {rounded_up(1.25 * min(answers))} or more in domain.toml",
            )
        prompt = sum(len(encode(turn["content"])) for turn in pack.conversation(case.messages))
        if prompt + max([1, *answers]) > context_length:
            raise PackError(
                f"the question has {prompt} tokens, and the context of {context_length} has no room for its answer",
                where=f"{pack.folder}, case {case.id!r}",
                next_step="delete the case, or shorten its question",
            )
    steps = [tokens for tokens in pack.domain.length.padding_tokens if tokens + room + 64 > context_length]
    left_out = Remark(
        what=f"length.padding_tokens: {', '.join(map(str, steps))} leave no room in the context of {context_length}",
        where="domain.toml",
        next_step="they are left out; shorten them to see the model's longest prompts",
    )
    return (*([left_out] if steps else []), *_repeated(pack, places, len(encode(pack.padding)), ""))
