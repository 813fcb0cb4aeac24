"""What every step of the pipeline needs: the cache, the toolchain, a folder for logs, and progress."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from harness.system.paths import require_cache
from harness.system.progress import SILENT, Progress
from harness.toolchain.toolchain import ToolchainOnDemand, ToolchainProvider


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """Passed unchanged from step to step."""

    cache: Path
    """The gate's cache folder."""

    toolchain: ToolchainProvider
    """Makes the conversion environment when it is called, and not before."""

    progress: Progress = SILENT
    """Shows the user what is going on."""

    logs: Path | None = None
    """Folder of the child processes' logs; None for the one in the cache."""

    timeout_s: float = 7200.0
    """Longest time, in seconds, that one conversion, merge or computation of reference logits may take."""

    @classmethod
    def open(
        cls, cache: Path, *, python: Path | None = None, progress: Progress = SILENT, logs: Path | None = None
    ) -> Workspace:
        """A workspace over a cache folder; `python` is the interpreter of the user's own toolchain.

        Raises:
            ConfigError: nothing can be written to the cache.
        """
        require_cache(cache)
        toolchain = ToolchainOnDemand(cache=cache, python=python, progress=progress)
        return cls(cache=cache, toolchain=toolchain, progress=progress, logs=logs)

    def log(self, name: str) -> Path:
        """The log file called `name`, without spaces and brackets; its folder is made if need be."""
        folder = self.logs or self.cache / "logs"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{re.sub(r'[^A-Za-z0-9._]+', '-', name)}.log"

    def notify(self, text: str) -> None:
        """Show the user a line."""
        self.progress.line(text)
