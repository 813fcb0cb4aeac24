"""Whether this environment can convert, run and deploy a model, and how to fix what keeps it from that."""

from __future__ import annotations

import importlib
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Final

import psutil

from harness.errors import GateError, first_line
from harness.foundry.diagnostic import Diagnostic, fault, ok
from harness.foundry.host import FoundryHost
from harness.metrics.units import format_bytes
from harness.system.paths import require_cache
from harness.toolchain.toolchain import PINS, is_ready, own_python, toolchain_key, venv_python, verify_toolchain

_SERVING: Final = {
    "onnxruntime": "onnxruntime",
    "onnxruntime-genai": "onnxruntime_genai",
    "onnxruntime-genai-core": "onnxruntime_genai_core",
    "foundry-local-sdk": "foundry_local_sdk",
}
"""What the gate serves with, by package, and the name under which it is imported."""

_COMFORTABLE_BYTES: Final = 8 * 1024**3


def diagnose_environment(cache: Path, toolchain_python: Path | None = None) -> Iterator[Diagnostic]:
    """Look at everything that the gate needs, in the order in which it needs it."""
    yield ok("Python", platform.python_version())
    yield from _packages()
    yield _runtime()
    yield _foundry()
    yield _toolchain(cache, toolchain_python)
    yield _attempt("cache", lambda: str(require_cache(cache)), "set SLM_GATE_CACHE to a folder of your own")
    yield _space("disk for the cache", shutil.disk_usage(_existing(cache)).free, f"free some space in {cache}")
    yield _space("memory", psutil.virtual_memory().available, "close other programs, or convert a smaller model")
    yield _memray()


def _packages() -> Iterator[Diagnostic]:
    installed = metadata.packages_distributions()
    for name, module in _SERVING.items():
        yield _package(name, sorted(set(installed.get(module, ()))))


def _package(name: str, builds: Sequence[str]) -> Diagnostic:
    """`builds` are the packages that have its import name; of two, whichever was installed last is imported."""
    others = [build for build in builds if build != name]
    if name in builds and others:
        found = f"{metadata.version(name)}, and {others[0]}, which has the same import name"
        return fault(name, found, f"pip uninstall {others[0]}, then make install")
    if others:
        return ok(name, f"{others[0]} {metadata.version(others[0])} in its place: the gate is verified on CPU only")
    try:
        return ok(name, metadata.version(name))
    except metadata.PackageNotFoundError:
        return fault(name, "not installed", "make install")


def _runtime() -> Diagnostic:
    def load() -> str:
        module = importlib.import_module("onnxruntime_genai")
        return f"imports from {Path(str(module.__file__)).parent}"

    return _attempt("onnxruntime-genai runs", load, "make install")


def _foundry() -> Diagnostic:
    def start() -> str:
        with tempfile.TemporaryDirectory(prefix="slm-gate-") as home, FoundryHost(Path(home)) as host:
            listed = len(host.listed())
        command = shutil.which("foundry")
        return f"starts, {listed} models listed; the foundry command is {command or 'not on PATH'}"

    return _attempt("Foundry Local runs", start, "make install; read the message")


def _attempt(subject: str, attempt: Callable[[], str], fix: str) -> Diagnostic:
    """Do what the gate will need; ok with what it returns, or a fault with the first line of its error."""
    try:
        return ok(subject, attempt())
    except GateError as error:
        return fault(subject, first_line(error), error.next_step or fix)
    except (ImportError, OSError, RuntimeError) as error:
        return fault(subject, first_line(error), fix)


def _toolchain(cache: Path, python: Path | None) -> Diagnostic:
    folder, python = cache / "toolchains" / toolchain_key(), own_python(python)
    if python is None and not is_ready(folder):
        pins = ", ".join(f"{name} {version}" for name, version in PINS.items())
        return ok("toolchain", f"not made yet; the first conversion makes it ({pins})")

    def verify() -> str:
        ready = verify_toolchain(python or venv_python(folder))
        return f"{ready.python} ({', '.join(f'{name} {version}' for name, version in ready.versions.items())})"

    return _attempt("toolchain", verify, "read the message")


def _space(subject: str, free_bytes: int, fix: str) -> Diagnostic:
    found = f"{format_bytes(free_bytes)} free"
    if free_bytes >= _COMFORTABLE_BYTES:
        return ok(subject, found)
    return fault(subject, f"{found}, {format_bytes(_COMFORTABLE_BYTES)} are wanted", fix)


def _memray() -> Diagnostic:
    try:
        return ok("memray", metadata.version("memray"))
    except metadata.PackageNotFoundError:
        return ok("memray", "not available here: leaks are detected, the code that leaks is not named")


def _existing(folder: Path) -> Path:
    return next(parent for parent in (folder, *folder.parents) if parent.exists())
