"""Whether the machine let a measurement alone: stolen, loaded or throttled, it measures something else.

A disturbance makes a measurement of time invalid, whichever way it came out: it is no data then, neither red nor green.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Final

from harness.machine.readings import Reading, pace_s, read_machine


class Cause(StrEnum):
    """What kept a program from the processors that it was to have."""

    STOLEN = "stolen"
    LOADED = "loaded"
    THROTTLED = "throttled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Disturbance:
    """One cause and its size."""

    cause: Cause
    share: float
    """Of the time, 0 to 1; for a slowed processor by how much work took longer, 0.5 = half as long again."""

    what: str
    """One sentence for the user, without a full stop."""

    def __str__(self) -> str:
        return self.what


STOLEN_MOST: Final = 0.02
"""Share of the processors' time that a hypervisor may take."""

WAITED_MOST: Final = 0.10
"""Share of its running time that a process may wait for a processor; its own threads on few processors take some."""

OTHERS_MOST: Final = 0.15
"""Share of all processors that other programs may use."""

STALLED_MOST: Final = 0.50
"""Share of the time in which some task may wait for a processor; a busy program alone makes some of it itself."""

QUOTA_MOST: Final = 0.02
"""Share of the time for which a quota may stop the process."""

HEAT_MOST: Final = 0.02
"""Share of the time for which a processor may be slowed down for its heat."""

CLOCK_LEAST: Final = 0.8
"""Least clock rate against the nominal one."""

SLOWER_MOST: Final = 0.25
"""By how much a fixed piece of work may take longer in one part of a measurement than in its best part."""

SHORTEST_S: Final = 0.25
"""Counters tick a hundred times a second: shares of a shorter time mean nothing and are not judged."""

_WINDOW: Final = 5


def disturbances(
    before: Reading, after: Reading, paces_s: Sequence[float] = (), *, is_crowd: bool = False
) -> tuple[Disturbance, ...]:
    """What disturbed the time between two readings.

    Args:
        before: counters at the beginning.
        after: counters at the end.
        paces_s: seconds of a fixed piece of work, taken at intervals in between.
        is_crowd: the process itself has more work than processors, as under load: that it waits says nothing then.
    """
    found = [*_slowed(paces_s), *_clock(before, after)]
    if after.at_s - before.at_s >= SHORTEST_S:
        found += _shares(before, after, is_crowd=is_crowd)
    return tuple(found)


def _shares(before: Reading, after: Reading, *, is_crowd: bool) -> list[Disturbance]:
    wall_s = after.at_s - before.at_s
    capacity_s, own_s = wall_s * after.cpus, after.own_s - before.own_s
    waited = None if is_crowd else _change(before.waited_s, after.waited_s)
    stalled = None if is_crowd else _change(before.stalled_s, after.stalled_s)
    others = _change(before.busy_s, after.busy_s)
    candidates = [
        (Cause.STOLEN, STOLEN_MOST, _share(_change(before.stolen_s, after.stolen_s), capacity_s),
         "a hypervisor took {} of the processors' time"),
        (Cause.LOADED, WAITED_MOST, _share(waited, own_s + (waited or 0.0)),
         "the process waited {} of its running time for a processor"),
        (Cause.LOADED, OTHERS_MOST, None if others is None else _share(others - own_s, capacity_s),
         "other programs used {} of all processors"),
        (Cause.LOADED, STALLED_MOST, _share(stalled, wall_s),
         "programs waited for a processor for {} of the time, others or the gate's own (not told whose)"),
        (Cause.THROTTLED, QUOTA_MOST, _share(_change(before.quota_s, after.quota_s), capacity_s),
         "a CPU quota stopped the process for {} of the time"),
        (Cause.THROTTLED, HEAT_MOST, _share(_change(before.heat_s, after.heat_s), wall_s),
         "a processor was slowed down for its heat for {} of the time"),
    ]  # fmt: skip
    return [
        Disturbance(cause=cause, share=share, what=what.format(f"{share:.0%}"))
        for cause, most, share, what in candidates
        if share is not None and share > most
    ]


def _slowed(paces_s: Sequence[float]) -> list[Disturbance]:
    """By windows of neighbouring paces, so that one interruption is none and a phase of them is one."""
    width = min(_WINDOW, len(paces_s) // 2)
    if width < 2:
        return []
    medians = [statistics.median(paces_s[start : start + width]) for start in range(len(paces_s) - width + 1)]
    slower = max(medians) / min(medians) - 1
    if not slower > SLOWER_MOST:
        return []
    where = medians.index(max(medians)) / len(medians)
    part = "at its beginning" if where < 0.1 else f"from {where:.0%} of it on"
    what = f"the processor changed its speed during the measurement: the same work took {slower:.0%} longer {part}"
    return [Disturbance(cause=Cause.THROTTLED, share=slower, what=what)]


def _clock(before: Reading, after: Reading) -> list[Disturbance]:
    ratio = after.clock_ratio  # before it, the processor may have idled
    if ratio is None or before.clock_ratio is None or ratio >= CLOCK_LEAST:
        return []
    what = f"a processor ran at {ratio:.0%} of its nominal clock rate"
    return [Disturbance(cause=Cause.THROTTLED, share=1 - ratio, what=what)]


def _change(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else after - before


def _share(part_s: float | None, whole_s: float) -> float | None:
    return None if part_s is None or whole_s <= 0 else part_s / whole_s


class MachineWatch:
    """Watches the machine around a measurement: `with MachineWatch() as watch: ...; watch.beat()` between requests.

    A measurement that is too short for counters to mean something is followed by work until they do.

    `read` and `pace` are where the counters come from; `is_crowd` as for `disturbances`.
    """

    def __init__(
        self,
        *,
        read: Callable[[], Reading] = read_machine,
        pace: Callable[[], float] = pace_s,
        is_crowd: bool = False,
    ) -> None:
        self._read = read
        self._is_crowd = is_crowd
        self._pace = pace
        self._paces_s: list[float] = []
        self._before: Reading | None = None
        self._found: tuple[Disturbance, ...] = ()

    def __enter__(self) -> MachineWatch:
        self._before = self._read()
        return self

    def beat(self) -> None:
        """Note the processor's speed of this moment; takes about half a millisecond."""
        self._paces_s.append(self._pace())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._before is not None
        after = self._read()
        while kind is None and after.at_s - self._before.at_s < SHORTEST_S:
            self.beat()  # busy as the measurement was: what disturbed it disturbs this too
            after = self._read()
        self._found = disturbances(self._before, after, self._paces_s, is_crowd=self._is_crowd)

    @property
    def found(self) -> tuple[Disturbance, ...]:
        """What disturbed; empty before the end."""
        return self._found
