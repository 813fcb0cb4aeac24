"""Why a model folder does not show up in Foundry Local: its rules one by one, each with its fix.

A model gets into Foundry Local in two ways. Releases up to 2.0 search their model cache for folders with
`inference_model.json`; later ones list what `register_model` was given. Neither reports what it skips. The rules were
observed on releases 2.0.1 and 2.2.1.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from harness.artifact.inspect import inspect_artifact
from harness.errors import GateError
from harness.foundry.diagnostic import Diagnostic, fault, ok
from harness.foundry.host import is_alias
from harness.foundry.staging import require_model_files
from harness.prompts.prompt_template import FILE_NAME, check_prompt_template, is_comparable

DOWNLOAD_MARK: Final = "download.tmp"
"""Foundry's mark of a download that has not ended."""

INDEX: Final = "foundry.modelinfo.json"
"""What Foundry itself writes at the root of its model cache."""

_MODEL_ID: Final = re.compile(r"(?P<name>[^:]*):(?P<version>0|[1-9][0-9]*)")
_CONVERT: Final = "convert the model again"
_WRITE: Final = f"write {FILE_NAME} again: Name, Description, Version, PromptTemplate, ModelConfig"


def diagnose_folder(
    folder: Path, *, cache_root: Path | None = None, model_id: str | None = None, release: str | None = None
) -> Iterator[Diagnostic]:
    """Look at a model folder, or at every model folder of a model cache, in the order of Foundry's own rules.

    `cache_root` is the folder that Foundry searches (`foundry cache location`); `model_id` is what `register_model`
    will be given; `release` is the foundry-local-sdk that serves the model, by default the installed one.
    """
    release = release or _installed_release()
    if not folder.is_dir():
        yield fault("folder", f"{folder} is no folder", "give the folder that a conversion wrote")
        return
    models = [folder] if _is_model(folder) else []
    below = [found for found in _model_folders(folder) if found != folder]
    is_root = bool(below) or (folder / INDEX).is_file() or (cache_root and folder.samefile(cache_root))
    if is_root and models:
        yield _model_at_root(folder)
    if not models and not below:
        yield fault("genai_config.json", f"no folder with one in {folder}", "give the folder that a conversion wrote")
    if is_root:
        cache_root, models = folder, [*models, *below]
        yield from _shared_names(below)
    for model in models:
        yield from _diagnose_model(model, cache_root, model_id, release)


def shipped_template_problem(folder: Path) -> str | None:
    """What is wrong with the inference_model.json that came with a model; None where it is right, or there is none.

    It must be a JSON object, and its `PromptTemplate` must say what the chat template says, where four strings can.
    """
    description = _description(folder)
    if isinstance(description, Diagnostic):
        return None if description.is_ok else f"{description.subject}: {description.found}"
    template = description.get("PromptTemplate")
    if isinstance(template, dict) and not is_comparable(folder):
        return None  # nobody can say that it is wrong
    found = _prompt_template(folder, description)
    return None if found.is_ok else f"{found.subject}: {found.found}"


def reads_prompt_template(route: str | None) -> bool:
    """Whether a cache route's release renders with `PromptTemplate`: the `foundry` command, and releases 0.x and 1.x.

    Later releases, and `register_model` (None), render the chat template itself.
    """
    if route is None or route == "command":
        return route is not None
    return int(re.findall(r"\d+", route)[0]) < 2


def _diagnose_model(folder: Path, cache_root: Path | None, model_id: str | None, release: str) -> Iterator[Diagnostic]:
    yield _model_files(folder)
    yield _download(folder)
    description = _description(folder)
    if isinstance(description, Diagnostic):
        yield description
    else:
        yield from _name_and_version(description)
        yield _prompt_template(folder, description)
    name = description.get("Name") if isinstance(description, dict) else None
    yield _model_id(model_id or f"{name if isinstance(name, str) and name else folder.name}:1")
    if cache_root is not None and not folder.samefile(cache_root):
        yield _place(folder, cache_root)
    yield _route(folder, cache_root, release)


def _model_files(folder: Path) -> Diagnostic:
    subject = f"{folder.name}: model files"
    if not (folder / "genai_config.json").is_file():
        return fault(subject, "there is no genai_config.json; Foundry skips a folder without one", _CONVERT)
    try:
        require_model_files(folder)
        facts = inspect_artifact(folder)
    except GateError as error:
        found = f"{error.what}; Foundry lists such a folder and cannot load it"
        return fault(subject, found, error.next_step or _CONVERT)
    return ok(subject, f"complete, context {facts.context_length}")


