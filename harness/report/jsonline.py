"""Values of a record as strict JSON text, and back into what they were."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ValidationError

from harness.errors import first_line


def to_json(value: Any, *, indent: int | None = None) -> str:
    """Write a value as ASCII, in one line unless `indent` is given.

    Dataclasses and models become objects. NaN and infinities, which JSON lacks, become the strings `NaN`, `Infinity`
    and `-Infinity`, which pydantic reads as numbers again. Escapes keep what UTF-8 cannot hold: lone surrogates, which
    models write as JSON escapes.

    Raises:
        TypeError: JSON has nothing for a value.
    """
    return json.dumps(plain(value), indent=indent, allow_nan=False)


def plain(value: Any) -> Any:
    """A value in the types of JSON."""
    if isinstance(value, BaseModel):
        return {name: plain(getattr(value, name)) for name in type(value).model_fields}
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(one) for one in value]
    return _scalar(value)


def _scalar(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, Path) else value


def reading_error(error: Exception) -> str:
    """One line about a value that cannot be read: its field and what is wrong, or the first line of the message."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc'])) or 'value'}: {first['msg']}"
    return first_line(error)
