"""Environments with a few pinned packages, made once and kept in the cache."""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from harness.system.locks import lock_for
from harness.system.store import write_atomically
from harness.toolchain.toolchain import is_ready, venv_python
from harness.toolchain.venv import create_venv, install
from harness.toolchain.workspace import Workspace


def ensure_environment(workspace: Workspace, shelf: str, pin: str, *others: str, size: str) -> Path:
    """The interpreter of an environment with `pin` and other packages; it is made where there is none yet.

    Args:
        workspace: cache and progress.
        shelf: the folder of the cache for environments of this purpose.
        pin: what tells one from another: `onnxruntime-genai==0.18.0`.
        others: packages that are installed beside it.
        size: how much is fetched, for people: `0.3 GB`.

    Raises:
        ToolchainError: pip cannot make it.
    """
    key = "\n".join([pin, platform.python_version(), platform.system(), platform.machine()])
    folder = workspace.cache / shelf / hashlib.sha256(key.encode()).hexdigest()[:16]
    with lock_for(folder):
        if not is_ready(folder):
            shutil.rmtree(folder, ignore_errors=True)  # grown in its final place, it counts only with its mark
            workspace.progress.line(f"making the environment of {pin}: about {size}, once")
            _make(folder, [pin, *others], workspace)
    return venv_python(folder)


def _make(folder: Path, packages: Sequence[str], workspace: Workspace) -> None:
    log = folder.with_suffix(".log")
    create_venv(Path(sys.executable), folder, log=log, progress=workspace.progress)
    install(venv_python(folder), packages, log=log, progress=workspace.progress)
    write_atomically(folder / "ready.json", json.dumps({"packages": list(packages)}))
