"""What a machine is, as far as times and memory depend on it, and whether two of them may be compared."""

from __future__ import annotations

import contextlib
import math
import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import psutil

from harness.system.cpu import instruction_set, processor_name, usable_cores
from harness.system.hashing import digest_of

RUNTIMES: Final = (
    "onnxruntime-genai",
    "onnxruntime-genai-cuda",
    "onnxruntime-genai-directml",
    "onnxruntime",
    "onnxruntime-gpu",
    "onnxruntime-directml",
    "onnxruntime-qnn",
    "onnxruntime-openvino",
    "foundry-local-sdk",
)
"""Packages whose code runs inside what is measured."""

VARIABLES: Final = (
    "OMP_NUM_THREADS",
    "OMP_WAIT_POLICY",
    "OMP_PROC_BIND",
    "GOMP_SPINCOUNT",
    "GOMP_CPU_AFFINITY",
    "KMP_BLOCKTIME",
    "KMP_AFFINITY",
    "GLIBC_TUNABLES",
    "MALLOC_ARENA_MAX",
    "PYTHONMALLOC",
    "LD_PRELOAD",
    "DYLD_INSERT_LIBRARIES",
)
"""Environment variables by which threads or the allocator behave otherwise."""

_MEMORY_TOLERANCE: Final = 0.02
"""Share by which a machine's memory may differ from boot to boot, as its kernel reserves more or less of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What two machines do not have in common."""

    what: str
    """In words: `processor`, `onnxruntime-genai`."""

    before: str
    """As text; `none` for what is not there."""

    now: str

    def __str__(self) -> str:
        return f"{self.what}: {self.before}, now {self.now}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprint:
    """What times and memory depend on beside the model; numbers of two runs are comparable where theirs are alike."""

    processor: str
    """Its name as the system tells it; empty where it does not."""

    architecture: str
    """`x86_64`, `arm64`."""

    instruction_set: str
    """A short name that differs with the vector instructions, by which kernels are chosen."""

    logical_cores: int | None
    """Of the machine; None where the system does not tell."""

    usable_cores: int | None
    """Those that this process may run on; None where the system does not tell."""

    memory_bytes: int
    """All of the machine's."""

    system: str
    """Operating system with the first two parts of its version: `Linux 6.8`."""

    python: str
    """Implementation with the first two parts of its version: `CPython 3.11`."""

    versions: Mapping[str, str]
    """Version by package, of `RUNTIMES` that are installed."""

    settings: Mapping[str, str]
    """`VARIABLES` that are set, and how the processor's clock is governed."""

    @property
    def digest(self) -> str:
        """Hex SHA-256 of all but the memory, of which two readings may differ a little."""
        return digest_of({name: value for name, value in self.as_dict().items() if name != "memory_bytes"})

    def as_dict(self) -> dict[str, Any]:
        """In the types of JSON."""
        return {
            name: dict(value) if isinstance(value, Mapping) else value
            for name, value in ((name, getattr(self, name)) for name in self.__slots__)
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Fingerprint:
        """What `as_dict` wrote.

        Raises:
            TypeError: a field is missing, or one is not known.
        """
        return cls(**stored)


def fingerprint() -> Fingerprint:
    """Read this machine's."""
    return Fingerprint(
        processor=processor_name(),
        architecture=platform.machine(),
        instruction_set=instruction_set(),
        logical_cores=os.cpu_count(),
        usable_cores=usable_cores(),
        memory_bytes=psutil.virtual_memory().total,
        system=_system(),
        python=f"{platform.python_implementation()} {sys.version_info.major}.{sys.version_info.minor}",
        versions=_versions(),
        settings={**{name: os.environ[name] for name in VARIABLES if os.environ.get(name)}, **_clock()},
    )


def differences(before: Fingerprint, now: Fingerprint) -> tuple[Difference, ...]:
    """Everything for which times and memory of two runs may not be compared; nothing where they may."""
    found = [
        Difference(what=what, before=_shown(one), now=_shown(other))
        for what, one, other in _pairs(before, now)
        if one != other
    ]
    if not math.isclose(before.memory_bytes, now.memory_bytes, rel_tol=_MEMORY_TOLERANCE):
        sizes = (f"{one.memory_bytes / 2**30:.1f} GiB" for one in (before, now))
        found.append(Difference(what="memory", before=next(sizes), now=next(sizes)))
    return tuple(found)


def _pairs(before: Fingerprint, now: Fingerprint) -> list[tuple[str, Any, Any]]:
    """(what in words, before, now) for everything that must be equal."""
    fields = {
        "processor": "processor",
        "architecture": "architecture",
        "instruction set": "instruction_set",
        "cores": "logical_cores",
        "usable cores": "usable_cores",
        "operating system": "system",
        "Python": "python",
    }
    pairs = [(what, getattr(before, field), getattr(now, field)) for what, field in fields.items()]
    for one, other in ((before.versions, now.versions), (before.settings, now.settings)):
        pairs += [(name, one.get(name), other.get(name)) for name in sorted({*one, *other})]
    return pairs


def _shown(value: Any) -> str:
    return "none" if value is None else str(value)


def _system() -> str:
    release = platform.mac_ver()[0] or (platform.version() if sys.platform == "win32" else platform.release())
    return f"{platform.system()} {'.'.join(release.split('.')[:2])}"


def _versions() -> dict[str, str]:
    found = {}
    for package in RUNTIMES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _clock() -> dict[str, str]:
    """The governor of the processor's clock and where the power comes from, where the system tells."""
    settings = {}
    governor = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    with contextlib.suppress(OSError):  # virtual machines have none
        settings["clock governor"] = governor.read_text(encoding="ascii").strip()
    battery = psutil.sensors_battery() if hasattr(psutil, "sensors_battery") else None
    if battery is not None and battery.power_plugged is not None:
        settings["power"] = "mains" if battery.power_plugged else "battery"
    return settings
