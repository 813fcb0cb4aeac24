"""The chat templates in a model's folder, wherever its maker's release of transformers put them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.errors import ArtifactError


def chat_templates(folder: Path) -> list[str]:
    """Every default template in a folder, the one that counts first.

    Line breaks are those of jinja, which reads every kind as one, and never renders the last.

    Raises:
        ArtifactError: a file cannot be read.
    """
    try:
        return [re.sub(r"\r\n?", "\n", text).removesuffix("\n") for text in _texts(folder)]
    except (OSError, ValueError) as error:
        raise ArtifactError(f"its chat template cannot be read: {error}", where=str(folder)) from error


def _texts(folder: Path) -> Iterator[str]:
    alone = folder / "chat_template.jinja"
    if alone.is_file():
        yield alone.read_bytes().decode("utf-8")  # as it is, with its line breaks
    for name in ("chat_template.json", "tokenizer_config.json"):
        file = folder / name
        content = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        text = _default(content.get("chat_template")) if isinstance(content, dict) else None
        if text is not None:
            yield text


def _default(value: Any) -> str | None:
    """One text, or the text called `default` of several."""
    if isinstance(value, list):
        named = {entry.get("name"): entry.get("template") for entry in value if isinstance(entry, dict)}
        value = named.get("default")
    return value if isinstance(value, str) else None
