"""Options that a chat template asks for, such as `enable_thinking`, written into the template itself.

onnxruntime-genai and Foundry Local hand a template nothing but the conversation. A template that begins by setting its
options means the same to every engine that renders it, and it can be shipped.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from harness.errors import ConfigError
from harness.prompts.template_files import TEMPLATE_FILES, find_templates

Options = Mapping[str, bool | int | float | str]
"""Values by the name that the template knows them by."""


def set_options(template: str, options: Options) -> str:
    """The template with its options set in front; JSON's literals are Jinja's."""
    settings = "".join(f"{{% set {name} = {json.dumps(value)} %}}" for name, value in sorted(options.items()))
    return settings + template


def write_options(folder: Path, options: Options) -> None:
    """Set options in every default template of a model folder; files are replaced, as they may be hard links.

    Raises:
        ArtifactError: a file cannot be read.
    """
    for found in find_templates(folder):
        file = folder / found.file
        text = set_options(found.text, options)
        if file.suffix != ".jinja":
            settings = json.loads(file.read_text(encoding="utf-8"))
            text = json.dumps({**settings, "chat_template": text}, indent=2, ensure_ascii=False)
        staging = file.with_name(f".{file.name}.incomplete")
        staging.write_text(text, encoding="utf-8")
        staging.replace(file)


def require_known(folder: Path, options: Options) -> None:
    """Raise if the chat template of a model never asks for an option.

    Raises:
        ConfigError: with its name.
        ArtifactError: a template cannot be read.
    """
    found = find_templates(folder)
    for name in options:
        if found and name not in found[0].text:
            raise ConfigError(
                f"the chat template knows no option {name!r}",
                where=f"{folder / found[0].file}",
                next_step=f"correct template_options; templates stand in {' or '.join(TEMPLATE_FILES)}",
            )
