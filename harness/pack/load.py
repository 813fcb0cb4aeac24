"""Reads a domain pack: every file is checked before anything long starts, and all that is wrong is told at once."""

from __future__ import annotations

import difflib
import hashlib
import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from harness.config.diagnosis import validation_error
from harness.errors import PackError
from harness.grading.json_schema import schema_problems, unchecked
from harness.grading.json_values import parse_json
from harness.pack import defaults, prose
from harness.pack.faults import faults
from harness.pack.places import Places
from harness.pack.remarks import remarks
from harness.pack.schema import Case, DomainPack, DomainSettings, EdgeCase, Remark, Text
from harness.system.text_files import read_text

REQUIRED = ("domain.toml", "cases.jsonl")
SCHEMA_FILE = "response.schema.json"
NOT_TAKEN_FILE = "not_taken.txt"
"""Rows of the test split that a pack was drafted from, as far as they are not asked; written, and never read."""

OPTIONAL = {
    SCHEMA_FILE: "the form of answers; without it they are free text",
    "edge_cases.jsonl": "built-in ones without it",
    "texts.jsonl": "the questions and answers without it",
    "padding.txt": "built-in prose without it",
}
_SHOWN = 8
_Row = TypeVar("_Row", Case, EdgeCase, Text)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rows:
    """The rows of a JSON Lines file that were read, their lines, and what is wrong with the others."""

    rows: tuple[Any, ...]
    lines: Mapping[str, int]
    faults: tuple[PackError, ...]


def load_pack(folder: Path) -> DomainPack:
    """Read and validate a domain pack.

    Raises:
        PackError: a file is missing or wrong; the message names file, line and field of everything that was found.
    """
    _require_files(folder)
    found: list[PackError] = []
    domain = _read_or_note(found, lambda: _domain(folder / "domain.toml"))
    schema = _read_or_note(found, lambda: _schema(folder / SCHEMA_FILE))
    cases = _read_or_note(found, lambda: _rows(folder / "cases.jsonl", Case))
    edges = _read_or_note(found, lambda: _optional_rows(folder / "edge_cases.jsonl", EdgeCase))
    texts = _read_or_note(found, lambda: _optional_rows(folder / "texts.jsonl", Text))
    padding = _read_or_note(found, lambda: _padding(folder / "padding.txt"))
    for rows in (cases, edges, texts):
        found += rows.faults if rows else ()
    raise_all(found, folder)
    language = prose.language_of(turn.content for case in cases.rows for turn in case.messages)
    pack = assembled(
        folder,
        domain,
        cases.rows,
        schema,
        edge_cases=edges.rows if edges else defaults.edge_cases(language),
        texts=texts.rows if texts else defaults.texts(cases.rows),
        padding=padding or prose.padding(language, max(domain.length.padding_tokens)),
    )
    places = Places(files={name: folder / name for name in (*REQUIRED, *OPTIONAL)}, lines=cases.lines)
    reading = domain.read.told(folder / NOT_TAKEN_FILE) if domain.read else ()
    pack = pack.model_copy(update={"reading": reading})
    return checked(pack, places, [*_strays(folder), *_unchecked(folder / SCHEMA_FILE, schema)])


def assembled(
    folder: Path,
    domain: DomainSettings,
    cases: Sequence[Case],
    schema: dict[str, Any] | None,
    *,
    edge_cases: Sequence[EdgeCase],
    texts: Sequence[Text],
    padding: str,
) -> DomainPack:
    """A pack of its parts, with its digest."""
    parts = {
        "domain": domain.model_dump(mode="json", exclude={"name", "description", "draft", "read"}),
        "cases": [case.model_dump(mode="json") for case in cases],
        "edge_cases": [case.model_dump(mode="json") for case in edge_cases],
        "texts": [text.model_dump(mode="json") for text in texts],
        "schema": schema,
        "padding": padding,
    }
    return DomainPack(
        folder=folder,
        domain=domain,
        cases=tuple(cases),
        edge_cases=tuple(edge_cases),
        texts=tuple(texts),
        response_schema=schema,
        padding=padding,
        digest=hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest(),
    )


def checked(pack: DomainPack, places: Places, further: Sequence[Remark] = ()) -> DomainPack:
    """The same pack with what its owner should know.

    Raises:
        PackError: it would mislead; the message names everything that was found.
    """
    found = [PackError(one.what, where=one.where, next_step=one.next_step) for one in faults(pack, places)]
    raise_all(found, pack.folder)
    return pack.model_copy(update={"remarks": (*further, *remarks(pack, places))})


def raise_all(found: Sequence[PackError], folder: Path) -> None:
    """Raise one error that tells all that were found.

    Raises:
        PackError: there is one.
    """
    if len(found) == 1:
        raise found[0]
    if found:
        lines = [f"  {error.where}: {error.what}; {error.next_step or ''}".rstrip("; ") for error in found[:_SHOWN]]
        more = [f"  and {len(found) - _SHOWN} more"] if len(found) > _SHOWN else []
        raise PackError(
            "\n".join([f"{len(found)} things are wrong with the domain pack:", *lines, *more]),
            where=str(folder),
            next_step="correct these, the first ones first",
        )


def _read_or_note(found: list[PackError], read: Any) -> Any:
    try:
        return read()
    except PackError as error:
        found.append(error)
        return None


