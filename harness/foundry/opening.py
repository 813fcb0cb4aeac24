"""Opens a session from a plain description, so that a child process can open the one its parent means.

A session spec is a JSON object, made by `genai_spec` or `foundry_spec`; a target that is left out is CPU.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from harness.config.target import Target, target_of
from harness.errors import SessionError
from harness.runtime.session import Session

SessionSpec = Mapping[str, Any]
"""What `open_session` needs to know, made of JSON types only."""

_MODULES: Final = {
    "genai": ("harness.runtime.genai", "onnxruntime_genai"),
    "foundry": ("harness.foundry.session", "foundry_local_sdk"),
}


def genai_spec(path: Path, target: Target, *, threads: int | None = None) -> SessionSpec:
    """An artifact in onnxruntime-genai, with its own choice of threads where none is made."""
    spec = {"runtime": "genai", "path": str(path), "target": target.as_dict()}
    return spec if threads is None else {**spec, "threads": threads}


def foundry_spec(path: Path, target: Target, *, alias: str, home: Path) -> SessionSpec:
    """An artifact in Foundry Local, registered as `alias`; its folders are below `home`."""
    where = {"path": str(path), "alias": alias, "home": str(home)}
    return {"runtime": "foundry", "target": target.as_dict(), **where}


def open_session(spec: SessionSpec) -> Session:
    """Load the described model and return its session.

    Raises:
        SessionError: no such runtime, an incomplete spec, or a model that does not load.
    """
    runtime = _runtime(spec)
    if "path" not in spec:
        raise SessionError("a session spec has no `path`", where=repr(dict(spec)))
    if runtime == "foundry":
        from harness.foundry.session import open_foundry_session

        return open_foundry_session(spec)
    from harness.runtime.genai import GenaiSession

    return GenaiSession(Path(spec["path"]), target=target_of(spec), name=spec.get("name"), threads=spec.get("threads"))


def import_runtime(spec: SessionSpec) -> None:
    """Import everything that `open_session(spec)` would import, so that loading can be timed without it.

    Raises:
        SessionError: no such runtime, or its package is not installed.
    """
    for module in _MODULES[_runtime(spec)]:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise SessionError(
                f"the runtime {spec['runtime']!r} cannot be imported: {error}",
                next_step="install the gate's own environment again",
            ) from error


def _runtime(spec: SessionSpec) -> str:
    runtime = spec.get("runtime")
    if runtime not in _MODULES:
        raise SessionError(
            f"no runtime is called {runtime!r}",
            where=repr(dict(spec)),
            next_step=f"use one of: {', '.join(_MODULES)}",
        )
    return str(runtime)
