"""`genai_config.json`: what an artifact tells onnxruntime-genai, read and corrected."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from harness.config.target import Target
from harness.errors import ArtifactError
from harness.source.source import Source, read_json

FILE: Final = "genai_config.json"
_PENALTIES = ("repetition_penalty", "no_repeat_ngram_size", "min_length")
_MAKE_AGAIN = "convert the model again, or copy the folder again"


def read_settings(folder: Path) -> dict[str, Any]:
    """The settings of an artifact, with a decoder.

    Raises:
        ArtifactError: the folder or its config is missing, unreadable, or malformed.
    """
    file = folder / FILE
    if not folder.is_dir():
        raise ArtifactError("there is no such folder", where=str(folder), next_step="give a converted model's folder")
    try:
        settings = json.loads(file.read_text(encoding="utf-8"), object_pairs_hook=_without_repetition)
    except FileNotFoundError as error:
        raise ArtifactError("genai_config.json is missing", where=str(folder), next_step=_MAKE_AGAIN) from error
    except (OSError, ValueError) as error:
        raise ArtifactError(
            f"genai_config.json is unreadable: {error}", where=str(file), next_step=_MAKE_AGAIN
        ) from error
    model = settings.get("model") if isinstance(settings, dict) else None
    if not isinstance(model, dict) or not isinstance(model.get("decoder"), dict):
        raise ArtifactError("genai_config.json describes no decoder", where=str(file), next_step=_MAKE_AGAIN)
    options = model["decoder"].get("session_options")
    if not isinstance(options or {}, dict) or not isinstance(settings.get("search", {}), dict):
        raise ArtifactError(
            "genai_config.json has a list where session_options or search is a group of settings",
            where=str(file),
            next_step=_MAKE_AGAIN,
        )
    return dict(settings)


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Raise if a key occurs twice: readers differ in which of the two they use."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} is in it twice")
    return found


def stated_providers(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """The execution providers in the settings, spelled as there; empty means CPU."""
    options = (settings["model"]["decoder"].get("session_options") or {}).get("provider_options") or []
    names = {str(name) for entry in options if isinstance(entry, dict) for name in entry}
    return tuple(sorted(name for name in names if name.lower() != "cpu"))


def set_target(folder: Path, target: Target) -> None:
    """Set the execution provider of the config to the target's, whatever the graph was built for."""
    file = folder / FILE
    settings = json.loads(file.read_text(encoding="utf-8"))
    settings["model"]["decoder"]["session_options"]["provider_options"] = target.provider_options
    file.write_text(json.dumps(settings, indent=4), encoding="utf-8")


def keep_penalties(folder: Path, source: Source) -> None:
    """Copy the repetition penalties of the source's generation config, which ModelBuilder leaves out."""
    stated = source.path / "generation_config.json"
    asked = read_json(stated) if stated.is_file() else {}
    file = folder / FILE
    settings = json.loads(file.read_text(encoding="utf-8"))
    search = settings.setdefault("search", {})
    search |= {name: asked[name] for name in _PENALTIES if isinstance(asked.get(name), int | float)}
    file.write_text(json.dumps(settings, indent=4), encoding="utf-8")
