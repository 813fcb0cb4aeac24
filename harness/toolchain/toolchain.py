"""The second environment, in which conversion and the reference run: made once, verified every time."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from harness.errors import ToolchainError
from harness.system.locks import locked
from harness.system.progress import SILENT, Progress
from harness.system.store import write_atomically
from harness.toolchain.venv import create_venv, install

PINS: Mapping[str, str] = {
    "torch": "2.13.0",
    "transformers": "5.23.0",
    "olive-ai": "0.13.0",
    "onnxruntime-genai": "0.14.1",
    "onnxruntime": "1.31.0",
    "requests": "2.34.2",  # olive-ai imports it and does not declare it
}
"""The newest releases that convert together; see `known_conflict` for neighbours that do not."""

_ISOLATED = ("-E", "-s", "-P")
"""Keeps PYTHON* variables, the user's site and the script's folder off the import path."""

_NEEDED_BYTES = 4 * 1024**3
_OWN_TOOLCHAIN = "or point --toolchain or SLM_GATE_TOOLCHAIN at a Python that has them"
_QUERY = """
import importlib.metadata, json, sys
versions = {}
for name in sys.argv[1:]:
    try:
        versions[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        pass
print(json.dumps(versions))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Toolchain:
    """An environment that can convert."""

    python: Path
    """Its interpreter."""

    versions: Mapping[str, str]
    """Installed version of each package in `PINS`, without build suffixes."""

    def __call__(self) -> Toolchain:
        """Itself, so that a toolchain can be passed as a `ToolchainProvider`."""
        return self

    def command(self, script: Path) -> list[str | Path]:
        """The command that runs a worker script, isolated from this process's Python settings."""
        return [self.python, *_ISOLATED, "-X", "utf8", script]


class ToolchainProvider(Protocol):
    """Knows a toolchain's versions before it is made, and makes it when called."""

    @property
    def versions(self) -> Mapping[str, str]:
        """Package versions that the toolchain has, or will have."""
        ...

    def __call__(self) -> Toolchain:
        """The toolchain, made now if need be."""
        ...


@dataclass(kw_only=True)
class ToolchainOnDemand:
    """A toolchain that is made when something has to be converted, and not before."""

    cache: Path
    """The gate's cache folder."""

    python: Path | None = None
    """The interpreter that the user named; None if none."""

    progress: Progress = SILENT
    """Shows the user how the toolchain is made."""

    _ready: Toolchain | None = field(default=None, init=False, repr=False)

    @property
    def versions(self) -> Mapping[str, str]:
        """The pins, or the versions of the user's own interpreter, which are read at once."""
        return PINS if own_python(self.python) is None else self().versions

    def __call__(self) -> Toolchain:
        """The verified toolchain; the same one every time."""
        if self._ready is None:
            self._ready = ensure_toolchain(cache=self.cache, python=self.python, progress=self.progress)
        return self._ready


def own_python(given: Path | None) -> Path | None:
    """The interpreter that the user names, or `$SLM_GATE_TOOLCHAIN`; None where the gate makes its own."""
    named = os.environ.get("SLM_GATE_TOOLCHAIN")
    return given or (Path(named).expanduser() if named else None)


def ensure_toolchain(*, cache: Path, python: Path | None = None, progress: Progress = SILENT) -> Toolchain:
    """The toolchain at `own_python(python)`, or the cached one of these pins, made if there is none yet.

    Raises:
        ToolchainError: it cannot be made, a package is missing, or its packages are known not to work together.
    """
    python = own_python(python)
    if python is not None:
        return verify_toolchain(python)
    folder = cache / "toolchains" / toolchain_key()
    with locked(folder, lambda: progress.line("another process is making the toolchain; waiting for it")):
        if is_ready(folder):
            return verify_toolchain(venv_python(folder))
        return _make(folder, progress)


def verify_toolchain(python: Path) -> Toolchain:
    """A toolchain with every package that conversion needs, in versions that are not known to fail.

    Raises:
        ToolchainError: naming what is missing or does not fit.
    """
    versions = query_versions(python)
    missing = [name for name in PINS if name not in versions]
    if missing:
        raise ToolchainError(
            f"the toolchain lacks {', '.join(missing)}",
            where=str(python),
            next_step=f"{python} -m pip install {' '.join(requirements(missing))}",
        )
    conflict = known_conflict(versions)
    if conflict:
        raise ToolchainError(
            conflict, where=str(python), next_step=f"{python} -m pip install {' '.join(requirements(PINS))}"
        )
    return Toolchain(python=python, versions=versions)


def query_versions(python: Path) -> dict[str, str]:
    """Versions of the packages in `PINS` that `python` has, from their metadata; nothing is imported."""
    try:
        done = subprocess.run(
            [str(python), *_ISOLATED, "-c", _QUERY, *PINS], capture_output=True, text=True, timeout=60, check=True
        )
        found: dict[str, str] = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise ToolchainError(
            f"the toolchain's Python does not run: {_last_words(error)}",
            where=str(python),
            next_step="give the path of an interpreter (Python 3.11 or newer), such as .../bin/python",
        ) from error
    return {name: version.partition("+")[0] for name, version in found.items()}


def _last_words(error: Exception) -> str:
    """The last line of the child's output, without its program text."""
    if isinstance(error, subprocess.CalledProcessError):
        return str((error.stderr.strip().splitlines() or [f"it ended with status {error.returncode}"])[-1])
    return str(error)


def known_conflict(versions: Mapping[str, str]) -> str | None:
    """Why a set of versions is known to fail; None if it is not."""
    olive, genai = versions.get("olive-ai", ""), versions.get("onnxruntime-genai", "")
    if not olive.startswith("0.13.") or not genai:
        return None
    minor = tuple(int(part) if part.isdigit() else 0 for part in genai.split(".")[:2])
    if minor == (0, 15):
        return f"olive-ai {olive} with onnxruntime-genai {genai} swallows every error and writes no model"
    if minor > (0, 15):
        return f"olive-ai {olive} cannot import onnxruntime-genai {genai} (models.quantized_model is gone from it)"
    return None


def requirements(names: Mapping[str, str] | list[str]) -> list[str]:
    """The pins of some packages, as pip takes them."""
    return [f"{name}=={PINS[name]}" for name in names]


def toolchain_key() -> str:
    """Name of the cached toolchain: it depends on the pins, this Python and this platform."""
    parts = [*requirements(PINS), platform.python_version(), platform.system(), platform.machine()]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def venv_python(folder: Path) -> Path:
    """The interpreter in a virtual environment."""
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def is_ready(folder: Path) -> bool:
    """Whether a toolchain is complete: `ready.json` is written last."""
    return (folder / "ready.json").is_file() and venv_python(folder).exists()


def quiet_environment(*, offline: bool = True) -> dict[str, str]:
    """Environment of every child process: no telemetry, no progress bars, and no network if `offline`."""
    environment = {
        "OLIVE_DISABLE_TELEMETRY": "1",
        "CI": "1",  # without it olive-ai 0.13.0 sends one heartbeat before it looks at the variable above
        "ORT_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "DO_NOT_TRACK": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "TQDM_DISABLE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "OMP_WAIT_POLICY": "PASSIVE",  # torch's idle threads sleep: 4 times as fast on shared cores
        "GOMP_SPINCOUNT": "0",
    }
    return environment | {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"} if offline else environment


def _make(folder: Path, progress: Progress) -> Toolchain:
    # A virtual environment cannot be moved, so it is built in its final place and used only with `ready.json`.
    shutil.rmtree(folder, ignore_errors=True)
    free_bytes = shutil.disk_usage(folder.parent).free
    if free_bytes < _NEEDED_BYTES:
        raise ToolchainError(
            f"the toolchain needs {_NEEDED_BYTES / 1024**3:.0f} GiB of disk, {free_bytes / 1024**3:.1f} GiB are free",
            where=str(folder.parent),
            next_step=f"free some space, or use another cache folder, {_OWN_TOOLCHAIN}",
        )
    log = folder.with_suffix(".log")
    log.unlink(missing_ok=True)
    progress.line("making the conversion toolchain (torch, transformers, olive): about 2 GB, once")
    create_venv(Path(sys.executable), folder, log=log, progress=progress)
    install(venv_python(folder), requirements(PINS), log=log, progress=progress)
    toolchain = verify_toolchain(venv_python(folder))
    write_atomically(folder / "ready.json", json.dumps({"versions": dict(toolchain.versions), "pins": dict(PINS)}))
    return toolchain


def worker(name: str) -> Path:
    """The path of a script in this folder that runs inside the toolchain: `worker("olive_worker")`."""
    return Path(__file__).with_name(f"{name}.py")
