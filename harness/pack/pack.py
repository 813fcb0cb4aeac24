"""The domain pack: the folder in which a user says what the model is for and what right answers are.

domain.toml            name, description, answer length, the length ladder
cases.jsonl            questions with their expected answers
response.schema.json   JSON Schema that every answer must meet; leave it out for free text
edge_cases.jsonl       empty, garbage, over-long and otherwise unfriendly prompts
texts.jsonl            texts on which divergence from the source model is measured
padding.txt            unrelated prose that makes prompts longer without changing their question
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import jsonschema
from pydantic import Field, ValidationError, model_validator

from harness.config.diagnosis import Settings, validation_error
from harness.errors import PackError

OUT_OF_SCOPE = "out_of_scope"
"""The kind of a case whose right answer is to decline."""


class Turn(Settings):
    """One message of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


class Case(Settings):
    """A question with what makes an answer right; exactly one of `expected`, `pattern` and `keywords`."""

    id: Annotated[str, Field(min_length=1)]
    kind: Annotated[str, Field(min_length=1)]
    """Groups cases in tables; `out_of_scope` is counted apart."""

    split: Literal["dev", "final"] = "dev"
    """`final`: kept back, nothing was tuned on it."""

    messages: Annotated[tuple[Turn, ...], Field(min_length=1)]
    expected: dict[str, Any] | list[Any] | str | None = None
    """A JSON value that the whole answer must equal, or a text that it must equal."""

    pattern: str | None = None
    """A regular expression that must match somewhere in the answer."""

    keywords: tuple[str, ...] | None = None
    """Words that must all stand in the answer, whatever their case."""

    @model_validator(mode="after")
    def _has_one_criterion(self) -> Case:
        given = [name for name in ("expected", "pattern", "keywords") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of expected, pattern and keywords, not {given or 'none'}")
        return self


class EdgeCase(Settings):
    """A prompt that a user would rather not send, and what must come back."""

    id: Annotated[str, Field(min_length=1)]
    kind: Annotated[str, Field(min_length=1)]
    messages: tuple[Turn, ...]
    expect: Literal["answer", "error"]
    """`answer`: an answer that meets the schema; `error`: a clean refusal by the runtime."""

    repeat: Annotated[int, Field(ge=1)] = 1
    """How often the last message's content is repeated."""

    over_context: bool = False
    """Repeat the last message's content until the prompt is longer than the context."""


class Text(Settings):
    """A text for divergence."""

    id: Annotated[str, Field(min_length=1)]
    text: Annotated[str, Field(min_length=1)]


class LengthLadder(Settings):
    """`[length]`: the same questions behind more and more unrelated text."""

    padding_tokens: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=2)]
    """Tokens of padding per rung, ascending; the first rung is the reference."""

    cases: Annotated[int, Field(ge=1)]
    """How many in-scope cases are asked on every rung."""

    template: str = "{padding}\n\n{question}"
    """How padding and question make one user message."""

    @model_validator(mode="after")
    def _is_a_ladder(self) -> LengthLadder:
        if list(self.padding_tokens) != sorted(set(self.padding_tokens)):
            raise ValueError("padding_tokens must ascend without repeats")
        if "{padding}" not in self.template or "{question}" not in self.template:
            raise ValueError("template needs {padding} and {question}")
        return self


class DomainSettings(Settings):
    """`domain.toml`."""

    schema_version: Literal[1]
    name: Annotated[str, Field(min_length=1)]
    description: str
    max_new_tokens: Annotated[int, Field(ge=1)]
    """Room for the longest right answer and its end-of-sequence token."""

    system_prompt: str | None = None
    """Put before every conversation that has no system turn of its own."""

    length: LengthLadder


class DomainPack(Settings):
    """A pack that was read and validated as a whole."""

    folder: Path
    domain: DomainSettings
    cases: tuple[Case, ...]
    edge_cases: tuple[EdgeCase, ...]
    texts: tuple[Text, ...]
    response_schema: dict[str, Any] | None
    padding: str
    digest: str
    """SHA-256 over the pack's files."""

    def conversation(self, turns: Iterable[Turn]) -> list[dict[str, str]]:
        """Messages as a session takes them, the system prompt added where it is missing."""
        messages = [turn.model_dump() for turn in turns]
        if self.domain.system_prompt and (not messages or messages[0]["role"] != "system"):
            messages.insert(0, {"role": "system", "content": self.domain.system_prompt})
        return messages


