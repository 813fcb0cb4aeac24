"""A team's test split becomes a domain pack: what was read, what was refused, and what was inferred is told."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.errors import PackError
from harness.grading.criterion import Expected
from harness.grading.json_values import is_same_json
from harness.pack import defaults, prose
from harness.pack.answer_draft import Drafted, draft_answers
from harness.pack.choose import spread
from harness.pack.formats.changes import reading_notes
from harness.pack.formats.detect import read_questions
from harness.pack.formats.question import Question, ReadOptions, Refusal, field_value
from harness.pack.grouping import cluster_field, cluster_of, kinds_of_questions, unused_fields
from harness.pack.load import OPTIONAL, REQUIRED, assembled, checked, load_pack
from harness.pack.places import Places, question_key, rounded_up, token_width
from harness.pack.schema import (
    OUT_OF_SCOPE,
    Case,
    DomainPack,
    DomainSettings,
    PromptLengthSweep,
    ReadFile,
)

_SPLITS = {
    **dict.fromkeys(("dev", "validation", "valid", "val", "eval"), "dev"),
    **dict.fromkeys(("final", "test", "holdout", "held_out"), "final"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadReport:
    """What was read of a test split, for its owner."""

    file: Path
    format: str
    """Format and container: `messages in JSON Lines`."""

    row_count: int
    case_count: int
    refused: tuple[Refusal, ...]
    """Rows that are not asked, and why."""

    form: str
    """What answers seem to be."""

    notes: tuple[str, ...]
    """What was changed or inferred, to be confirmed."""

    @property
    def read_file(self) -> ReadFile:
        """The same for the pack that is written down."""
        return ReadFile(
            file=self.file.name,
            format=self.format,
            rows=self.row_count,
            not_taken=len(self.refused),
            notes=self.notes,
        )

    def lines(self, most: int = 10) -> list[str]:
        """The report as text, with up to `most` refused rows."""
        head = f"{self.file.name}: {self.row_count} rows of {self.format}, {self.case_count} cases"
        refused = [f"  {one}" for one in self.refused[:most]]
        if len(self.refused) > most:
            refused.append(
                f"  and {len(self.refused) - most} more: `slm-gate pack {self.file.name} --out DIR` lists all"
            )
        counted = f"not taken: {len(self.refused)}" if self.refused else "every row was taken"
        return [head, f"answers: {self.form}", *self.notes, counted, *refused]


def read_test_split(file: Path, options: ReadOptions | None = None) -> tuple[DomainPack, ReadReport]:
    """Read a test split and draft a domain pack from it.

    The formats are chat fine-tuning (`messages`), prompt and completion, Alpaca, ShareGPT, `input` and `ideal`, samples
    of lm-eval, columns of CSV or JSON, and a pack's own cases; in JSON Lines, a JSON list or a table, also in gzip.

    Raises:
        PackError: it cannot be read, mixes formats, or most of it cannot be asked; the message names line and field.
    """
    options = options or ReadOptions()
    read = read_questions(file, options)
    refused = list(read.refused)
    questions = _without_training(read.questions, refused)
    drafted = draft_answers(questions)
    refused += [Refusal(line=question.line, field=question.field, why=why) for question, why in drafted.slips]
    drafted = replace(drafted, questions=tuple(_without_repeats(drafted, refused)))
    if not drafted.questions:
        raise PackError(
            f"no question is left of {read.row_count} rows:\n" + "\n".join(f"  {one}" for one in refused[:5]),
            where=str(file),
            next_step="correct the rows",
        )
    if options.cases is not None:
        drafted = replace(drafted, questions=spread(drafted.questions, options.cases))
    taken = {(one.line, one.turn) for one in drafted.questions}
    notes = reading_notes([one for one in read.questions if (one.line, one.turn) in taken])
    notes += drafted.notes
    cases, system = _cases(drafted, options, notes)
    pack = _pack(file, drafted, cases, system, questions)
    report = ReadReport(
        file=file,
        format=read.format,
        row_count=read.row_count,
        case_count=len(cases),
        refused=tuple(sorted(refused, key=lambda one: one.line)),
        form=drafted.form,
        notes=tuple(notes),
    )
    lines = {case.id: question.line for case, question in zip(cases, drafted.questions, strict=True)}
    pack = pack.model_copy(update={"domain": pack.domain.model_copy(update={"read": report.read_file})})
    return checked(pack, Places(files=dict.fromkeys((*REQUIRED, *OPTIONAL), file), lines=lines)), report


def open_domain(place: Path) -> DomainPack:
    """The domain pack of a folder, or of a test split that is one file.

    Raises:
        PackError: it is missing or wrong.
    """
    is_file = place.is_file() or (place.suffix and not place.exists())
    return load_data(place) if is_file else load_pack(place)


def load_data(file: Path, options: ReadOptions | None = None) -> DomainPack:
    """A test split as a domain pack, without any other file.

    Raises:
        PackError: as `read_test_split`.
    """
    pack, report = read_test_split(file, options)
    return pack.model_copy(update={"reading": tuple(report.lines())})


def _without_training(questions: Sequence[Question], refused: list[Refusal]) -> list[Question]:
    kept = []
    for question in questions:
        if str(field_value(question.row, "split")).lower() in ("train", "training"):
            refused.append(Refusal(line=question.line, field="split", why="the model was trained on it"))
        else:
            kept.append(question)
    return kept


def _without_repeats(drafted: Drafted, refused: list[Refusal]) -> list[Question]:
    """Each question once; where the same one has different answers, both are right of free text, else none is kept."""
    groups: dict[str, list[Question]] = {}
    for question in drafted.questions:
        turns = [turn.model_dump() for turn in question.messages]
        groups.setdefault(question_key(turns), []).append(question)
    is_free = drafted.settings.whole is not None and drafted.settings.whole.compare == "similar"
    kept = []
    for group in groups.values():
        first = group[0]
        different = [one for one in group[1:] if not _has_same_answer(first, one)]
        if not different or is_free:
            kept.append(replace(first, answers=_all_answers(group)) if different else first)
            why = f"asks what line {first.line} asks" + (", whose answers were put together" if different else "")
            refused += [Refusal(line=one.line, field="", why=why) for one in group[1:]]
        else:
            lines = ", ".join(str(one.line) for one in group)
            why = f"lines {lines} ask the same and expect different answers: no model gets all of them right"
            refused += [Refusal(line=one.line, field="", why=why) for one in group]
    return kept


def _has_same_answer(first: Question, second: Question) -> bool:
    if not (first.answers and second.answers):
        return True
    return any(is_same_json(one, other) for one in first.answers for other in second.answers)


def _all_answers(group: Sequence[Question]) -> tuple[Expected, ...]:
    answers: list[Expected] = []
    for answer in (answer for question in group for answer in question.answers):
        if not any(is_same_json(answer, one) for one in answers):
            answers.append(answer)
    return tuple(answers)


def _cases(drafted: Drafted, options: ReadOptions, notes: list[str]) -> tuple[list[Case], str | None]:
    """The cases, and the system prompt that all of them share."""
    questions = drafted.questions
    kinds = kinds_of_questions(drafted, options, notes)
    cluster = options.cluster or cluster_field(questions, notes)
    names = _names(questions)
    system = _shared_system(questions)
    cases = []
    for question, name, kind in zip(questions, names, kinds, strict=True):
        turns = question.messages[1:] if system else question.messages
        if question.case is not None and not question.answers:
            cases.append(question.case.model_copy(update={"messages": turns}))
            continue
        cases.append(
            Case(
                id=name,
                kind=kind,
                split=_split_of(question),
                cluster=cluster_of(question, cluster, options),
                messages=turns,
                expected=question.answers[0] if len(question.answers) == 1 else None,
                one_of=question.answers if len(question.answers) > 1 else None,
            )
        )
    if system:
        notes.append("the system prompt that all rows share was put into domain.toml")
    unused = unused_fields(questions, cases)
    if unused:
        notes.append(f"not used: {', '.join(unused)}")
    return cases, system


def _split_of(question: Question) -> Any:
    if question.case is not None:
        return question.case.split
    return _SPLITS.get(str(field_value(question.row, "split")).lower(), "final")


def _shared_system(questions: Sequence[Question]) -> str | None:
    first = {question.messages[0] for question in questions}
    only = next(iter(first)) if len(first) == 1 else None
    return only.content if only is not None and only.role == "system" else None


def _names(questions: Sequence[Question]) -> list[str]:
    """The rows' own ids where they are unique, else their lines."""
    ends = [f"-turn-{question.turn}" if question.turn else "" for question in questions]
    given = [field_value(question.row, "id") for question in questions]
    if all(isinstance(name, str | int) and str(name).strip() for name in given):
        own = [f"{name}{end}" for name, end in zip(given, ends, strict=True)]
        if len(set(own)) == len(own):
            return own
    return [f"row-{question.line}{end}" for question, end in zip(questions, ends, strict=True)]


