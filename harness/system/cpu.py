"""What the processor can do: kernels are chosen by it, so what was computed depends on it."""

from __future__ import annotations

import platform
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Final

import psutil

from harness.system.hashing import digest_of

_CONTROL_GROUPS: Final = Path("/sys/fs/cgroup")


@cache
def processor_flags() -> tuple[str, ...]:
    """What /proc/cpuinfo says that the processor can do, as Linux spells it; empty elsewhere."""
    return tuple(next(iter(_cpuinfo("flags", "Features")), "").split())


@cache
def instruction_set() -> str:
    """A short name that differs between processors with other vector instructions."""
    flags = processor_flags()
    return digest_of([platform.machine(), sorted(flags) or platform.processor()])[:16]


def usable_cores() -> int | None:
    """Logical cores that this process may run on; None where the system does not tell (macOS)."""
    return len(psutil.Process().cpu_affinity() or ()) if hasattr(psutil.Process, "cpu_affinity") else None


def logical_cpus() -> int:
    """Logical CPUs that this process may run on; all of them where there is no affinity."""
    return usable_cores() or psutil.cpu_count() or 1


@cache
def compute_cores() -> int:
    """Threads by which computing gains: one for each physical core that this process may use, within its CPU quota.

    onnxruntime-genai's own choice is half of all logical CPUs, which leaves cores idle that have no second thread.
    """
    usable = logical_cpus()
    return max(1, min(psutil.cpu_count(logical=False) or usable, usable, cpu_quota(control_group()) or usable))


def control_group() -> Path | None:
    """The folder of this process's control group, version 2; None where there is none."""
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    return next((_CONTROL_GROUPS / line[3:].strip("/") for line in lines if line.startswith("0::")), None)


def cpu_quota(group: Path | None) -> int | None:
    """Whole CPUs whose time a control group and those around it may use, at least one; None where all may be used."""
    quotas = []
    for folder in (group, *group.parents) if group else ():
        try:
            quota, period = (folder / "cpu.max").read_text(encoding="ascii").split()
        except (OSError, ValueError):
            continue
        if quota.isdigit() and period.isdigit():
            quotas.append(max(1, int(quota) // int(period)))
    return min(quotas, default=None)


@cache
def processor_name() -> str:
    """The processor's name as the system tells it; empty where it does not."""
    names = _cpuinfo("model name")
    return names[0] if names else _name_on_macos() or platform.processor()


def _cpuinfo(*starts: str) -> list[str]:
    """Values of the lines of /proc/cpuinfo that begin so; none where there is no such file."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines() if cpuinfo.exists() else []
    return [line.partition(":")[2].strip() for line in lines if line.startswith(starts)]


def _name_on_macos() -> str:
    """`Apple M3`, where `platform.processor` says `arm`; empty elsewhere."""
    if sys.platform != "darwin":
        return ""
    command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
    asked = subprocess.run(command, capture_output=True, text=True, check=False)
    return asked.stdout.strip() if asked.returncode == 0 else ""
