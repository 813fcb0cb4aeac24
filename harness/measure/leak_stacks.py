"""Which code holds the memory that a path lost: stacks as text, and memray's flame graph as a page to open."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from harness.metrics.units import format_bytes
from harness.system.paths import REPOSITORY

MIN_ALLOCATIONS_PER_UNIT: Final = 0.5
MAX_STACKS: Final = 10
MAX_FRAMES: Final = 12
UNKNOWN: Final = "<unknown>"
INTERPRETER_FOLDERS: Final = frozenset({"Objects", "Python", "Modules", "internal", "clinic"})
_PAGE_TIMEOUT_S: Final = 120.0


def render_stacks(
    found: Sequence[Mapping[str, Any]], *, path: str, units: int, min_allocations: float
) -> tuple[str, ...]:
    """memray's records as text, equal stacks joined, most bytes first; at most 10 stacks of 12 frames."""
    joined: dict[tuple[str, ...], tuple[int, int]] = {}
    for record in found:
        frames = tuple(_as_line(*frame) for frame in _telling(record["frames"])[:MAX_FRAMES])
        held_bytes, count = joined.get(frames, (0, 0))
        joined[frames] = (held_bytes + record["bytes"], count + record["allocations"])
    often = [(held_bytes, count, frames) for frames, (held_bytes, count) in joined.items() if count >= min_allocations]
    often.sort(key=lambda stack: stack[0], reverse=True)
    return tuple(
        "\n  ".join((f"{format_bytes(held_bytes / units)}/{path}, {count / units:.2f} allocations/{path}", *frames))
        for held_bytes, count, frames in often[:MAX_STACKS]
    )


def write_flamegraph(capture: Path, page: Path) -> bool:
    """Draw what a capture holds at its end into one self-contained page; whether that worked.

    The page needs no network: memray puts its scripts into it when told that there is no web.
    """
    command = [sys.executable, "-m", "memray", "flamegraph", "--leaks", "--no-web", "--force", "-o", page, capture]
    try:
        done = subprocess.run([str(part) for part in command], capture_output=True, timeout=_PAGE_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and page.exists()


def _telling(frames: Sequence[Sequence[Any]]) -> list[Sequence[Any]]:
    """Without the interpreter's own C frames and those without a symbol, unless nothing else is there."""
    telling = [frame for frame in frames if frame[0] != UNKNOWN and not _is_interpreter(Path(frame[1]))]
    return telling or list(frames)


def _is_interpreter(file: Path) -> bool:
    return file.suffix in {".c", ".h"} and file.parent.name in INTERPRETER_FOLDERS


def _as_line(function: str, file: str, line: int) -> str:
    if file == UNKNOWN:
        return function[:120]
    path = Path(file)
    is_ours = path.is_relative_to(REPOSITORY)
    place = path.relative_to(REPOSITORY).as_posix() if is_ours else "/".join(path.parts[-2:])
    return f"{function[:100]} {place}:{line}"
