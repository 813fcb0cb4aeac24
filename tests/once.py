"""Files that several tests use are made once in a run, by whichever worker needs them first."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock


def made_once(folder: Path, make: Callable[[Path], object]) -> Path:
    """The folder, which `make` writes unless another test or worker has; it appears whole or not at all."""
    with FileLock(folder.with_name(f"{folder.name}.lock")):
        if not folder.exists():
            staging = folder.with_name(f"{folder.name}.part")
            shutil.rmtree(staging, ignore_errors=True)
            make(staging)
            staging.rename(folder)
    return folder
