"""Ways to read how much memory this process uses, from exact to coarse.

Heap in use is what malloc has handed out and not got back: `uordblks + hblkhd` of glibc's `mallinfo2` (mallinfo(3)). It
leaves out free pages that the allocator keeps, so in a healthy process it stays still to the byte where RSS does not.
Direct mmap escapes it, so anonymous memory of `/proc/self/smaps_rollup` (proc(5)) is read beside it, what was swapped
out included.
"""

from __future__ import annotations

import ctypes
import functools
import gc
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harness.errors import MeasureError

CONTROL_OBJECTS: Final = 1024
CONTROL_OBJECT_BYTES: Final = 64
SMAPS: Final = Path("/proc/self/smaps_rollup")


@dataclass(frozen=True, slots=True, kw_only=True)
class Meter:
    """One way to read how much memory this process uses."""

    method: str
    """`mallinfo2`, `anonymous`, `private` (Windows) or `uss`."""

    in_use_bytes: Callable[[], int]
    """The quantity that is judged, in bytes."""

    anonymous_bytes: Callable[[], int] | None
    """Anonymous memory in bytes; None where the system does not tell it apart."""


def choose_meter(method: str | None = None) -> Meter:
    """The finest meter that works here, or the named one.

    `mallinfo2` is tried first on memory of its own: under a preloaded allocator it stands still and would see no leak.

    Raises:
        MeasureError: the named meter does not exist on this system.
    """
    for make in (_mallinfo2, _anonymous, _process):
        meter = make()
        if meter and (meter.method == method or (method is None and _is_usable(meter))):
            return meter
    raise MeasureError(f"memory cannot be read by {method!r} on {sys.platform}")


def settle() -> None:
    """Give back what is only cached: garbage cycles, CPython's type cache, the allocator's free pages."""
    gc.collect()
    clear = getattr(sys, "_clear_internal_caches", None) or getattr(sys, "_clear_type_cache", None)
    if clear:
        clear()
    trim = getattr(_c_library(), "malloc_trim", None)
    if trim:
        trim(0)


def _is_usable(meter: Meter) -> bool:
    if meter.method != "mallinfo2":
        return True
    settle()
    before = meter.in_use_bytes()
    control = [bytes(CONTROL_OBJECT_BYTES) + index.to_bytes(4, "big") for index in range(CONTROL_OBJECTS)]
    seen = meter.in_use_bytes() - before
    return seen >= len(control) * CONTROL_OBJECT_BYTES


class _Mallinfo2(ctypes.Structure):
    _fields_ = (
        ("arena", ctypes.c_size_t),
        ("ordblks", ctypes.c_size_t),
        ("smblks", ctypes.c_size_t),
        ("hblks", ctypes.c_size_t),
        ("hblkhd", ctypes.c_size_t),
        ("usmblks", ctypes.c_size_t),
        ("fsmblks", ctypes.c_size_t),
        ("uordblks", ctypes.c_size_t),
        ("fordblks", ctypes.c_size_t),
        ("keepcost", ctypes.c_size_t),
    )


def _mallinfo2() -> Meter | None:
    read = getattr(_c_library(), "mallinfo2", None)
    if read is None:
        return None
    read.restype = _Mallinfo2

    def in_use_bytes() -> int:
        info = read()
        return int(info.uordblks + info.hblkhd)

    return Meter(
        method="mallinfo2",
        in_use_bytes=in_use_bytes,
        anonymous_bytes=_anonymous_bytes if SMAPS.exists() else None,
    )


def _anonymous() -> Meter | None:
    if not SMAPS.exists():
        return None
    return Meter(method="anonymous", in_use_bytes=_anonymous_bytes, anonymous_bytes=_anonymous_bytes)


def _process() -> Meter | None:
    import psutil

    process = psutil.Process()
    if sys.platform == "win32":
        return Meter(method="private", in_use_bytes=lambda: int(process.memory_info().private), anonymous_bytes=None)
    return Meter(method="uss", in_use_bytes=lambda: int(process.memory_full_info().uss), anonymous_bytes=None)


def _anonymous_bytes() -> int:
    return parse_anonymous(SMAPS.read_bytes())


def parse_anonymous(smaps: bytes) -> int:
    """Anonymous memory of a `smaps_rollup` in bytes, what was swapped out included: a leak is rarely used again.

    The same as `RssAnon` and `VmSwap` of /proc/self/status, which the kernel counts less exactly.

    Raises:
        MeasureError: a line is missing.
    """
    found = {
        name: int(value.split()[0]) for name, _, value in (line.partition(b":") for line in smaps.splitlines()[1:])
    }
    try:
        return (found[b"Anonymous"] + found[b"Swap"]) * 1024
    except KeyError as missing:
        raise MeasureError(f"{SMAPS} has no line {missing}", next_step="is /proc mounted?") from missing


@functools.cache
def _c_library() -> ctypes.CDLL | None:
    return None if sys.platform == "win32" else ctypes.CDLL(None)
