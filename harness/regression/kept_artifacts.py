"""Artifacts of baselines, kept by content: speed is compared by running them again, not by old numbers."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from harness.artifact.artifact import Artifact
from harness.system.store import build_once, read_verified

_FOLDER: Final = "baselines"


def keep_artifact(artifact: Artifact, cache: Path) -> Path:
    """The artifact's folder under its digest in the cache; copied there where it is not yet."""

    def build(staging: Path) -> dict[str, str]:
        shutil.copytree(artifact.path, staging / "model")
        return {"digest": artifact.digest, "variant": artifact.variant}

    folder = cache / _FOLDER / artifact.digest[:32]
    build_once(folder, build)
    return folder / "model"


def kept_artifact(digest: str, cache: Path) -> Path | None:
    """The folder that was kept under a digest; None where it is gone or damaged."""
    folder = cache / _FOLDER / digest[:32]
    return folder / "model" if read_verified(folder) is not None else None
