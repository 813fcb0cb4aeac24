"""What is wrong with a file of settings, in words: field, line, and the name that was probably meant."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from harness.errors import GateError


class Settings(BaseModel):
    """Base of all sections: unknown keys are errors, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def validation_error(
    error: ValidationError,
    model: type[BaseModel],
    file: Path,
    text: str,
    kind: type[GateError],
    *,
    line: int | None = None,
) -> GateError:
    """Turn pydantic's most telling finding into one that names file, line and field, with a suggestion for a typo."""
    findings = error.errors()  # a typo makes two: an unknown key and a missing one; the unknown one explains both
    first = next((finding for finding in findings if finding["type"] == "extra_forbidden"), findings[0])
    field = ".".join(str(part) for part in first["loc"])
    line = line if line is not None else toml_line(text, first["loc"])
    return kind(
        f"{field or 'file'}: {_explain(first, model)}",
        where=f"{file}, line {line}" if line else str(file),
        next_step=f"correct the field{f' ({error.error_count()} findings in all)' if error.error_count() > 1 else ''}",
    )


def did_you_mean(word: str, known: Any) -> str:
    """` (did you mean 'x'?)`, or nothing when no known word is near."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def toml_line(text: str, location: tuple[int | str, ...]) -> int | None:
    """The 1-based line where a key stands, as far down its tables as the text shows it."""
    table, found = "", None
    keys = [str(part) for part in location]
    for number, line in enumerate(text.splitlines(), 1):
        header = re.match(r"\s*\[+([^\]]+)\]", line)
        if header:
            table = re.sub(r"[\s\"']", "", header[1])
            if keys[: table.count(".") + 1] == table.split("."):
                found = number
            continue
        key = re.match(r"\s*([\w.\"'-]+)\s*=", line)
        if key:
            path = [*filter(None, table.split(".")), *key[1].strip("\"'").split(".")]
            if keys[: len(path)] == path:
                return number
    return found


def _explain(first: ErrorDetails, model: type[BaseModel]) -> str:
    if first["type"] == "extra_forbidden":
        known = _fields_at(model, first["loc"][:-1])
        return f"unknown key{did_you_mean(str(first['loc'][-1]), known)}; known are: {', '.join(known)}"
    if first["type"] == "missing":
        return "is missing"
    return first["msg"].removeprefix("Value error, ")


def _fields_at(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """Names of the fields of the section that a location points into."""
    current: Any = model
    for part in location:
        if isinstance(current, type) and issubclass(current, BaseModel) and part in current.model_fields:
            current = current.model_fields[str(part)].annotation
        elif getattr(current, "__args__", None):  # dict[str, X], X | None, tuple[X, ...]
            current = current.__args__[-1]
        sections = [kind for kind in getattr(current, "__args__", ()) if _is_section(kind)]
        if sections and not str(current).startswith("dict"):
            current = sections[0]
    return list(current.model_fields) if _is_section(current) else []


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