def _require_files(folder: Path) -> None:
    if folder.is_file():
        raise PackError(
            "is a file, and a domain pack is a folder",
            where=str(folder),
            next_step="give a test split with --data FILE",
        )
    if not folder.is_dir():
        raise PackError(
            "no such domain pack", where=str(folder), next_step="give the folder that holds domain.toml with --domain"
        )
    missing = [name for name in REQUIRED if not (folder / name).is_file()]
    if missing:
        optional = "\n".join(f"    {name}: {meaning}" for name, meaning in OPTIONAL.items())
        raise PackError(
            f"the domain pack has no {' and no '.join(missing)}\n  optional are:\n{optional}",
            where=str(folder),
            next_step=f"add {' and '.join(missing)}; `slm-gate pack FILE --out DIR` drafts them from a test split",
        )


def _strays(folder: Path) -> list[Remark]:
    """Files that are probably meant to be the pack's, under a name that is not read."""
    known = {_plain(name): name for name in (*REQUIRED, *OPTIONAL)}
    found = []
    for file in sorted(folder.iterdir()):
        near = difflib.get_close_matches(_plain(file.name), known, n=1, cutoff=0.8)
        meant = known[near[0]] if near else file.name
        if file.is_file() and meant != file.name and not (folder / meant).exists():
            found.append(
                Remark(what="is not read", where=str(file), next_step=f"call it {meant} if it belongs to the pack")
            )
    return found


def _plain(name: str) -> str:
    """A file's name without what people get wrong: endings, case, dashes, and `response` before the schema."""
    stem = re.sub(r"(\.(jsonl?|txt|md|toml))+$", "", name.lower())
    return re.sub(r"^response[._ -]+", "", stem).replace("-", "_").replace(" ", "_")


def _domain(file: Path) -> DomainSettings:
    text = _read(file)
    try:
        return DomainSettings.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise PackError(f"not valid TOML: {error}", where=str(file), next_step="correct that line") from error
    except ValidationError as error:
        raise validation_error(error, DomainSettings, file, text, PackError) from error


def _read(file: Path) -> str:
    try:
        return read_text(file, PackError)
    except OSError as error:
        raise PackError(
            f"cannot be read: {error.strerror or error}", where=str(file), next_step="see what is there"
        ) from error


def _padding(file: Path) -> str | None:
    if not file.exists():
        return None
    text = _read(file)
    if not text.strip():
        raise PackError("is empty", where=str(file), next_step="put unrelated prose into it, or leave the file out")
    return text.rstrip()


def _optional_rows(file: Path, kind: type[_Row]) -> _Rows | None:
    return _rows(file, kind) if file.exists() else None


def _rows(file: Path, kind: type[_Row]) -> _Rows:
    """The validated rows of a JSON Lines file."""
    rows: list[_Row] = []
    lines: dict[str, int] = {}
    wrong: list[PackError] = []
    for number, line in enumerate(_read(file).split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = _row(file, number, line, kind)
        except PackError as error:
            wrong.append(error)
            continue
        if row.id in lines:
            what = f"id: {row.id!r} stands on line {lines[row.id]} too"
            wrong.append(PackError(what, where=f"{file}, line {number}", next_step="ids are unique"))
        lines.setdefault(row.id, number)
        rows.append(row)
    if not rows and not wrong:
        is_needed = file.name in REQUIRED
        next_step = "no data is never a pass: add some" if is_needed else "add some, or leave the file out"
        raise PackError("has no rows", where=str(file), next_step=next_step)
    return _Rows(rows=tuple(rows), lines=lines, faults=tuple(wrong))


def _row(file: Path, number: int, line: str, kind: type[_Row]) -> _Row:
    where = f"{file}, line {number}"
    try:
        return kind.model_validate(parse_json(line))
    except json.JSONDecodeError as error:
        if line.strip() in ("[", "{") or line.rstrip().endswith("},"):
            raise PackError(
                "not valid JSON Lines: one object stands over several lines, or in a list",
                where=where,
                next_step="put every row on a line of its own, without commas behind it",
            ) from error
        raise PackError(
            f"not valid JSON: {error.msg} at column {error.colno}", where=where, next_step="correct that line"
        ) from error
    except ValidationError as error:
        raise validation_error(error, kind, file, line, PackError, line=number) from error
    except ValueError as error:
        raise PackError(f"not valid JSON: {error}", where=where, next_step="correct that line") from error


def _schema(file: Path) -> dict[str, Any] | None:
    if not file.exists():
        return None
    text = _read(file)
    try:
        schema = parse_json(text)
    except json.JSONDecodeError as error:
        raise PackError(
            f"not valid JSON: {error.msg}", where=f"{file}, line {error.lineno}", next_step="correct that line"
        ) from error
    except ValueError as error:
        raise PackError(f"not valid JSON: {error}", where=str(file), next_step="correct it") from error
    problems = [_schema_error(file, text, word, what) for word, what in schema_problems(schema)]
    raise_all(problems, file)
    return schema  # type: ignore[no-any-return]


def _schema_error(file: Path, text: str, word: str, what: str) -> PackError:
    at = text.find(json.dumps(word, ensure_ascii=False)) if word else -1
    where = f"{file}, line {text.count(chr(10), 0, at) + 1}" if at >= 0 else str(file)
    return PackError(what, where=where, next_step="correct the schema, or leave the file out if answers are free text")


def _unchecked(file: Path, schema: dict[str, Any] | None) -> list[Remark]:
    names = unchecked(schema) if schema else []
    if not names:
        return []
    return [
        Remark(
            what=f"{', '.join(names)}: what this asks of answers is not checked",
            where=str(file),
            next_step="state it with a keyword of JSON Schema, such as pattern",
        )
    ]
