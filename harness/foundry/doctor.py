"""Is this environment able to convert, run and deploy; and what to do where it is not."""

from __future__ import annotations

import importlib
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

import psutil

from harness.errors import GateError, first_line
from harness.foundry.host import FoundryHost
from harness.foundry.registration import Finding
from harness.metrics.units import format_bytes
from harness.system.paths import require_cache
from harness.toolchain.toolchain import PINS, is_ready, own_python, toolchain_key, venv_python, verify_toolchain

_SERVING = ("onnxruntime", "onnxruntime-genai", "onnxruntime-genai-core", "foundry-local-sdk")
_RIVALS = ("onnxruntime-gpu", "onnxruntime-genai-cuda", "onnxruntime-genai-directml", "onnxruntime-directml")
_COMFORTABLE_BYTES = 8 * 1024**3


def examine(cache: Path, toolchain_python: Path | None = None) -> Iterator[Finding]:
    """Look at everything that the gate needs, in the order in which it needs it."""
    yield _python()
    yield from (_package(name) for name in _SERVING)
    yield from _rivals()
    yield _runtime()
    yield _foundry()
    yield _toolchain(cache, toolchain_python)
    yield _tried("cache", lambda: str(require_cache(cache)), "set SLM_GATE_CACHE to a folder of your own")
    yield _space("disk for the cache", shutil.disk_usage(_existing(cache)).free, f"free some space in {cache}")
    yield _space("memory", psutil.virtual_memory().available, "close other programs, or convert a smaller model")
    yield _memray()


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    return Finding(
        what="Python", is_well=sys.version_info >= (3, 11), found=version, remedy="slm-gate needs Python 3.11 or newer"
    )


def _package(name: str) -> Finding:
    try:
        return Finding(what=name, is_well=True, found=metadata.version(name))
    except metadata.PackageNotFoundError:
        return Finding(what=name, is_well=False, found="not installed", remedy="make install")


def _rivals() -> Iterator[Finding]:
    """Packages that share an import name with the serving runtime: whichever was installed last wins, silently."""
    for name in _RIVALS:
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
        yield Finding(
            what=name,
            is_well=False,
            found=f"{version}, which shares its import name with a package of the gate",
            remedy=f"pip uninstall {name}, then make install",
        )


def _runtime() -> Finding:
    def load() -> str:
        module = importlib.import_module("onnxruntime_genai")
        return f"imports from {Path(str(module.__file__)).parent}"

    return _tried("onnxruntime-genai runs", load, "make install")


def _foundry() -> Finding:
    def start() -> str:
        with tempfile.TemporaryDirectory(prefix="slm-gate-") as home, FoundryHost(Path(home)) as host:
            listed = len(host.listed())
        command = shutil.which("foundry")
        return f"starts, {listed} models listed; the foundry command is {command or 'not on PATH'}"

    return _tried("Foundry Local runs", start, "make install; read the message")


def _tried(what: str, attempt: Callable[[], str], remedy: str) -> Finding:
    try:
        return Finding(what=what, is_well=True, found=attempt())
    except (GateError, ImportError, OSError, RuntimeError) as error:
        return Finding(what=what, is_well=False, found=first_line(error), remedy=remedy)


def _toolchain(cache: Path, python: Path | None) -> Finding:
    folder, python = cache / "toolchains" / toolchain_key(), own_python(python)
    if python is None and not is_ready(folder):
        pins = ", ".join(f"{name} {version}" for name, version in PINS.items())
        return Finding(what="toolchain", is_well=True, found=f"not made yet; the first conversion makes it ({pins})")
    try:
        ready = verify_toolchain(python or venv_python(folder))
    except GateError as error:
        return Finding(what="toolchain", is_well=False, found=error.what, remedy=error.next_step or "")
    versions = ", ".join(f"{name} {version}" for name, version in ready.versions.items())
    return Finding(what="toolchain", is_well=True, found=f"{ready.python} ({versions})")


def _space(what: str, free_bytes: int, remedy: str) -> Finding:
    return Finding(
        what=what, is_well=free_bytes >= _COMFORTABLE_BYTES, found=f"{format_bytes(free_bytes)} free", remedy=remedy
    )


def _memray() -> Finding:
    try:
        return Finding(what="memray", is_well=True, found=metadata.version("memray"))
    except metadata.PackageNotFoundError:
        return Finding(what="memray", is_well=True, found="not available here: leaks are found, their stacks not named")


def _existing(folder: Path) -> Path:
    return next(parent for parent in (folder, *folder.parents) if parent.exists())
