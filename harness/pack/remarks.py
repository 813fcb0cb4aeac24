"""What an owner is told of a pack: something makes its results say less than they seem to."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator

from harness.grading.criterion import Expected
from harness.grading.grade import Grader
from harness.pack.places import Diagnosis, Places, same_questions, short, token_width, too_long
from harness.pack.schema import OUT_OF_SCOPE, Case, DomainPack, Remark
from harness.pack.seen import seen_answers

INFERRED = "the form of answers was inferred, and nobody has confirmed it"
"""What is told of a draft."""

USUAL_CHARACTERS_PER_TOKEN = 3.0
"""What most tokenizers put at least into a token of prose or JSON in Latin script."""

ENOUGH_CASES = 30
"""Fewer leave an interval of more than 11 points below a perfect score."""

MANY_CASES = 2000
"""More take hours, and say little that the first thousand do not."""

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


def remarks(pack: DomainPack, places: Places) -> Iterator[Remark]:
    """Everything that makes results say less than they seem to."""
    for diagnosis in _REMARKS:
        yield from diagnosis(pack, places)


def _draft(pack: DomainPack, places: Places) -> Iterator[Remark]:
    if not pack.domain.draft:
        return
    file = places.file("domain.toml")
    is_written = file.endswith(".toml")
    form = "response.schema.json" if pack.response_schema is not None else "[answer]"
    check = (
        f"its comments list the answers seen for each field: add what is missing to {form}, correct slips"
        if seen_answers(pack.cases)
        else "read how it compares answers, correct it"
    )
    yield Remark(
        what=INFERRED,
        where=file,
        next_step=f"{check}, and delete `draft = true`"
        if is_written
        else "write it down with `slm-gate pack FILE --out DIR`, correct it, and use --domain DIR",
    )


def _answers_probably_too_long(pack: DomainPack, places: Places) -> Iterator[Remark]:
    yield from too_long(pack, places, USUAL_CHARACTERS_PER_TOKEN, "has probably")
    is_guessed = not pack.domain.draft  # a draft has seen the thinking parts themselves
    if is_guessed and pack.answer_settings.thinking_markers and pack.domain.max_new_tokens < 256:
        yield Remark(
            what=f"answers stand behind a thinking part, and max_new_tokens = {pack.domain.max_new_tokens} may end it",
            where=places.file("domain.toml"),
            next_step="give room for both",
        )


def _in_both_splits(pack: DomainPack, places: Places) -> Iterator[Remark]:
    """Questions that are kept back and seen at once, and questions that count twice."""
    groups = same_questions(pack)
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
            what=f"{count} of {len(asked)} cases expect {short(json.loads(answer))}, so that one fixed answer passes",
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
    yield from repeated_padding(pack, places, int(token_width(pack.padding) / 2), "at most about ")


def repeated_padding(pack: DomainPack, places: Places, tokens: int, how: str) -> Iterator[Remark]:
    """Padding that has fewer tokens than the longest step of the sweep asks for."""
    most = max(pack.domain.length.padding_tokens)
    if tokens < most:
        yield Remark(
            what=f"{how}{tokens} tokens, of which length.padding_tokens makes {most}: the text is repeated "
            f"{-(-most // max(1, tokens))} times, and models answer otherwise behind repetitions",
            where=places.file("padding.txt"),
            next_step="put more prose into it, or leave the file out",
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
