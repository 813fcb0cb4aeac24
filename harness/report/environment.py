"""The circumstances of a run: machine and versions."""

from __future__ import annotations

import os
import platform
import re
from importlib import metadata

import psutil
from pydantic import BaseModel, ConfigDict

from harness.system.cpu import processor_name, usable_cores
from harness.system.hashing import digest_of

PACKAGES = (
    "slm-gate",
    "onnxruntime-genai",
    "onnxruntime",
    "foundry-local-sdk",
    "onnx",
    "numpy",
    "memray",
    "pytest",
    "pytest-benchmark",
    "pytest-xdist",
)


class Environment(BaseModel):
    """A machine and what is installed on it; numbers of two runs are comparable where theirs are alike."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    platform: str
    """Operating system with its version, as Python tells it."""

    machine: str
    """Architecture of the processor: `x86_64`, `arm64`."""

    cpu: str
    """Name of the processor; empty where the system does not tell."""

    logical_cores: int | None = None
    usable_cores: int | None = None
    """Those that the process may run on; None where the system does not tell."""

    memory_bytes: int
    """All of the machine's."""

    python: str
    packages: dict[str, str | None]
    """Version by package; None for one that is not there."""


def describe_environment() -> Environment:
    """Read machine, operating system and package versions."""
    return Environment(
        platform=platform.platform(),
        machine=platform.machine(),
        cpu=processor_name(),
        logical_cores=os.cpu_count(),
        usable_cores=usable_cores(),
        memory_bytes=psutil.virtual_memory().total,
        python=platform.python_version(),
        packages={name: _version(name) for name in PACKAGES},
    )


def host_id() -> str:
    """Name this machine: its host name, and a digest that tells machines of one name apart.

    >>> host_id() == host_id()
    True
    """
    name = platform.node()
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:24] or "host"
    digest = digest_of([name, platform.machine(), processor_name(), os.cpu_count()])
    return f"{slug}-{digest[:6]}"


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
