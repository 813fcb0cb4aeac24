"""The list of formats, and which of them a file has."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from harness.errors import PackError
from harness.pack.formats import chat, pairs
from harness.pack.formats.question import Fields, Question, ReadOptions, Refusal, RowError
from harness.pack.formats.rows import read_rows

MIXED = 0.1
"""Share of rows in other formats from which a file is refused: below, these rows are dirt."""

LOST = 0.5
"""Share of rows that may be refused before the file is."""

CASES = "cases of a pack"

_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """One way to write a question and its answer in a row."""

    name: str
    """For the report: the fields by which it is known."""

    is_met: Callable[[Fields, ReadOptions], bool]
    questions: Callable[[Fields, ReadOptions], Iterable[Question]]
    needs: Callable[[Fields, ReadOptions], pairs.Needs] = lambda _row, _options: ()
    """The fields without which a row is none of its own, by a row that is one."""


def _by_fields(has: Callable[[Fields], bool]) -> Callable[[Fields, ReadOptions], bool]:
    return lambda row, options: has(row) and options.question is None and options.answer is None


FORMATS = (
    Format(name=CASES, is_met=_by_fields(pairs.has_case), questions=pairs.case_questions, needs=pairs.case_needs),
    Format(
        name="lm-eval samples",
        is_met=_by_fields(pairs.has_sample),
        questions=pairs.sample_questions,
        needs=pairs.sample_needs,
    ),
    Format(name="messages", is_met=_by_fields(chat.has_messages), questions=chat.messages_questions),
    Format(name="ShareGPT conversations", is_met=_by_fields(chat.has_share_gpt), questions=chat.share_gpt_questions),
    Format(
        name="prompt and completion",
        is_met=_by_fields(pairs.has_prompt),
        questions=pairs.prompt_questions,
        needs=pairs.prompt_needs,
    ),
    Format(
        name="input and ideal",
        is_met=_by_fields(pairs.has_ideal),
        questions=pairs.ideal_questions,
        needs=pairs.ideal_needs,
    ),
    Format(
        name="Alpaca instructions",
        is_met=_by_fields(pairs.has_instruction),
        questions=pairs.instruction_questions,
        needs=pairs.instruction_needs,
    ),
    Format(name="columns", is_met=pairs.has_columns, questions=pairs.column_questions, needs=pairs.column_needs),
)

_WITHOUT_ANSWERS = {
    ("chosen", "rejected"): "preferences, of which no answer is the right one: give messages or prompt and completion",
    ("text",): "running text: it has no question and no answer",
    ("query", "pos"): "pairs for retrieval: they have no answer",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionsRead:
    """What was read of a file."""

    format: str
    """Format and container: `messages in JSON Lines`."""

    row_count: int
    questions: tuple[Question, ...]
    refused: tuple[Refusal, ...]


def read_questions(file: Path, options: ReadOptions) -> QuestionsRead:
    """Read the questions of a test split.

    Raises:
        PackError: the file has no format that is known, more than one, or more wrong rows than right ones.
    """
    rows = read_rows(file)
    by_format: dict[str, list[tuple[int, Fields]]] = defaultdict(list)
    for line, fields in rows.rows:
        by_format[_format_of(fields, options)].append((line, fields))
    count = len(rows.rows) + len(rows.refused)
    found = _one_format(by_format, file, options, count)
    refused = [*rows.refused]
    needs = found.needs(by_format[found.name][0][1], options)
    for name, others in by_format.items():
        if name != found.name:
            refused += [_stranger(line, row, name, found, needs) for line, row in others]
    questions = []
    for line, row in by_format[found.name]:
        try:
            questions += [replace(one, line=line) for one in found.questions(row, options)]
        except RowError as error:
            refused.append(Refusal(line=line, field=error.field, why=error.why))
    refused.sort(key=lambda one: one.line)
    _check_losses(questions, refused, file, count)
    return QuestionsRead(
        format=f"{found.name} in {rows.container}",
        row_count=count,
        questions=tuple(questions),
        refused=tuple(refused),
    )


def _stranger(line: int, row: Fields, name: str, found: Format, needs: pairs.Needs) -> Refusal:
    """Why a row that is not of the file's format is not taken: what it lacks, if it has a part of what it needs."""
    lacking = [names[0] for names in needs if not any(one in row for one in names)]
    if 0 < len(lacking) < len(needs) and not (name and found.name != CASES):
        return Refusal(line=line, field=lacking[0], why="is missing")
    why = f"is {name}, and the file is {found.name}" if name else "has no question and answer of a known format"
    return Refusal(line=line, field="", why=why)


def _format_of(fields: Fields, options: ReadOptions) -> str:
    return next((one.name for one in FORMATS if one.is_met(fields, options)), "")


def _one_format(by_format: dict[str, list[tuple[int, Fields]]], file: Path, options: ReadOptions, count: int) -> Format:
    known = Counter({name: len(rows) for name, rows in by_format.items() if name})
    if not known:
        raise _unknown(by_format.get("", []), file, options)
    name, most = known.most_common(1)[0]
    others = {other: rows for other, rows in by_format.items() if other and other != name}
    if sum(map(len, others.values())) > MIXED * count:
        parts = [f"{most} rows of {name} (line {by_format[name][0][0]})"]
        parts += [f"{len(rows)} of {other} (line {rows[0][0]})" for other, rows in others.items()]
        raise PackError(f"mixes {', '.join(parts)}", where=str(file), next_step="give one file for each format")
    return next(one for one in FORMATS if one.name == name)


def _unknown(rows: list[tuple[int, Fields]], file: Path, options: ReadOptions) -> PackError:
    if not rows:
        return PackError("has no row that can be read", where=str(file), next_step="see its first lines")
    line, fields = rows[0]
    names = ", ".join(fields) or "none"
    for marks, what in _WITHOUT_ANSWERS.items():
        if all(mark in fields for mark in marks):
            return PackError(f"holds {what}", where=f"{file}, line {line}", next_step=f"its fields are {names}")
    asked = [name for name in (options.question, options.answer) if name is not None and name not in fields]
    what = f"has no field {asked[0]!r}" if asked else "has no question and answer that are known by their names"
    return PackError(
        what,
        where=f"{file}, line {line}",
        next_step=f"name them with --question FIELD --answer FIELD; its fields are {names}",
    )


def _check_losses(questions: list[Question], refused: list[Refusal], file: Path, count: int) -> None:
    if questions and len(refused) <= LOST * count:
        return
    reasons = "\n".join(f"  {one}" for one in refused[:_SHOWN])
    more = f"\n  and {len(refused) - _SHOWN} more" if len(refused) > _SHOWN else ""
    raise PackError(
        f"{len(refused)} of {count} rows cannot be asked:\n{reasons}{more}",
        where=str(file),
        next_step="correct the rows, or give a file in which most can be asked",
    )
