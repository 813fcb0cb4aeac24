"""Variants as the command line names them: the settings of `[variants.NAME]` in one word each."""

from __future__ import annotations

import re
from pathlib import PureWindowsPath

from pydantic import ValidationError

from harness.config.diagnosis import did_you_mean
from harness.config.settings import BUILT_IN_RECIPES, VariantSettings
from harness.errors import ConfigError

OPTIONS = ("block_size", "symmetric", "accuracy_level", "algorithm", "backend", "precision", "provider", "device")
"""Keys of `[variants.NAME]` that may follow a recipe, as `:key=value`."""

# A drive's colon is followed by no `key=`, so a path needs no quotes.
_VARIANT = re.compile(r"(?P<recipe>.+?)(?P<options>(?::[A-Za-z_]+=[^:]*)*)")


def parse_variants(text: str) -> dict[str, VariantSettings]:
    """Settings by folder name: `int4,int4:block_size=128:symmetric=false,my.json` are three variants.

    Raises:
        ConfigError: no variant, an unknown option or a value that cannot be, or two variants for one folder.
    """
    found: dict[str, VariantSettings] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, settings = _parse(part)
        if name in found:
            raise ConfigError(
                f"two variants would go to the same folder, {name}",
                where=f"--variants {text}",
                next_step="remove one of them, or rename a file",
            )
        found[name] = settings
    if not found:
        raise ConfigError("--variants names none", next_step="for example --variants int4,int8:block_size=32")
    return found


def _parse(part: str) -> tuple[str, VariantSettings]:
    match = _VARIANT.fullmatch(part)
    assert match is not None  # part is not empty
    recipe, pairs = match["recipe"], [pair.split("=", 1) for pair in match["options"].split(":")[1:]]
    options = dict(pairs)
    _check_options(part, recipe, [key for key, _ in pairs])
    try:
        settings = VariantSettings.model_validate({"recipe": recipe, **options})
    except ValidationError as error:
        first = error.errors()[0]
        reason = first["msg"].removeprefix("Value error, ")
        key = str(first["loc"][0]) if first["loc"] else None
        raise ConfigError(
            f"{key}={options.get(key, recipe)}: {reason[0].lower()}{reason[1:]}" if key else reason,
            where=f"--variants {part}",
            next_step="docs/conversion.md lists the options and their values",
        ) from error
    return _folder_name(recipe, match["options"]), settings


def _check_options(part: str, recipe: str, keys: list[str]) -> None:
    example = "say --variants int4:block_size=128:symmetric=false"
    if ":" in recipe and recipe.partition(":")[0] in BUILT_IN_RECIPES:
        raise ConfigError("an option is not of the form key=value", where=f"--variants {part}", next_step=example)
    for key in keys:
        if key not in OPTIONS:
            raise ConfigError(
                f"unknown option {key!r}{did_you_mean(key, OPTIONS)}",
                where=f"--variants {part}",
                next_step=f"use {', '.join(OPTIONS)}",
            )
        if keys.count(key) > 1:
            raise ConfigError(f"{key} is given twice", where=f"--variants {part}", next_step="remove one of them")


def _folder_name(recipe: str, options: str) -> str:
    """Lower-case letters, digits, dots, dashes and underscores only, as for the gate's variants."""
    stem = recipe if recipe in BUILT_IN_RECIPES else PureWindowsPath(recipe).stem  # which knows both separators
    return re.sub(r"[^a-z0-9._]+", "-", f"{stem}{options}".lower()).strip("-._") or "variant"
