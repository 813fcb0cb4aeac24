"""Hands proved artifacts over: a folder each where the user wants them, and nothing of anybody else's lost."""

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
"""Stays in the folder: removed, it would no longer keep those apart who wait for it."""

_EDITED = 2**24
"""Larger files are weights."""

_ELSEWHERE = "remove or move it, or name another folder with --out"


def require_place(out: Path, names: Iterable[str], title: str) -> None:
    """Refuse a place before anything is converted for it.

    A folder is only replaced by another delivery of the model that the user calls `title`.

    Raises:
        ConfigError: `out` cannot be written, or what stands where a variant would go is not ours to replace.
    """
    if out.is_file():
        raise ConfigError("--out is a file", where=str(out), next_step="name a folder; it is made if need be")
    require_writable(out, "--out", "name another folder")
    for name in names:
        reason = _not_ours(out / name, title)
        if reason:
            raise ConfigError(f"{name} cannot go there: {reason}", where=str(out / name), next_step=_ELSEWHERE)


def deliver(artifact: Artifact, out: Path, manifest: Mapping[str, Any]) -> Path:
    """Copy an artifact and its manifest to a folder of its name below `out`, whole or not at all.

    Another delivery to that folder is waited for; what it, or the user, has put there meanwhile is not replaced.

    Raises:
        ConversionError: it cannot be written there, or what stands there by now is not ours to replace.
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
    reason = _not_ours(folder, str(manifest["model"]))
    if reason:
        raise ConversionError(
            f"it was converted, and cannot go there: {reason}", where=str(folder), next_step=_ELSEWHERE
        )
    aside = staging_dir(folder)
    try:
        # Not their modes: they may be read-only there.
        shutil.copytree(artifact.path, aside, copy_function=shutil.copyfile, dirs_exist_ok=True)
        publish(aside, folder, manifest)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return folder


def _not_ours(folder: Path, title: str) -> str | None:
    """Why a folder must not be replaced; None where nothing is lost."""
    if folder.is_symlink():
        return "a link is there"
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return None
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        listed, held = manifest["files"], str(manifest["model"])
        changed = [name for name, entry in listed.items() if _is_changed(folder / name, entry)]
    except (OSError, ValueError, KeyError, TypeError):
        return "something that slm-gate did not write is there"
    present = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
    added = present - set(listed) - {MANIFEST}
    if added:
        return f"{min(added)} was put there since it was delivered"
    if changed:
        return f"{changed[0]} was changed there since it was delivered"
    return None if held == title else f"it holds a variant of another model, {held}"


def _is_changed(file: Path, entry: Mapping[str, Any]) -> bool:
    """By its size, and if it is small, as what people edit is, by its content."""
    size_bytes = file.stat().st_size
    return bool(size_bytes != entry["size_bytes"] or (size_bytes < _EDITED and sha256_of(file) != entry["sha256"]))


def _reason(error: OSError) -> str:
    """One line; copying a tree raises a list of what went wrong with each file."""
    if isinstance(error, shutil.Error) and error.args and error.args[0]:
        return str(error.args[0][0][2])
    return error.strerror or str(error)
