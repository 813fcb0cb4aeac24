"""Writes a domain pack as a folder, with comments at what was inferred and is to be confirmed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from harness.errors import PackError
from harness.grading.settings import AnswerSettings
from harness.pack.load import NOT_TAKEN_FILE, SCHEMA_FILE
from harness.pack.schema import DomainPack, DomainSettings, ReadFile
from harness.pack.seen import seen_answers

_MEANINGS = {
    "code_fence": "the answer may stand in a code fence",
    "thinking": "the answer stands behind a thinking part",
    "take": "a regular expression finds the answer in the text",
    "labels": "every answer is one of these: is the list complete?",
    "pattern": "every answer as a whole matches this",
    "lines": "every answer consists of lines `label: value`",
    "ignore_case": "upper and lower case are the same",
    "whole": "how an answer is compared with the expected one",
    "fields": "how single fields are compared",
}


def write_pack(pack: DomainPack, folder: Path, not_taken: Sequence[object] = ()) -> tuple[Path, ...]:
    """Write a pack's files into a folder that is new or empty, and name them.

    Args:
        pack: what is written.
        folder: where.
        not_taken: rows of its test split that are not asked; a line of `not_taken.txt` each.

    Raises:
        PackError: something stands there already; nothing of the user's is overwritten.
        OSError: it cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise PackError("is there already, and is not empty", where=str(folder), next_step="give another --out")
    folder.mkdir(parents=True, exist_ok=True)
    files = {
        "domain.toml": domain_text(pack),
        "cases.jsonl": _rows(pack.cases),
        "edge_cases.jsonl": _rows(pack.edge_cases),
        "texts.jsonl": _rows(pack.texts),
        "padding.txt": pack.padding + "\n",
    }
    if pack.response_schema is not None:
        files[SCHEMA_FILE] = json.dumps(pack.response_schema, indent=2, ensure_ascii=False) + "\n"
    if not_taken:
        files[NOT_TAKEN_FILE] = "".join(f"{row}\n" for row in not_taken)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")
    return tuple(folder / name for name in files)


def _rows(rows: Sequence[BaseModel]) -> str:
    return "".join(f"{json.dumps(_row(row), ensure_ascii=False)}\n" for row in rows)


def _row(row: BaseModel) -> dict[str, Any]:
    """A row without what it does not say; the question stands before its answer."""
    fields: dict[str, Any] = row.model_dump(mode="json", exclude_none=True)
    names = ("messages", "expected", "one_of", "pattern", "keywords")
    last = {name: fields.pop(name) for name in names if name in fields}
    return fields | last


def domain_text(pack: DomainPack) -> str:
    """`domain.toml` of a pack."""
    domain, has_schema = pack.domain, pack.response_schema is not None
    seen = seen_answers(pack.cases) if domain.draft else []
    parts = [
        *_head(domain, seen, has_schema=has_schema),
        *_answer(domain.answer),
        *_length(domain),
        *_read(domain.read),
    ]
    return "\n".join([*parts, ""])


def _head(domain: DomainSettings, seen: Sequence[str], *, has_schema: bool) -> Iterator[str]:
    yield f"schema_version = {domain.schema_version}"
    yield f"name = {_value(domain.name)}"
    yield f"description = {_value(domain.description)}"
    if domain.draft:
        yield ""
        also = f" and {SCHEMA_FILE}, which was drafted from the answers" if has_schema else ""
        yield f"# Drafted: read what follows{also}; correct it, and delete the next line."
        yield "draft = true"
        if seen:
            yield "# It knows only the answers that it has seen. Is a value missing, or one of them a slip?"
            yield from (f"#   {line}" for line in seen)
        yield ""
        yield "# Room for the longest right answer; a bound, at which an answer that does not end is cut off."
    yield f"max_new_tokens = {domain.max_new_tokens}"
    if domain.system_prompt is not None:
        yield f"system_prompt = {_value(domain.system_prompt)}"
    if domain.template_options:
        yield f"template_options = {_value(domain.template_options)}"


def _answer(answer: AnswerSettings) -> Iterator[str]:
    given = answer.model_dump(mode="json", exclude_defaults=True)
    yield ""
    if not {"code_fence", "thinking", "take"} & set(given):
        yield "# Nothing may stand around an answer; [answer] code_fence = true or thinking = true would allow it."
    if not given:
        return
    yield "[answer]"
    tables = {name: given.pop(name) for name in ("whole", "lines", "fields") if name in given}
    for name, value in given.items():
        yield f"# {_MEANINGS[name]}"
        yield f"{name} = {_value(value)}"
    for name, value in tables.items():
        yield ""
        yield f"[answer.{name}]  # {_MEANINGS[name]}"
        for key, entry in value.items():
            yield f"{_key(key)} = {_value(_line(entry) if name == 'lines' else entry)}"


def _line(rule: Mapping[str, Any]) -> Any:
    """The short way to write a rule that has one."""
    if rule.get("optional"):
        return {name: value for name, value in rule.items() if value is not None}
    return rule.get("values") or rule.get("pattern")


def _length(domain: DomainSettings) -> Iterator[str]:
    sweep = domain.length
    yield ""
    yield "[length]"
    yield f"padding_tokens = {_value(list(sweep.padding_tokens))}"
    yield f"cases = {sweep.cases}"
    yield f"template = {_value(sweep.template)}"


def _read(read: ReadFile | None) -> Iterator[str]:
    if read is None:
        return
    yield ""
    yield "[read]  # the test split that this was drafted from; told at every run"
    for name, value in read.model_dump().items():
        yield f"{name} = {_value(value)}"


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _value(name)


def _value(value: Any) -> str:
    """A value as TOML writes it; JSON's strings are TOML's basic strings, but for DEL."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(key)} = {_value(entry)}" for key, entry in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    return repr(value)