def _pack(
    file: Path, drafted: Drafted, cases: Sequence[Case], system: str | None, questions: Sequence[Question]
) -> DomainPack:
    usable = sum(case.kind != OUT_OF_SCOPE and case.is_single_turn for case in cases)
    sweep = PromptLengthSweep(cases=max(1, min(40, usable)))
    domain = DomainSettings(
        schema_version=1,
        name=re.sub(r"[^a-z0-9]+", "-", file.name.lower().split(".")[0]).strip("-") or "domain",
        description=f"Drafted from {file.name}.",
        draft=True,
        max_new_tokens=_room(questions),
        system_prompt=system,
        answer=drafted.settings,
        length=sweep,
    )
    language = prose.language_of(turn.content for case in cases for turn in case.messages)
    return assembled(
        file,
        domain,
        cases,
        drafted.schema,
        edge_cases=defaults.edge_cases(language),
        texts=defaults.texts(cases),
        padding=prose.padding(language, max(sweep.padding_tokens)),
    )


def _room(questions: Sequence[Question]) -> int:
    """Tokens for the longest answer of the file, thinking and fences included: one for each two characters."""
    texts = [defaults.written(answer) for question in questions for answer in question.answers]
    return rounded_up(max(map(token_width, texts), default=64) / 2 + 16)
