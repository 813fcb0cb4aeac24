"""Where things are: the repository, the user's cache, and whether a folder can be written to."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import platformdirs

from harness.errors import ConfigError

REPOSITORY = Path(__file__).resolve().parents[2]
"""The folder that holds `harness/`."""


def default_cache() -> Path:
    """The user's cache folder for slm-gate, or `$SLM_GATE_CACHE`."""
    return Path(os.environ.get("SLM_GATE_CACHE") or platformdirs.user_cache_path("slm-gate")).expanduser().absolute()


def require_writable(folder: Path, what: str, next_step: str) -> None:
    """Raise if nothing can be written to a folder, which is made if need be; `what` names it to the user.

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
