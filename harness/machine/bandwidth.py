"""What the machine can do at most: bytes that it reads and operations that it makes in a second.

Both are the best of several tries with numpy on all usable processors, so they are a little below what the hardware
could do (J. D. McCalpin's STREAM takes the best try too); `SLACK` is the room for that.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np

from harness.machine.disturbance import MachineWatch
from harness.system.cpu import logical_cpus, processor_flags

SLACK: Final = 1.5
"""A rate up to this many times the measured limit may be the measurement's fault; above it a number is wrong."""

LARGEST_BYTES: Final = 2**28
"""More than any cache of a laptop or an edge box holds, and read in a tenth of a second."""

_MATRIX: Final = 768
_LEAST_S: Final = 0.08
_TRIES: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineLimits:
    """The rates that nothing on this machine can exceed by far."""

    read_bytes_per_second: float
    """Reading a buffer of `buffer_bytes` again and again; what fits a cache is read faster than memory."""

    buffer_bytes: int
    operations_per_second: float
    """Multiplications and additions of float32 in matrix products, times what 8-bit products are denser at most."""

    is_disturbed: bool = False
    """Whether the machine was stolen, loaded or throttled meanwhile: the true limits are higher then."""


def machine_limits(working_bytes: int) -> MachineLimits:
    """The limits for a work that reads `working_bytes` again and again.

    Takes about half a second and is remembered, unless the machine was disturbed.
    """
    size = max(2**16, min(working_bytes, LARGEST_BYTES))
    return _limits(1 << (size - 1).bit_length())  # a handful of sizes, so that variants of like size share one


def _limits(size: int) -> MachineLimits:
    if size not in _KNOWN or _KNOWN[size].is_disturbed:
        _KNOWN[size] = _measured(size)
    return _KNOWN[size]


def _measured(size: int) -> MachineLimits:
    with MachineWatch() as watch:
        read, float32 = read_bytes_per_second(size), float32_operations_per_second()
    return MachineLimits(
        read_bytes_per_second=read,
        buffer_bytes=size,
        operations_per_second=denser_than_float32() * float32,
        is_disturbed=bool(watch.found),
    )


_KNOWN: Final[dict[int, MachineLimits]] = {}


def denser_than_float32() -> int:
    """How many 8-bit products a processor makes in the place of one of float32, at most.

    Dot products of four (AVX-VNNI, Arm's dotprod) make four, Arm's matrix products (i8mm) eight, Intel's tiles
    (AMX) 16.
    """
    return 16 if "amx_int8" in processor_flags() else 8


def read_bytes_per_second(size: int) -> float:
    """Bytes of a buffer of `size` bytes that all usable processors together read in a second."""
    threads = logical_cpus()
    parts = np.array_split(np.ones(max(size // 8, threads), dtype=np.int64), threads)
    repeats = max(1, min(256, 2**24 // size))

    def largest(part: np.ndarray) -> None:
        for _ in range(repeats):
            part.max()

    def squares(part: np.ndarray) -> None:
        floats = part.view(np.float64)
        for _ in range(repeats):
            np.dot(floats, floats)

    with ThreadPoolExecutor(threads) as pool:
        best_s = min(_best_s(lambda work=work: list(pool.map(work, parts))) for work in (largest, squares))  # type: ignore[misc]
    return repeats * size / best_s


def float32_operations_per_second() -> float:
    """Multiplications and additions in a product of two square matrices of float32."""
    matrix = np.ones((_MATRIX, _MATRIX), dtype=np.float32)
    return 2 * _MATRIX**3 / _best_s(lambda: matrix @ matrix)


def _best_s(work: Callable[[], object]) -> float:
    """The shortest of several tries; each of them long enough for threads to start, the first one apart."""
    work()
    best_s, spent_s, tries = float("inf"), 0.0, 0
    while tries < _TRIES or spent_s < _LEAST_S:
        start_s = time.perf_counter()
        work()
        took_s = time.perf_counter() - start_s
        best_s, spent_s, tries = min(best_s, took_s), spent_s + took_s, tries + 1
    return best_s
