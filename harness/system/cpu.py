"""What the processor can do: kernels are chosen by it, so what was computed depends on it."""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path

from harness.system.hashing import digest_of


@cache
def instruction_set() -> str:
    """A short name that differs between processors with other vector instructions."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines() if cpuinfo.exists() else []
    flags = next((line.partition(":")[2].split() for line in lines if line.startswith(("flags", "Features"))), [])
    return digest_of([platform.machine(), sorted(flags) or platform.processor()])[:16]
