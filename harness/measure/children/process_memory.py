"""What this process holds, read from the kernel: the parts of its memory, and the most that it ever held."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil

from harness.errors import MeasureError

_STATUS: Final = Path("/proc/self/status")
_SMAPS: Final = Path("/proc/self/smaps_rollup")
_CLEAR: Final = Path("/proc/self/clear_refs")
_RESET_PEAK: Final = "5"


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryState:
    """Memory of a process at one moment, bytes; None for what the system does not tell."""

    rss_bytes: int
    """Resident pages, those of mapped files included."""

    anonymous_bytes: int | None = None
    """Resident pages that no file stands behind: heap, stacks, buffers."""

    mapped_bytes: int | None = None
    """Resident pages of files: weights that are mapped, libraries; the system can take them back at any time."""

    pss_bytes: int | None = None
    """Proportional set size: pages that other processes share count in part."""

    swap_bytes: int | None = None
    """Anonymous pages that were written out: they are held, and RSS does not show them."""

    @property
    def held_bytes(self) -> int:
        """What the process keeps the system from using: anonymous pages, in memory or in swap; RSS elsewhere."""
        return self.rss_bytes if self.anonymous_bytes is None else self.anonymous_bytes + (self.swap_bytes or 0)


def read_memory() -> MemoryState:
    """The state of now: /proc/self/smaps_rollup (proc(5)) on Linux, psutil's RSS elsewhere."""
    try:
        fields = parse_kilobytes(_SMAPS.read_text(encoding="ascii", errors="replace"))
        rss, anonymous = fields["Rss"], fields["Anonymous"]
    except (OSError, KeyError):
        return MemoryState(rss_bytes=psutil.Process().memory_info().rss)
    return MemoryState(
        rss_bytes=rss,
        anonymous_bytes=anonymous,
        mapped_bytes=rss - anonymous,
        pss_bytes=fields.get("Pss"),
        swap_bytes=fields.get("Swap"),
    )


def parse_kilobytes(text: str) -> dict[str, int]:
    """Lines like `VmHWM:   8704 kB`, in bytes."""
    found = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        words = value.split()
        if len(words) == 2 and words[1] == "kB" and words[0].isdigit():
            found[name] = int(words[0]) * 1024
    return found


def peak_rss_bytes() -> int:
    """The most resident memory that this process ever had, or since `reset_peak`, bytes.

    The kernel keeps it, so a peak between two looks at the memory counts. Linux: `VmHWM` of /proc/self/status
    (proc(5)), as `ru_maxrss` starts from the parent's peak there. macOS: `ru_maxrss`, in bytes on that system.
    Windows: PeakWorkingSetSize.

    Raises:
        MeasureError: the system does not tell.
    """
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    if sys.platform == "darwin":
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return parse_vm_hwm(_STATUS.read_text(encoding="ascii", errors="replace"))


def parse_vm_hwm(status: str) -> int:
    """`VmHWM` of a /proc/PID/status text, bytes.

    Raises:
        MeasureError: there is no such line.
    """
    found = parse_kilobytes(status).get("VmHWM")
    if found is None:
        raise MeasureError("/proc/self/status has no VmHWM", next_step="is /proc mounted?")
    return found


def reset_peak() -> bool:
    """Let the kernel's high-water mark begin again at what is resident now; False where that cannot be done."""
    with suppress(OSError):
        _CLEAR.write_text(_RESET_PEAK, encoding="ascii")
        return True
    return False


def trim() -> bool:
    """Let the allocator give its free pages back, `malloc_trim(0)` of glibc; False where there is none."""
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError, TypeError):
        return False
    return True


class _Mallinfo2(ctypes.Structure):
    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
        )
    )  # fmt: skip


def heap_meter() -> Callable[[], int]:
    """A reader of what the allocator has handed out, bytes, exact with glibc; anonymous memory elsewhere."""
    try:
        mallinfo2: Any = ctypes.CDLL(None).mallinfo2
    except (OSError, AttributeError, TypeError):
        return lambda: read_memory().held_bytes
    mallinfo2.restype = _Mallinfo2

    def in_use() -> int:
        info: Any = mallinfo2()
        return int(info.uordblks + info.hblkhd)

    return in_use
