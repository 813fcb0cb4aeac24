"""Folders that are complete or not there: built in a staging directory, hashed, renamed, verified on every use."""

from __future__ import annotations

import glob
import json
import os
import re
import secrets
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from harness.system.hashing import sha256_of
from harness.system.locks import lock_for

MANIFEST = "manifest.json"
_FORMER = "-former"
"""Suffix of the name of a folder's former content, while it is being replaced."""


def staging_dir(folder: Path) -> Path:
    """A new empty folder beside `folder`, which it will become; the lock of `folder` must be held."""
    clear_staging_dirs(folder)
    staging = folder.with_name(f".{folder.name[:32]}-{secrets.token_hex(4)}")
    staging.mkdir(parents=True)  # and not a temporary folder, which nobody else may read
    return staging


def clear_staging_dirs(folder: Path) -> None:
    """Remove the staging directories that killed builds of a folder left; its lock must be held.

    Other hidden files are left alone. The folder's former content stays as long as nothing stands in its place.
    """
    name = re.compile(rf"\.{re.escape(folder.name[:32])}-[0-9a-f]{{8}}({_FORMER})?")
    for left in folder.parent.glob(f".{glob.escape(folder.name[:32])}-*"):
        found = name.fullmatch(left.name)
        if found and (found[1] is None or folder.exists()):
            shutil.rmtree(left, ignore_errors=True)


def publish(staging: Path, folder: Path, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Write the manifest (files with size and SHA-256, and `facts`) last, sync all files, rename `staging` to `folder`.

    Returns the manifest.
    """
    files = {
        file.relative_to(staging).as_posix(): {"size_bytes": file.stat().st_size, "sha256": sha256_of(file)}
        for file in sorted(staging.rglob("*"))
        if file.is_file() and file != staging / MANIFEST
    }
    manifest = {**facts, "files": files}
    (staging / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    for name in (*files, MANIFEST):
        _sync(staging / name)
    if folder.exists():
        former = staging.with_name(f"{staging.name}{_FORMER}")
        folder.rename(former)  # quick, and undone where the new one cannot follow
        try:
            staging.rename(folder)
        except OSError:
            former.rename(folder)
            raise
        shutil.rmtree(former)
    else:
        staging.rename(folder)
    return manifest


def read_verified(folder: Path) -> dict[str, Any] | None:
    """The manifest of a complete folder; None if it is missing, or any file is missing, changed or not listed.

    Raises:
        PermissionError: a file may not be read, so nothing is known about the folder.
    """
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        listed = manifest["files"]
        present = {f.relative_to(folder).as_posix() for f in folder.rglob("*") if f.is_file()} - {MANIFEST}
        if present != set(listed):
            return None
        for name, entry in listed.items():
            file = folder / name
            if file.stat().st_size != entry["size_bytes"] or sha256_of(file) != entry["sha256"]:
                return None
    except PermissionError:
        raise
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return manifest


def build_once(
    folder: Path, build: Callable[[Path], Mapping[str, Any]], on_damaged: Callable[[], None] = lambda: None
) -> tuple[dict[str, Any], bool]:
    """Return (manifest, was_reused) of `folder`, building it under a lock when it is not there or damaged.

    `build` fills the empty folder it is given and returns the facts for the manifest. What it raises goes through and
    leaves nothing behind. `on_damaged` is called before a damaged folder is removed.
    """
    with lock_for(folder):
        manifest = read_verified(folder)
        if manifest is not None:
            return manifest, True
        if folder.exists():
            on_damaged()
            shutil.rmtree(folder)
        staging = staging_dir(folder)
        try:
            publish(staging, folder, build(staging))
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        manifest = read_verified(folder)
        assert manifest is not None, f"{folder} changed while it was written"
        return manifest, False


def cached_json(folder: Path, compute: Callable[[], Any]) -> Any:
    """The JSON value stored in `folder`; computed by `compute` and stored if there is none."""

    def build(staging: Path) -> Mapping[str, Any]:
        (staging / "value.json").write_text(json.dumps(compute()), encoding="utf-8")
        return {}

    build_once(folder, build)
    return json.loads((folder / "value.json").read_text(encoding="utf-8"))


def write_atomically(file: Path, text: str) -> None:
    """Replace a file's text in one step: readers see the old text or the new one."""
    file.parent.mkdir(parents=True, exist_ok=True)
    staging = file.with_name(f".{file.name}.{os.getpid()}")
    staging.write_text(text, encoding="utf-8")
    _sync(staging)
    staging.replace(file)


def _sync(file: Path) -> None:
    with file.open("rb+") as stream:
        os.fsync(stream.fileno())
