"""Devices by name: what a model may take of one, and how fast it must be for who waits in front of it.

Size, memory and speed are limits of a device and its users, whatever model runs there.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harness.config.diagnosis import did_you_mean
from harness.config.limits import Limit
from harness.errors import ConfigError
from harness.metrics.catalogue import Group, Metric
from harness.metrics.units import Unit

_GIB: Final = 2**30
HERE: Final = "here"
"""The name of the profile that is made of this machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceProfile:
    """What is known of a device before anything was measured on it."""

    name: str
    description: str
    memory_bytes: int
    """Memory of the device, all of it."""

    memory_share: float
    """Share of it, 0 to 1, that one model may take at its peak."""

    storage_bytes: int
    """What a model may take on disk."""

    ttft_s: float
    """Longest time to the first token that nineteen of twenty users wait."""

    itl_s: float
    """Longest gap between two tokens, nineteen of twenty times."""

    decode_tokens_per_second: float
    """Slowest generation that a user puts up with."""

    load_s: float
    """Longest time to load the model."""

    @property
    def limits(self) -> dict[str, Limit]:
        """The limits that follow, by metric, each with its reason."""
        waits = f"who waits in front of {self.name} gives up later than that"
        share = f"{self.memory_share:.0%} of the memory of {self.name}"
        return {
            "peak_rss_bytes": Limit(max=int(self.memory_bytes * self.memory_share), reason=share),
            "size_bytes": Limit(max=self.storage_bytes, reason=f"storage of {self.name}"),
            "load_s": Limit(max=self.load_s, reason=waits),
            "ttft_p95_s": Limit(max=self.ttft_s, reason=waits),
            "itl_p95_s": Limit(max=self.itl_s, reason=waits),
            "decode_tokens_per_second": Limit(
                min=self.decode_tokens_per_second, reason="people read four to five words a second"
            ),
        }


PROFILES: Final[Mapping[str, DeviceProfile]] = {
    profile.name: profile
    for profile in (
        DeviceProfile(
            name="laptop",
            description="a laptop with 16 GiB of memory, somebody waits in front of it",
            memory_bytes=16 * _GIB,
            memory_share=0.25,
            storage_bytes=4 * _GIB,
            ttft_s=1.5,
            itl_s=0.25,
            decode_tokens_per_second=8.0,
            load_s=10.0,
        ),
        DeviceProfile(
            name="edge-4gb",
            description="an edge box with 4 GiB of memory that serves one request after the other",
            memory_bytes=4 * _GIB,
            memory_share=0.5,
            storage_bytes=2 * _GIB,
            ttft_s=3.0,
            itl_s=0.5,
            decode_tokens_per_second=4.0,
            load_s=30.0,
        ),
    )
}


def is_of_device(metric: Metric) -> bool:
    """Whether a limit on it is a device's and its users': size, memory at the peak, times and rates."""
    is_timed = metric.group is Group.SPEED and metric.unit in (Unit.SECONDS, Unit.PER_SECOND)
    return is_timed or metric.name in ("size_bytes", "peak_rss_bytes")


def profile_named(name: str) -> DeviceProfile:
    """The profile of that name, or the one that is made of this machine.

    Raises:
        ConfigError: there is none.
    """
    if name == HERE:
        return profile_of_this_machine(Path.cwd())
    if name not in PROFILES:
        known = (*PROFILES, HERE)
        raise ConfigError(
            f"there is no device profile {name!r}{did_you_mean(name, known)}",
            next_step=f"name one of {', '.join(known)}, or write limits of your own",
        )
    return PROFILES[name]


def profile_of_this_machine(folder: Path) -> DeviceProfile:
    """A profile with the memory of this machine and the free space where `folder` is; speeds are a laptop's."""
    import psutil  # here: no other user of profiles needs it

    memory, laptop = psutil.virtual_memory().total, PROFILES["laptop"]
    place = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    return DeviceProfile(
        name=HERE,
        description=f"this machine: {memory / _GIB:.1f} GiB of memory, {psutil.cpu_count()} CPUs",
        memory_bytes=memory,
        memory_share=0.25,
        storage_bytes=shutil.disk_usage(place).free // 10,
        ttft_s=laptop.ttft_s,
        itl_s=laptop.itl_s,
        decode_tokens_per_second=laptop.decode_tokens_per_second,
        load_s=laptop.load_s,
    )