def _download(folder: Path) -> Diagnostic:
    subject = f"{folder.name}: {DOWNLOAD_MARK}"
    if (folder / DOWNLOAD_MARK).exists():
        found = "it is there: Foundry takes the folder for an unfinished download and skips it"
        return fault(subject, found, f"finish the copy, then remove {folder / DOWNLOAD_MARK}")
    return ok(subject, "none left")


def _description(folder: Path) -> dict[str, Any] | Diagnostic:
    """Return what `inference_model.json` says, or what is wrong with the file."""
    subject = f"{folder.name}: {FILE_NAME}"
    try:
        description = json.loads((folder / FILE_NAME).read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        return ok(subject, "there is none; the cache-folder route skips the folder, register_model needs none")
    except (OSError, ValueError) as error:
        return fault(subject, f"it is not valid JSON ({error}); Foundry skips the folder silently", _WRITE)
    if not isinstance(description, dict):
        return fault(subject, "it is not a JSON object; Foundry skips the folder silently", _WRITE)
    return description


def _name_and_version(description: dict[str, Any]) -> Iterator[Diagnostic]:
    name, version = description.get("Name"), description.get("Version")
    subject = f"{FILE_NAME}: Name"
    if not isinstance(name, str) or not name:
        near = next((key for key in description if key.lower() == "name" and key != "Name"), None)
        found = f"it is written {near!r}" if near else f"there is no name but {name!r}"
        fix = f'write "Name": "my-model" into {FILE_NAME}'
        yield fault(subject, f"{found}; Foundry skips the folder silently", fix)
    else:
        yield ok(subject, name)
    if not isinstance(version, str) or not version:
        found = "there is none; the cache-folder route lists every such model as version 0"
        yield fault(f"{FILE_NAME}: Version", found, f'write "Version": "1" into {FILE_NAME}')
    else:
        yield ok(f"{FILE_NAME}: Version", version)


def _prompt_template(folder: Path, description: dict[str, Any]) -> Diagnostic:
    subject, template = f"{FILE_NAME}: PromptTemplate", description.get("PromptTemplate")
    if template is None:
        return ok(subject, "none; Foundry Local 2.x uses the chat template")
    try:
        if not isinstance(template, dict):
            return fault(subject, "it is not an object", _WRITE)
        check_prompt_template(folder, template)
    except GateError as error:
        return fault(subject, error.what, error.next_step or _WRITE)
    return ok(subject, "gives the same prompt as the chat template")


def _model_id(model_id: str) -> Diagnostic:
    subject, fix = f"model id {model_id}", "give register_model a name and a version, such as my-model:1"
    parts = _MODEL_ID.fullmatch(model_id)
    if ":" not in model_id:
        return fault(subject, "it has no version; register_model takes NAME:VERSION only", fix)
    if parts is None:
        return fault(subject, "its version is not a whole number without leading zeros", fix)
    if not is_alias(parts["name"]):
        return fault(subject, "its name must be letters, digits, dots, dashes and underscores", fix)
    return ok(subject, "register_model takes it")


def _place(folder: Path, cache_root: Path) -> Diagnostic:
    subject = f"{folder.name}: place"
    if cache_root.resolve() in folder.resolve().parents:
        return ok(subject, f"below the cache root {cache_root}")
    found = f"it is not below the cache root {cache_root}, where Foundry looks"
    return fault(subject, found, f"copy it to {cache_root / folder.name}, or `foundry cache cd {folder.parent}`")


def _model_at_root(folder: Path) -> Diagnostic:
    found = "the model's files are in the cache root itself; Foundry looks into its sub-directories only"
    return fault("place", found, f"move them into {folder / 'my-model'}")


def _route(folder: Path, cache_root: Path | None, release: str) -> Diagnostic:
    subject = f"{folder.name}: route"
    if cache_root is None:
        return ok(subject, "register_model; give --cache-root to look at the cache-folder route too")
    if _lists_cache_folders(release):
        return ok(subject, f"foundry-local-sdk {release} lists cache folders")
    found = f"foundry-local-sdk {release} finds cache folders and does not list them"
    fix = "call register_model on its local catalog with this folder, or serve with foundry-local-sdk 2.0.1"
    return fault(subject, found, fix)


def _shared_names(folders: list[Path]) -> Iterator[Diagnostic]:
    owners: dict[str, list[str]] = {}
    for folder in folders:
        description = _description(folder)
        if isinstance(description, dict) and isinstance(description.get("Name"), str):
            owners.setdefault(description["Name"], []).append(folder.name)
    for name, sharing in owners.items():
        if len(sharing) > 1:
            found = f"{' and '.join(sharing)} share it; Foundry lists only one of them and does not say which"
            yield fault(f"name {name}", found, f"give each its own Name in {FILE_NAME}")


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
