"""What a conversion needs of memory and disk, estimated before it starts, and what does not fit.

Measured on Qwen2 shapes of 0.5, 1.5 and 3.1 billion parameters through Olive 0.13: what the processes have of their own
(anonymous pages) at the peak, by parameters, by the weights of the output head, which are copied while they are
quantised, and by what every conversion takes. Pages of files that are mapped count as free: the system takes them back.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import psutil

from harness.errors import ConversionError
from harness.metrics.units import format_bytes
from harness.recipes.recipe import Precision, Recipe
from harness.source.source import Source


class _Bytes(NamedTuple):
    """What is needed, by the size of the model."""

    per_weight: float
    per_weight_of_head: float
    in_any_case: float = 0.0

    def of(self, weights: int, weights_of_head: int) -> float:
        """For so many weights, those of the head among them; a tenth is spare."""
        return 1.1 * (self.per_weight * weights + self.per_weight_of_head * weights_of_head + self.in_any_case)


_CONVERTING: Final[Mapping[Precision, _Bytes]] = {
    "fp32": _Bytes(4.0, 7.1, 1e9),
    "fp16": _Bytes(5.0, 0.0, 0.3e9),
    "int8": _Bytes(2.3, 0.9, 1e9),
    "int4": _Bytes(0.7, 18.1, 1e9),
}
"""Memory while it is made."""

_USUAL_WIDTH: Final = 1024
"""Of a head whose shape is not known, as weights are pickled."""

_RUNNING: Final[Mapping[Precision, float]] = {"fp32": 6.0, "fp16": 5.5, "int8": 2.5, "int4": 2.2}
"""Bytes of one loaded model for each weight; float16 is computed in float32 on a CPU."""

_KEPT: Final[Mapping[Precision, _Bytes]] = {
    "fp32": _Bytes(4.0, 4.0),
    "fp16": _Bytes(2.0, 2.0),
    "int8": _Bytes(1.05, 4.0),
    "int4": _Bytes(0.63, 4.0),
}
"""Disk of the artifact, whose embedding stands beside the head; as much again while it is made."""


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
    head: int
    """Weights of the output head, which may be those of the embedding."""

    @classmethod
    def of(cls, source: Source) -> Needs:
        """Of variants of a source model."""
        width = min(source.input_widths, default=_USUAL_WIDTH)
        return cls(
            parameters=source.parameter_count or source.size_bytes // 2,
            head=source.vocabulary_size * width,
        )

    def memory_bytes(self, precision: Precision) -> float:
        """While one is converted, or while it runs: the larger of both."""
        converting = _CONVERTING[precision].of(self.parameters, self.head)
        return max(converting, self.parameters * _RUNNING[precision])

    def disk_bytes(self, precisions: Collection[Precision]) -> float:
        """For all of them, kept, and the largest once more while it is made."""
        kept = [_KEPT[precision].of(self.parameters, self.head) for precision in precisions]
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
