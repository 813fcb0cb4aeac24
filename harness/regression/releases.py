"""An environment with another release of onnxruntime-genai, made once and kept in the cache."""

from __future__ import annotations

import platform
import shutil
import sys
from pathlib import Path

from harness.system.hashing import digest_of
from harness.system.locks import lock_for
from harness.system.store import write_atomically
from harness.toolchain.toolchain import venv_python
from harness.toolchain.venv import create_venv, install
from harness.toolchain.workspace import Workspace

_MARK = "ready.json"


def ensure_runtime(workspace: Workspace, release: str) -> Path:
    """The interpreter of an environment with that release and numpy; it is made where there is none yet.

    Raises:
        ToolchainError: pip cannot make it.
    """
    pin = f"onnxruntime-genai=={release}"
    key = digest_of([pin, platform.python_version(), platform.system(), platform.machine()])[:16]
    folder = workspace.cache / "runtimes" / key
    with lock_for(folder):
        if not (folder / _MARK).exists():
            shutil.rmtree(folder, ignore_errors=True)  # grown in its final place, it counts only with its mark
            workspace.progress.line(f"making an environment with {pin}, once")
            log = folder.with_suffix(".log")
            create_venv(Path(sys.executable), folder, log=log, progress=workspace.progress)
            install(venv_python(folder), [pin, "numpy"], log=log, progress=workspace.progress)
            write_atomically(folder / _MARK, f'{{"pin": "{pin}"}}')
    return venv_python(folder)
