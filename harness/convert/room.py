"""What a conversion needs of memory and disk, estimated before it starts, and what does not fit.

Bytes for each parameter, measured on a Qwen2 of 494 M parameters through Olive 0.13 (the largest of several runs, and a
tenth on top); tied embeddings make small models dearer than large ones, so that the estimate is on the safe side.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from harness.errors import ConversionError
from harness.metrics.units import format_bytes
from harness.recipes.recipe import Precision, Recipe
from harness.source.source import Source

_CONVERTING: Final[Mapping[Precision, float]] = {"fp32": 11.1, "fp16": 4.1, "int8": 7.7, "int4": 9.4}
"""Memory while it is made."""

_RUNNING: Final[Mapping[Precision, float]] = {"fp32": 6.0, "fp16": 8.8, "int8": 2.5, "int4": 2.2}
"""Memory of one loaded model; float16 is computed in float32 on a CPU."""

_KEPT: Final[Mapping[Precision, float]] = {"fp32": 5.6, "fp16": 2.8, "int8": 2.4, "int4": 2.0}
"""Disk of the artifact; as much again while it is made."""


class DoesNotFitError(ConversionError):
    """A model that would not fit into the memory or onto the disk of this machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What is free."""

    memory_bytes: float
    disk_bytes: float
    """In the cache folder."""

    @classmethod
    def here(cls, folder: Path) -> Room:
        """What is free now, on the disk of `folder`."""
        return cls(memory_bytes=psutil.virtual_memory().available, disk_bytes=shutil.disk_usage(folder).free)


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What models of one size need, in bytes."""

    parameters: int

    @classmethod
    def of(cls, source: Source) -> Needs:
        """Of variants of a source model."""
        return cls(parameters=source.parameter_count or source.size_bytes // 2)

    def memory_bytes(self, precision: Precision) -> float:
        """While one is converted, or while it runs: the larger of both."""
        return self.parameters * max(_CONVERTING[precision], _RUNNING[precision])

    def disk_bytes(self, precisions: Collection[Precision]) -> float:
        """For all of them, kept, and the largest once more while it is made."""
        kept = [self.parameters * _KEPT[precision] for precision in precisions]
        return sum(kept) + max(kept, default=0.0)


def misfits(
    source: Source, recipes: Mapping[str, Recipe], room: Room, *, may_be_left_out: Collection[str] = ()
) -> dict[str, DoesNotFitError]:
    """Which of the recipes cannot be made in this room, and why.

    What may be left out, the fp32 reference export, goes before a variant does.
    """
    needs = Needs.of(source)
    found = {
        name: _no_memory(name, needs.memory_bytes(recipe.precision), room)
        for name, recipe in recipes.items()
        if needs.memory_bytes(recipe.precision) > room.memory_bytes
    }
    kept = [name for name in recipes if name not in found]
    for name in [name for name in kept if name in may_be_left_out]:
        needed = needs.disk_bytes([recipes[one].precision for one in kept])
        if needed > room.disk_bytes:
            found[name] = _no_disk([name], needed, room)
            kept.remove(name)
    needed = needs.disk_bytes([recipes[one].precision for one in kept])
    if needed > room.disk_bytes:
        found |= dict.fromkeys(kept, _no_disk(kept, needed, room))
    return found


def _no_memory(name: str, needed_bytes: float, room: Room) -> DoesNotFitError:
    return DoesNotFitError(
        f"{name} needs about {format_bytes(needed_bytes)} of memory, {format_bytes(room.memory_bytes)} are free",
        next_step="close other programs; or convert it on a larger machine (slm-gate convert) and adopt the folder: "
        "`artifact` in [variants.NAME]",
    )


def _no_disk(names: Collection[str], needed_bytes: float, room: Room) -> DoesNotFitError:
    return DoesNotFitError(
        f"converting {', '.join(names)} needs about {format_bytes(needed_bytes)} of disk, "
        f"{format_bytes(room.disk_bytes)} are free",
        next_step="free some space, use another cache folder (--cache-dir), or convert fewer variants",
    )