FILES = ("domain.toml", "cases.jsonl", "edge_cases.jsonl", "texts.jsonl", "padding.txt")
SCHEMA_FILE = "response.schema.json"
_Row = TypeVar("_Row", Case, EdgeCase, Text)


def load_pack(folder: Path) -> DomainPack:
    """Read and validate a domain pack.

    Raises:
        PackError: a file is missing or wrong; the message names file, line and field.
    """
    if not folder.is_dir():
        raise PackError(
            "no such domain pack",
            where=str(folder),
            next_step="give the folder that holds domain.toml with --domain",
        )
    domain_text = _read(folder / "domain.toml")
    cases = _rows(folder / "cases.jsonl", Case)
    schema = _schema(folder / SCHEMA_FILE)
    _check_expectations(cases, schema, folder / "cases.jsonl")
    return DomainPack(
        folder=folder,
        domain=_domain(folder / "domain.toml", domain_text),
        cases=tuple(row for _, row in cases),
        edge_cases=tuple(row for _, row in _rows(folder / "edge_cases.jsonl", EdgeCase)),
        texts=tuple(row for _, row in _rows(folder / "texts.jsonl", Text)),
        response_schema=schema,
        padding=_read(folder / "padding.txt"),
        digest=_digest(folder),
    )


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise PackError(
            f"the domain pack has no {file.name}",
            where=str(file),
            next_step=f"a pack holds {', '.join(FILES)}",
        ) from error
    except UnicodeDecodeError as error:
        raise PackError(f"not UTF-8 at byte {error.start}", where=str(file), next_step="save it as UTF-8") from error


def _domain(file: Path, text: str) -> DomainSettings:
    try:
        return DomainSettings.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise PackError(f"not valid TOML: {error}", where=str(file)) from error
    except ValidationError as error:
        raise validation_error(error, DomainSettings, file, text, PackError) from error


def _rows(file: Path, kind: type[_Row]) -> list[tuple[int, _Row]]:
    """The validated rows of a JSON Lines file with their line numbers."""
    rows: list[tuple[int, _Row]] = []
    seen: dict[str, int] = {}
    for number, line in enumerate(_read(file).split("\n"), 1):
        if not line.strip():
            continue
        row = _row(file, number, line, kind)
        if row.id in seen:
            raise PackError(
                f"id: {row.id!r} stands on line {seen[row.id]} too",
                where=f"{file}, line {number}",
                next_step="ids are unique",
            )
        seen[row.id] = number
        rows.append((number, row))
    if not rows:
        raise PackError("has no rows", where=str(file), next_step="no evidence is not a pass: add some")
    return rows


def _row(file: Path, number: int, line: str, kind: type[_Row]) -> _Row:
    try:
        return kind.model_validate(json.loads(line))
    except json.JSONDecodeError as error:
        raise PackError(
            f"not valid JSON: {error.msg} at column {error.colno}", where=f"{file}, line {number}"
        ) from error
    except ValidationError as error:
        raise validation_error(error, kind, file, line, PackError, line=number) from error


def _schema(file: Path) -> dict[str, Any] | None:
    if not file.exists():
        return None
    try:
        schema: dict[str, Any] = json.loads(_read(file))
        jsonschema.Draft202012Validator.check_schema(schema)
    except json.JSONDecodeError as error:
        raise PackError(f"not valid JSON: {error.msg}", where=f"{file}, line {error.lineno}") from error
    except jsonschema.SchemaError as error:
        raise PackError(f"{error.json_path}: not a JSON Schema: {error.message}", where=str(file)) from error
    return schema


def _check_expectations(cases: list[tuple[int, Case]], schema: dict[str, Any] | None, file: Path) -> None:
    """An expected answer that breaks the pack's own schema could never be met."""
    if schema is None:
        return
    validator = jsonschema.Draft202012Validator(schema)
    for number, case in cases:
        if isinstance(case.expected, dict | list):
            error = jsonschema.exceptions.best_match(validator.iter_errors(case.expected))
            if error is not None:
                raise PackError(
                    f"expected: breaks {SCHEMA_FILE}: {error.message}",
                    where=f"{file}, line {number}",
                    next_step="mend the expected answer or the schema",
                )


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for name in (*FILES, SCHEMA_FILE):
        file = folder / name
        if file.exists():
            content = file.read_bytes()
            digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()
