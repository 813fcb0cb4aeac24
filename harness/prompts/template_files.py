"""The chat templates in a model's folder, wherever its maker's release of transformers put them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from harness.errors import ArtifactError

TEMPLATE_FILES = ("chat_template.jinja", "chat_template.json", "tokenizer_config.json")
"""Where a default template may stand; the first one that holds one counts, as in transformers."""

_BEFORE, _SHOWN = 24, 16
"""Characters shown in front of a difference, and of each side of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundTemplate:
    """A default chat template and the file that holds it."""

    file: str
    """Name of that file in the model's folder."""

    text: str
    """The template, with the line breaks that jinja makes of its own."""


def find_templates(folder: Path) -> list[FoundTemplate]:
    """Every default template in a folder, the one that counts first.

    Line breaks are those of jinja, which reads every kind as one, and never renders the last.

    Raises:
        ArtifactError: a file cannot be read.
    """
    try:
        return [
            FoundTemplate(file=name, text=re.sub(r"\r\n?", "\n", text).removesuffix("\n"))
            for name, text in _texts(folder)
        ]
    except (OSError, ValueError) as error:
        raise ArtifactError(f"its chat template cannot be read: {error}", where=str(folder)) from error


def chat_templates(folder: Path) -> list[str]:
    """The texts of `find_templates`.

    Raises:
        ArtifactError: a file cannot be read.
    """
    return [template.text for template in find_templates(folder)]


def template_conflict(folder: Path) -> str | None:
    """Which files of a folder hold different default templates, and where those part; None where they agree.

    Raises:
        ArtifactError: a file cannot be read.
    """
    found = find_templates(folder)
    other = next((template for template in found if template.text != found[0].text), None)
    if other is None:
        return None
    return f"{found[0].file} and {other.file} hold different chat templates: {first_difference(found[0], other)}"


def first_difference(one: FoundTemplate, other: FoundTemplate, *, names: tuple[str, str] | None = None) -> str:
    """Where two templates part, in words; `names` stand for their files' where those are alike."""
    pairs = enumerate(zip_longest(one.text, other.text))
    at = next((place for place, (mine, theirs) in pairs if mine != theirs), 0)
    mine, theirs = names or (one.file, other.file)
    before = one.text[max(0, at - _BEFORE) : at]
    shown, others = one.text[at : at + _SHOWN], other.text[at : at + _SHOWN]
    return f"after {before!r} {mine} has {shown!r}, {theirs} {others!r}"


def _texts(folder: Path) -> Iterator[tuple[str, str]]:
    for name in TEMPLATE_FILES:
        file = folder / name
        if not file.is_file():
            continue
        content = file.read_bytes().decode("utf-8")  # as it is, with its line breaks
        text = content if file.suffix == ".jinja" else _default(json.loads(content))
        if text is not None:
            yield name, text


def _default(settings: Any) -> str | None:
    """One text, or the text called `default` of several."""
    value = settings.get("chat_template") if isinstance(settings, dict) else None
    if isinstance(value, list):
        named = {entry.get("name"): entry.get("template") for entry in value if isinstance(entry, dict)}
        value = named.get("default")
    return value if isinstance(value, str) else None
