"""Copies verified artifacts to the user's folder, without replacing anything that slm-gate did not write."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from harness.artifact.artifact import Artifact
from harness.errors import ConfigError, ConversionError
from harness.system.hashing import sha256_of
from harness.system.paths import require_writable
from harness.system.store import MANIFEST, publish, staging_dir

_LOCK = ".slm-gate.lock"
"""Never removed: processes that wait for it hold the file open."""

_EDITED = 2**24
"""Files up to this size, in bytes, are compared by content; larger ones are weights."""

_ELSEWHERE = "remove or move it, or name another folder with --out"


def require_place(out: Path, names: Iterable[str], title: str) -> None:
    """Raise, before anything is converted, if a variant cannot be delivered to a folder of its name below `out`.

    An existing folder is replaced only if it is an unchanged delivery of the same model, `title`.

    Raises:
        ConfigError: `out` cannot be written, or a variant's folder must not be replaced.
    """
    if out.is_file():
        raise ConfigError("--out is a file", where=str(out), next_step="name a folder; it is made if need be")
    require_writable(out, "--out", "name another folder")
    for name in names:
        reason = _obstacle(out / name, title)
        if reason:
            raise ConfigError(f"{name} cannot go there: {reason}", where=str(out / name), next_step=_ELSEWHERE)


def deliver(artifact: Artifact, out: Path, manifest: Mapping[str, Any]) -> Path:
    """Copy an artifact and its manifest to a folder of its name below `out`, completely or not at all.

    A concurrent delivery to that folder is waited for; a folder that must not be replaced stays.

    Raises:
        ConversionError: it cannot be written there, or the folder must not be replaced.
    """
    folder = out / artifact.variant
    try:
        with FileLock(out / _LOCK):
            return _placed(artifact, folder, manifest)
    except OSError as error:
        raise ConversionError(
            f"it was converted, and cannot be written to --out: {_reason(error)}",
            where=str(folder),
            next_step="free some space or name another folder; what was converted is kept in the cache",
        ) from error


def _placed(artifact: Artifact, folder: Path, manifest: Mapping[str, Any]) -> Path:
    reason = _obstacle(folder, str(manifest["model"]))
    if reason:
        raise ConversionError(
            f"it was converted, and cannot go there: {reason}", where=str(folder), next_step=_ELSEWHERE
        )
    staging = staging_dir(folder)
    try:
        # without file modes: in the cache the files may be read-only
        shutil.copytree(artifact.path, staging, copy_function=shutil.copyfile, dirs_exist_ok=True)
        publish(staging, folder, manifest)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return folder


def _obstacle(folder: Path, title: str) -> str | None:
    """Why a folder must not be replaced; None if it may be."""
    if folder.is_symlink():
        return "a link is there"
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return None
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        listed, model = manifest["files"], str(manifest["model"])
        changed = [name for name, entry in listed.items() if _is_changed(folder / name, entry)]
    except (OSError, ValueError, KeyError, TypeError):
        return "there is something that slm-gate did not write"
    present = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
    added = present - set(listed) - {MANIFEST}
    if added:
        return f"{min(added)} was put there since it was delivered"
    if changed:
        return f"{changed[0]} was changed there since it was delivered"
    return None if model == title else f"it holds a variant of another model, {model}"


def _is_changed(file: Path, entry: Mapping[str, Any]) -> bool:
    """Compare the size and, for small files, which people may edit, the content."""
    size_bytes = file.stat().st_size
    return bool(size_bytes != entry["size_bytes"] or (size_bytes < _EDITED and sha256_of(file) != entry["sha256"]))


def _reason(error: OSError) -> str:
    """One line; copying a tree raises a list with an error for each file."""
    if isinstance(error, shutil.Error) and error.args and error.args[0]:
        return str(error.args[0][0][2])
    return error.strerror or str(error)
