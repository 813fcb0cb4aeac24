"""Counters of the machine and of this process: who had the processors, who waited, how fast they were.

Linux tells all of it in /proc and /sys (proc(5), sched-stats and PSI of the kernel's documentation). Elsewhere psutil
tells what others used and the clock rate; what nobody tells is None, and `weaker_here` says what is lost with it.
"""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from harness.system.cpu import control_group

_CPUS: Final = Path("/sys/devices/system/cpu")
_WORK: Final = b"\0" * 262_144
_TRIES: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Counters at one moment; only differences of two readings mean something, but for the clock."""

    at_s: float
    """`time.perf_counter()`."""

    own_s: float
    """CPU seconds of this process, all threads, user and system."""

    cpus: int
    """Logical CPUs of the machine."""

    busy_s: float | None = None
    """CPU seconds that all programs of the machine used, this one included."""

    stolen_s: float | None = None
    """CPU seconds in which a hypervisor gave this machine's processors to another one."""

    waited_s: float | None = None
    """Seconds that threads of this process were ready and had no processor, summed over threads."""

    stalled_s: float | None = None
    """Seconds in which any task of the machine waited for a processor (PSI, `some`)."""

    quota_s: float | None = None
    """Seconds for which a CPU quota stopped this process's control group."""

    heat_s: float | None = None
    """Seconds for which a processor was slowed down for its heat, the most of any."""

    clock_ratio: float | None = None
    """Lowest clock rate of any processor now against its nominal one."""


def read_machine() -> Reading:
    """All counters of now; takes about a millisecond."""
    times, own = psutil.cpu_times(), psutil.Process().cpu_times()
    idle = ("idle", "iowait", "steal", "guest", "guest_nice")  # guests are counted as user time too
    return Reading(
        at_s=time.perf_counter(),
        own_s=own.user + own.system,
        cpus=psutil.cpu_count() or 1,
        busy_s=sum(value for name, value in times._asdict().items() if name not in idle),
        stolen_s=getattr(times, "steal", None),
        waited_s=_waited_s(),
        stalled_s=_stalled_s(),
        quota_s=_quota_s(),
        heat_s=_heat_s(),
        clock_ratio=_clock_ratio(),
    )


def pace_s() -> float:
    """Seconds that a fixed piece of work takes now, the best of three; it tells the processor's speed of the moment."""
    return min(_timed() for _ in range(_TRIES))


def weaker_here() -> str:
    """What this system does not tell, and which disturbances are missed for it; empty on Linux."""
    if sys.platform == "linux":
        return ""
    return "this system does not tell how long threads waited for a processor, nor time stolen by a hypervisor"


def _timed() -> float:
    start_s = time.perf_counter()
    hashlib.sha256(_WORK).digest()
    return time.perf_counter() - start_s


def _text(file: Path) -> str | None:
    try:
        return file.read_text(encoding="ascii", errors="replace")
    except OSError:
        return None


def _waited_s() -> float | None:
    """Run-queue time of the threads that live: the second number of schedstat, nanoseconds."""
    total, is_told = 0, False
    for file in Path("/proc/self/task").glob("*/schedstat"):
        with suppress(OSError, ValueError, IndexError):  # a thread that ends meanwhile
            total, is_told = total + int(file.read_text().split()[1]), True
    return total / 1e9 if is_told else None


def _stalled_s() -> float | None:
    text = _text(Path("/proc/pressure/cpu")) or ""
    total = next((word for line in text.splitlines() if line.startswith("some") for word in line.split()[-1:]), "")
    return int(total.removeprefix("total=")) / 1e6 if total.startswith("total=") else None


def _quota_s() -> float | None:
    """`throttled_usec` of the control group, version 2."""
    group = control_group()
    if group is None:
        return None
    text = _text(group / "cpu.stat") or ""
    counts = dict(line.split(maxsplit=1) for line in text.splitlines() if " " in line)
    return int(counts["throttled_usec"]) / 1e6 if "throttled_usec" in counts else None


def _heat_s() -> float | None:
    found = _numbers(_CPUS.glob("cpu[0-9]*/thermal_throttle/*_throttle_total_time_ms"))
    return max(found) / 1e3 if found else None


def _clock_ratio() -> float | None:
    """The nominal rate is `base_frequency` where the driver tells it, else half of the highest one."""
    ratios = []
    for folder in _CPUS.glob("cpu[0-9]*/cpufreq"):
        now, base, most = (
            next(iter(_numbers([folder / name])), 0.0)
            for name in ("scaling_cur_freq", "base_frequency", "cpuinfo_max_freq")
        )
        nominal = base or most / 2
        if now and nominal:
            ratios.append(now / nominal)
    if ratios or sys.platform == "linux":
        return min(ratios, default=None)
    with suppress(OSError, NotImplementedError, AttributeError):
        clock = psutil.cpu_freq()
        return clock.current / (clock.max / 2) if clock and clock.max else None
    return None


def _numbers(files: Iterable[Path]) -> list[float]:
    texts = [_text(file) for file in files]
    return [float(text) for text in texts if text and text.strip().isdigit()]
