"""Why a model folder does not show up in Foundry Local: its rules one by one, each with its remedy.

There are two ways in. Releases up to 2.0 search their model cache for folders with `inference_model.json`; later ones
list what `register_model` was given. Neither says what it left out. The rules were tried on 2.0.1 and 2.2.1.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from harness.artifact.inspect import inspect_artifact
from harness.errors import GateError
from harness.foundry.host import is_alias
from harness.foundry.staging import require_model_files
from harness.prompts.prompt_template import FILE_NAME, check_prompt_template

PARTIAL: Final = "download.tmp"
"""Foundry's mark of a download that has not ended."""

INDEX: Final = "foundry.modelinfo.json"
"""What Foundry itself writes at the root of its model cache."""

_MODEL_ID: Final = re.compile(r"(?P<name>[^:]*):(?P<version>0|[1-9][0-9]*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    what: str
    is_well: bool
    """Nothing to do; a finding that only limits what is possible is well too, and says so."""

    found: str
    remedy: str = ""
    """What to do next; empty when all is well."""


def examine_folder(
    folder: Path, *, cache_root: Path | None = None, model_id: str | None = None, release: str | None = None
) -> Iterator[Finding]:
    """Look at a model folder, or at every model folder of a model cache, in the order of Foundry's own rules.

    `cache_root` is the folder that Foundry searches (`foundry cache location`); `model_id` what `register_model` is
    to be given; `release` the foundry-local-sdk that serves, by default the installed one.
    """
    release = release or _installed_release()
    if not folder.is_dir():
        yield _bad("folder", f"{folder} is no folder", "give the folder that a conversion wrote")
        return
    models = [folder] if _is_model(folder) else []
    below = [found for found in _model_folders(folder) if found != folder]
    is_root = bool(below) or (folder / INDEX).is_file() or (cache_root and folder.samefile(cache_root))
    if is_root and models:
        yield _at_root(folder)
    if not models and not below:
        yield _bad("genai_config.json", f"no folder with one in {folder}", "give the folder that a conversion wrote")
    if is_root:
        cache_root, models = folder, [*models, *below]
        yield from _twins(below)
    for model in models:
        yield from _examine_model(model, cache_root, model_id, release)


def _examine_model(folder: Path, cache_root: Path | None, model_id: str | None, release: str) -> Iterator[Finding]:
    yield _files(folder)
    yield _unfinished(folder)
    described = _described(folder)
    if isinstance(described, Finding):
        yield described
    else:
        yield from _named(described)
        yield _template(folder, described)
    name = described.get("Name") if isinstance(described, dict) else None
    yield _identified(model_id or f"{name if isinstance(name, str) and name else folder.name}:1")
    if cache_root is not None and not folder.samefile(cache_root):
        yield _placed(folder, cache_root)
    yield _routed(folder, cache_root, release)


def _files(folder: Path) -> Finding:
    what = f"{folder.name}: model files"
    if not (folder / "genai_config.json").is_file():
        return _bad(what, "there is no genai_config.json; without one Foundry passes the folder by", _CONVERT)
    try:
        require_model_files(folder)
        facts = inspect_artifact(folder)
    except GateError as error:
        return _bad(what, f"{error.what}; Foundry lists such a folder and cannot load it", error.next_step or _CONVERT)
    return _good(what, f"complete, context {facts.context_length}")


def _unfinished(folder: Path) -> Finding:
    what = f"{folder.name}: {PARTIAL}"
    if (folder / PARTIAL).exists():
        found = "it is there, so the folder counts as half downloaded and is passed by"
        return _bad(what, found, f"finish the copy, then remove {folder / PARTIAL}")
    return _good(what, "none left")


def _described(folder: Path) -> dict[str, Any] | Finding:
    """What `inference_model.json` says, or what is wrong with it."""
    what = f"{folder.name}: {FILE_NAME}"
    try:
        described = json.loads((folder / FILE_NAME).read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        found = "there is none; the cache-folder route passes the folder by, register_model needs none"
        return Finding(what=what, is_well=True, found=found)
    except (OSError, ValueError) as error:
        return _bad(what, f"it is not valid JSON ({error}); the folder is passed by without a word", _WRITE)
    if not isinstance(described, dict):
        return _bad(what, "it is not a JSON object; the folder is passed by without a word", _WRITE)
    return described


def _named(described: dict[str, Any]) -> Iterator[Finding]:
    name, version = described.get("Name"), described.get("Version")
    what = f"{FILE_NAME}: Name"
    if not isinstance(name, str) or not name:
        near = next((key for key in described if key.lower() == "name" and key != "Name"), None)
        found = f"it is written {near!r}" if near else f"there is no name but {name!r}"
        yield _bad(
            what, f"{found}; the folder is passed by without a word", f'write "Name": "my-model" into {FILE_NAME}'
        )
    else:
        yield _good(what, name)
    if not isinstance(version, str) or not version:
        found = "there is none; the cache-folder route lists every such model as version 0"
        yield _bad(f"{FILE_NAME}: Version", found, f'write "Version": "1" into {FILE_NAME}')
    else:
        yield _good(f"{FILE_NAME}: Version", version)


def _template(folder: Path, described: dict[str, Any]) -> Finding:
    what, template = f"{FILE_NAME}: PromptTemplate", described.get("PromptTemplate")
    if template is None:
        return _good(what, "none; Foundry Local 2.x uses the chat template")
    try:
        if not isinstance(template, dict):
            return _bad(what, "it is not an object", _WRITE)
        check_prompt_template(folder, template)
    except GateError as error:
        return _bad(what, error.what, error.next_step or _WRITE)
    return _good(what, "says what the chat template says")


def _identified(model_id: str) -> Finding:
    what, remedy = f"model id {model_id}", "give register_model a name and a version, such as my-model:1"
    found = _MODEL_ID.fullmatch(model_id)
    if ":" not in model_id:
        return _bad(what, "it has no version; register_model takes NAME:VERSION only", remedy)
    if found is None:
        return _bad(what, "its version is not a whole number without leading zeros", remedy)
    if not is_alias(found["name"]):
        return _bad(what, "its name must be letters, digits, dots, dashes and underscores", remedy)
    return _good(what, "register_model takes it")


def _placed(folder: Path, cache_root: Path) -> Finding:
    what = f"{folder.name}: place"
    if cache_root.resolve() in folder.resolve().parents:
        return _good(what, f"below the cache root {cache_root}")
    found = f"it is not below the cache root {cache_root}, where Foundry looks"
    return _bad(what, found, f"copy it to {cache_root / folder.name}, or `foundry cache cd {folder.parent}`")


def _at_root(folder: Path) -> Finding:
    found = "the model's files lie in the cache root itself; Foundry looks into its sub-directories only"
    return _bad("place", found, f"move them into {folder / 'my-model'}")


def _routed(folder: Path, cache_root: Path | None, release: str) -> Finding:
    what = f"{folder.name}: route"
    if cache_root is None:
        return _good(what, "as it is, for register_model; give --cache-root to check the cache-folder route too")
    if _lists_cache_folders(release):
        return _good(what, f"foundry-local-sdk {release} lists cache folders")
    found = f"foundry-local-sdk {release} finds cache folders and does not list them"
    remedy = "call register_model on its local catalog with this folder, or serve with foundry-local-sdk 2.0.1"
    return _bad(what, found, remedy)


def _twins(folders: list[Path]) -> Iterator[Finding]:
    names: dict[str, list[str]] = {}
    for folder in folders:
        described = _described(folder)
        if isinstance(described, dict) and isinstance(described.get("Name"), str):
            names.setdefault(described["Name"], []).append(folder.name)
    for name, owners in names.items():
        if len(owners) > 1:
            found = f"{' and '.join(owners)} share it; one of them is listed, and nobody is told which"
            yield _bad(f"name {name}", found, f"give each its own Name in {FILE_NAME}")


def _lists_cache_folders(release: str) -> bool:
    parts = [int(part) for part in re.findall(r"\d+", release)[:2]]
    return parts < [2, 1]


def _is_model(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ("genai_config.json", FILE_NAME))


def _model_folders(root: Path) -> list[Path]:
    files = (file for name in ("genai_config.json", FILE_NAME) for file in root.rglob(name))
    return sorted({file.parent for file in files})


def _installed_release() -> str:
    try:
        return metadata.version("foundry-local-sdk")
    except metadata.PackageNotFoundError:
        return "2.2.1"


def _good(what: str, found: str) -> Finding:
    return Finding(what=what, is_well=True, found=found)


def _bad(what: str, found: str, remedy: str) -> Finding:
    return Finding(what=what, is_well=False, found=found, remedy=remedy)


_CONVERT: Final = "convert the model again"
_WRITE: Final = f"write {FILE_NAME} again: Name, Description, Version, PromptTemplate, ModelConfig"
