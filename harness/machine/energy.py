"""Energy that the processor used, where the machine tells it: the RAPL counters of Linux's powercap."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

POWERCAP: Final = Path("/sys/class/powercap")
NOT_MEASURABLE: Final = "not measurable here"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnergyReading:
    """The counters of every processor package at one moment."""

    joules: tuple[float, ...]
    """One a package; they begin again at their range."""

    ranges_joules: tuple[float, ...]
    """Where each begins again at zero."""


def read_energy(folder: Path = POWERCAP) -> EnergyReading | None:
    """The counters; None where there are none, or where they are for the administrator only."""
    joules, ranges = [], []
    for package in sorted(folder.glob("intel-rapl:[0-9]*")):
        if package.name.count(":") != 1:
            continue  # a part of a package, counted in it
        try:
            joules.append(int((package / "energy_uj").read_text()) / 1e6)
            ranges.append(int((package / "max_energy_range_uj").read_text()) / 1e6)
        except (OSError, ValueError):
            return None
    return EnergyReading(joules=tuple(joules), ranges_joules=tuple(ranges)) if joules else None


def used_joules(before: EnergyReading | None, after: EnergyReading | None) -> float | None:
    """Energy of all packages between two readings, of everything that ran; None where it is not measurable."""
    if before is None or after is None or len(before.joules) != len(after.joules):
        return None
    changes = zip(before.joules, after.joules, before.ranges_joules, strict=True)
    return sum(end - start + (whole if end < start else 0.0) for start, end, whole in changes)
