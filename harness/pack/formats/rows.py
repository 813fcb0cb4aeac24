"""Rows of a file, whatever holds them: JSON Lines, a JSON list, or a table with a header."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import PackError
from harness.grading.json_values import parse_json
from harness.pack.formats.question import Refusal
from harness.system.text_files import read_text

_TABLES = (".csv", ".tsv", ".tab")
_LISTS = ("data", "rows", "examples", "test", "train", "samples", "items", "questions")
"""Names under which JSON files hold their list of rows."""

_BETWEEN = re.compile(r"[\s,]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """The rows of a file."""

    container: str
    """`JSON Lines`, `a JSON list`, `CSV`."""

    rows: tuple[tuple[int, dict[str, Any]], ...]
    """(line, fields) of every row that could be read."""

    refused: tuple[Refusal, ...]


def read_rows(file: Path) -> Rows:
    """Read the rows of a test split; gzip and the encodings of all editors are read through.

    Raises:
        PackError: the file is missing, no text, empty, or nothing that has rows.
    """
    if file.is_dir():
        raise PackError("is a folder", where=str(file), next_step="give one file, or a domain pack with --domain")
    try:
        text = read_text(file, PackError)
    except OSError as error:
        raise PackError(
            f"cannot be read: {error.strerror or error}", where=str(file), next_step="give a file that is there"
        ) from error
    if not text.strip():
        raise PackError("is empty", where=str(file), next_step="no data is never a pass: give some questions")
    if any(suffix in _TABLES for suffix in file.suffixes[-2:]):
        return _table(text, file)
    start = text.lstrip()[:1]
    if start == "[":
        return _list(text, file, text.index("[") + 1)
    if start == "{":
        return _objects(text, file)
    return _table(text, file)


def _objects(text: str, file: Path) -> Rows:
    """JSON Lines, or one object that holds a list of rows."""
    written = [line for line in text.split("\n") if line.strip()]
    is_whole = len(written) == 1 and _list_name(text) is not None
    if is_whole or not _is_object(written[0]):
        name = _list_name(text)
        if name is not None:
            return _list(text, file, text.index("[", text.index(f'"{name}"')) + 1)
        return _list(text, file, 0, "JSON objects")
    rows, refused = [], []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            rows.append((number, _object(parse_json(line))))
        except ValueError as error:
            refused.append(Refusal(line=number, field="", why=f"not a JSON object: {error}"))
    return Rows(container="JSON Lines", rows=tuple(rows), refused=tuple(refused))


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _list_name(text: str) -> str | None:
    """The field of an object over several lines that holds the rows."""
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(whole, dict):
        return None
    return next((name for name in _LISTS if isinstance(whole.get(name), list)), None)


def _unwrapped(fields: dict[str, Any]) -> dict[str, Any]:
    """The row itself, where a data set's viewer has put it into an object with its number."""
    inner = fields.get("row")
    return inner if "row_idx" in fields and isinstance(inner, dict) else fields


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"it is a {type(value).__name__}")
    return value


def _list(text: str, file: Path, start: int, container: str = "a JSON list") -> Rows:
    """The objects that follow one another from `start` on, up to the end of their list, each with its line."""
    rows, refused = [], []
    decoder = json.JSONDecoder()
    at, counted, line = start, 0, 1
    while True:
        at += len(_BETWEEN.match(text, at)[0])  # type: ignore[index]
        if text[at : at + 1] in ("]", ""):
            break
        line += text.count("\n", counted, at)
        counted = at
        try:
            _, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            raise PackError(
                f"not valid JSON: {error}", where=f"{file}, line {line}", next_step="correct the row that starts there"
            ) from None
        try:
            rows.append((line, _unwrapped(_object(parse_json(text[at:end])))))
        except ValueError as error:
            refused.append(Refusal(line=line, field="", why=f"not a JSON object: {error}"))
        at = end
    return Rows(container=container, rows=tuple(rows), refused=tuple(refused))


def _table(text: str, file: Path) -> Rows:
    lines = text.split("\n")
    first = 0
    declared = re.fullmatch(r"sep=(.)", lines[0].strip().strip('"'))
    if declared:  # Excel's own first line
        first = 1
    header_line = lines[first] if first < len(lines) else ""
    delimiter = declared[1] if declared else _delimiter(header_line, file)
    csv.field_size_limit(2**31 - 1)
    reader = csv.reader(io.StringIO("\n".join(lines[first:])), delimiter=delimiter, strict=True)
    try:
        header = [name.strip() for name in next(reader)]
        _check_header(header, file, first + 1)
        rows, refused = _table_rows(reader, header, first)
    except csv.Error as error:
        raise PackError(
            f"not valid CSV: {error}",
            where=f"{file}, line {reader.line_num + first}",
            next_step='close the quotation mark, and write one inside of a field as ""',
        ) from None
    return Rows(container="CSV", rows=tuple(rows), refused=tuple(refused))


def _delimiter(header: str, file: Path) -> str:
    counts = {sign: header.count(sign) for sign in ("\t", ";", ",", "|")}
    delimiter = max(counts, key=lambda sign: counts[sign])
    if not counts[delimiter]:
        raise PackError(
            "is neither JSON nor a table with a header of two columns or more",
            where=f"{file}, line 1",
            next_step="give JSON Lines, a JSON list, or CSV with the names of its columns in the first line",
        )
    return delimiter


def _check_header(header: list[str], file: Path, line: int) -> None:
    twice = sorted({name for name in header if name and header.count(name) > 1})
    if twice:
        raise PackError(
            f"the column {twice[0]!r} stands twice",
            where=f"{file}, line {line}",
            next_step="give columns names of their own",
        )


def _table_rows(reader: Any, header: list[str], skipped: int) -> tuple[list[tuple[int, dict[str, Any]]], list[Refusal]]:
    rows, refused = [], []
    for line, cells in _numbered(reader, skipped):
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(header):
            why = f"{len(cells)} columns, and the header has {len(header)}: is a delimiter not in quotation marks?"
            refused.append(Refusal(line=line, field="", why=why))
        else:
            rows.append((line, {name: cell for name, cell in zip(header, cells, strict=True) if name}))
    return rows, refused


def _numbered(reader: Any, skipped: int) -> Iterator[tuple[int, list[str]]]:
    """(line where a row starts, its cells); a cell may hold line ends."""
    line = reader.line_num + 1 + skipped
    for cells in reader:
        yield line, cells
        line = reader.line_num + 1 + skipped
