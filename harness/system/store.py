"""Folders that are either whole or not there: built aside, hashed, renamed into place, proved again on every use."""

from __future__ import annotations

import glob
import hashlib
import json
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import platformdirs
from filelock import FileLock, Timeout

from harness.errors import ConfigError

MANIFEST = "manifest.json"
_FORMER = "-former"
"""Ends the name of what stood in a folder's place, while it is being replaced."""


def default_cache() -> Path:
    """The user's cache folder for slm-gate, or `$SLM_GATE_CACHE`."""
    return Path(os.environ.get("SLM_GATE_CACHE") or platformdirs.user_cache_path("slm-gate")).expanduser().absolute()


def require_writable(folder: Path, what: str, next_step: str) -> None:
    """Refuse a folder before anything is computed for it; it is made if need be. `what` names it to the user.

    Raises:
        ConfigError: nothing can be written there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise ConfigError(
            f"{what} cannot be written: {error.strerror or error}", where=str(folder), next_step=next_step
        ) from error


def require_cache(cache: Path) -> Path:
    """The cache folder, if it can be used.

    Raises:
        ConfigError: nothing can be written there.
    """
    require_writable(cache, "the cache", "set SLM_GATE_CACHE to a folder of your own")
    return cache


def sha256_of(file: Path) -> str:
    """Hex SHA-256 of a file's content."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest_of(value: Any) -> str:
    """Hex SHA-256 of a JSON-able value, independent of the order of keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def lock_for(folder: Path) -> FileLock:
    """The lock between processes that build the same folder; it stands beside it, for whoever may write there."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(folder.with_name(f"{folder.name}.lock"), mode=folder.parent.stat().st_mode & 0o666)


@contextmanager
def locked(folder: Path, on_wait: Callable[[], None]) -> Iterator[None]:
    """Hold a folder's lock; `on_wait` is called before waiting for another process."""
    lock = lock_for(folder)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        on_wait()
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def staging_dir(folder: Path) -> Path:
    """A new empty folder beside the one that it will become, open to whom the umask allows; its lock must be held."""
    clear_staging_dirs(folder)
    aside = folder.with_name(f".{folder.name[:32]}-{secrets.token_hex(4)}")
    aside.mkdir(parents=True)
    return aside


def clear_staging_dirs(folder: Path) -> None:
    """Remove what killed builds of a folder left, and nothing else that is hidden there; its lock must be held.

    What stood in its place before stays as long as nothing stands there again.
    """
    name = re.compile(rf"\.{re.escape(folder.name[:32])}-[0-9a-f]{{8}}({_FORMER})?")
    for left in folder.parent.glob(f".{glob.escape(folder.name[:32])}-*"):
        found = name.fullmatch(left.name)
        if found and (found[1] is None or folder.exists()):
            shutil.rmtree(left, ignore_errors=True)


def publish(aside: Path, folder: Path, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Write the manifest (files with size and SHA-256, and `facts`) last, make all durable, rename to `folder`.

    Returns the manifest.
    """
    files = {
        file.relative_to(aside).as_posix(): {"size_bytes": file.stat().st_size, "sha256": sha256_of(file)}
        for file in sorted(aside.rglob("*"))
        if file.is_file() and file != aside / MANIFEST
    }
    manifest = {**facts, "files": files}
    (aside / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    for name in (*files, MANIFEST):
        _sync(aside / name)
    if folder.exists():
        former = aside.with_name(f"{aside.name}{_FORMER}")
        folder.rename(former)  # quick, and undone where the new one cannot follow
        try:
            aside.rename(folder)
        except OSError:
            former.rename(folder)
            raise
        shutil.rmtree(former)
    else:
        aside.rename(folder)
    return manifest


def read_verified(folder: Path) -> dict[str, Any] | None:
    """The manifest of a whole folder; None when it is missing, or any file is missing, changed or not listed.

    Raises:
        PermissionError: it may not be read, which says nothing against it.
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
    leaves nothing behind. `on_damaged` is called before a folder that fails its proof is thrown away.
    """
    with lock_for(folder):
        manifest = read_verified(folder)
        if manifest is not None:
            return manifest, True
        if folder.exists():
            on_damaged()
            shutil.rmtree(folder)
        aside = staging_dir(folder)
        try:
            publish(aside, folder, build(aside))
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        manifest = read_verified(folder)
        assert manifest is not None, f"{folder} changed while it was written"
        return manifest, False


def cached_json(folder: Path, compute: Callable[[], Any]) -> Any:
    """A JSON value from the disk, where there is one, or else what `compute` gives, kept from then on."""

    def build(aside: Path) -> Mapping[str, Any]:
        (aside / "value.json").write_text(json.dumps(compute()), encoding="utf-8")
        return {}

    build_once(folder, build)
    return json.loads((folder / "value.json").read_text(encoding="utf-8"))


def write_atomically(file: Path, text: str) -> None:
    """Replace a file's text as a whole: readers see the old or the new one."""
    file.parent.mkdir(parents=True, exist_ok=True)
    aside = file.with_name(f".{file.name}.{os.getpid()}")
    aside.write_text(text, encoding="utf-8")
    _sync(aside)
    aside.replace(file)


def _sync(file: Path) -> None:
    with file.open("rb+") as stream:
        os.fsync(stream.fileno())
