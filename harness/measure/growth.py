"""Samples of a process's memory, and whether they grow with what the process does.

A leak grows in every segment of a run; a cache that fills or a background thread grows in a few of them. So the
**lower quartile of the segments' growth** decides. The Theil-Sen slope (the median of all pairwise slopes) also sees
leaks that skip segments, but three background steps make it rise: alone it only makes the run repeat with more
segments. A long run is judged by its short segments, of which background steps touch few, and by fourfold ones, of
which a leak skips few.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise
from statistics import median
from typing import Final, Self

from harness.errors import MeasureError
from harness.stats.estimate import Estimate
from harness.stats.quantiles import percentile, quantile

SEGMENTS: Final = 8
LONG_STRIDE: Final = 4
_QUARTILE: Final = 25

EXACT: Final = "mallinfo2"
"""The one method that counts bytes; the others count pages."""

_PAGES: Final = 16
"""Growth of anonymous memory that is a leak, in limits of the heap: it comes in pages."""

_COARSE: Final = 64
"""The same of what is read where there is no `mallinfo2`."""

METHOD_NOTES: Final = {
    EXACT: "heap in use, exact to the byte",
    "anonymous": "anonymous memory in whole pages: leaks below about 1 KiB per request can hide",
    "private": "private bytes of the process: leaks below about 1 KiB per request can hide",
    "uss": "unique set size of the process: leaks below about 1 KiB per request can hide, and so can swapped-out ones",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LeakSample:
    """Memory at one point of the run."""

    units: int
    """What was done since the first sample: requests, tokens, loads, as the path counts."""

    in_use_bytes: int
    """The judged quantity: heap in use, or what the coarser method reads."""

    anonymous_bytes: int | None
    """Anonymous memory of the process, swapped out or not; None where the system does not tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """What growth is told from none, bytes per unit."""

    in_use_bytes: float
    """More growth of memory in use than this is a leak."""

    anonymous_bytes: float
    """The same for anonymous memory, which comes in pages."""

    @classmethod
    def of(cls, method: str, limit_bytes: float) -> Self:
        """For a limit on the heap, as far as the way of reading allows it."""
        if method == EXACT:
            return cls(in_use_bytes=limit_bytes, anonymous_bytes=_PAGES * limit_bytes)
        return cls(in_use_bytes=_COARSE * limit_bytes, anonymous_bytes=_COARSE * limit_bytes)

    @classmethod
    def of_round(cls, method: str, limits: Mapping[str, float], units: Mapping[str, int]) -> Self:
        """For a round of many paths: as much as the path that is allowed the least; so none can hide behind another."""
        return cls.of(method, min(limits[path] * count for path, count in units.items()))


@dataclass(frozen=True, slots=True, kw_only=True)
class LeakResult:
    """How memory grew on one path, and who allocated it if it did."""

    path: str
    """What was done again and again: `request`, `token`, `session`, `stream`, `error` or `load`."""

    leak_bytes_per_unit: float
    """Lower quartile of the segments' growth of memory in use, bytes; negative where it shrank."""

    anonymous_bytes_per_unit: float | None
    """The same of anonymous memory; None where the system does not tell."""

    theil_sen_bytes_per_unit: float
    """Theil-Sen slope of memory in use; never an alarm by itself."""

    samples: tuple[LeakSample, ...]
    """Every sample of the run that decided."""

    earlier_samples: tuple[LeakSample, ...] = ()
    """Samples of a first run that could not decide and was repeated; empty otherwise."""

    method: str
    """How memory in use was read: `mallinfo2`, or the fallback `anonymous`, `private` or `uss`."""

    note: str = ""
    """What happened on the way, for a person."""

    units: int
    """Done between the first and the last sample."""

    limit_bytes_per_unit: float
    """Resolution: more growth of memory in use than this is a leak."""

    anonymous_limit_bytes_per_unit: float
    """Resolution for anonymous memory, which comes in pages."""

    stacks: tuple[str, ...] = ()
    """Only of a leak: the call stacks that hold memory, most bytes first, innermost frame first."""

    flamegraph: str | None = None
    """Only of a leak: the page that shows them all; None where it could not be made."""

    @property
    def is_leaking(self) -> bool:
        """Whether either kind of memory grows by more than the resolution; NaN counts as growth."""
        return not (self._in_use_is_still and self._anonymous_is_still)

    @property
    def is_conclusive(self) -> bool:
        """Whether the run decides: a leak always does, the absence of one only if memory in use was level.

        It does not where the Theil-Sen slope rises or falls by more than the method's resolution although there is no
        steady growth: either could hide a leak. NaN is not level.
        """
        return self.is_leaking or abs(self.theil_sen_bytes_per_unit) <= self.limit_bytes_per_unit

    @property
    def estimate(self) -> Estimate:
        """Growth of memory in use, or of anonymous memory where only that leaks; missing if the run does not decide."""
        if not self.is_conclusive:
            return Estimate.missing("memory moved in some segments only, in a longer run too: nothing can be told")
        units = [sample.units for sample in self.samples]
        anonymous = [sample.anonymous_bytes for sample in self.samples if sample.anonymous_bytes is not None]
        only_anonymous = self.is_leaking and self._in_use_is_still
        return steady_growth(units, anonymous if only_anonymous else [one.in_use_bytes for one in self.samples])

    @property
    def _in_use_is_still(self) -> bool:
        return self.leak_bytes_per_unit <= self.limit_bytes_per_unit

    @property
    def _anonymous_is_still(self) -> bool:
        anonymous = self.anonymous_bytes_per_unit
        return anonymous is None or anonymous <= self.anonymous_limit_bytes_per_unit


def samples_of(rows: Sequence[Sequence[int | None]], *, units: int = 1) -> list[LeakSample]:
    """Samples as the child writes them; `units` are those of a path in each step that the child counted."""
    return [LeakSample(units=(row[0] or 0) * units, in_use_bytes=row[1] or 0, anonymous_bytes=row[2]) for row in rows]


def judge_samples(
    samples: Sequence[LeakSample], *, path: str, resolution: Resolution, method: str = EXACT, note: str = ""
) -> LeakResult:
    """The statistics of one run; the samples must be in order.

    Raises:
        MeasureError: fewer than two samples, or a value that is not finite or not positive.
    """
    if len(samples) < 2:
        raise MeasureError(f"growth needs at least two memory samples, not {len(samples)}")
    for sample in samples:
        for value in (sample.in_use_bytes, sample.anonymous_bytes):
            if value is not None and not (math.isfinite(value) and value > 0):
                raise MeasureError(f"a memory sample after {sample.units} units of {path} is {value}", where=method)
    units = [sample.units for sample in samples]
    in_use = [sample.in_use_bytes for sample in samples]
    anonymous = [sample.anonymous_bytes for sample in samples if sample.anonymous_bytes is not None]
    return LeakResult(
        path=path,
        leak_bytes_per_unit=_steady(units, in_use),
        anonymous_bytes_per_unit=_steady(units, anonymous) if len(anonymous) == len(samples) else None,
        theil_sen_bytes_per_unit=theil_sen_slope(units, in_use),
        samples=tuple(samples),
        method=method,
        note=note,
        units=units[-1] - units[0],
        limit_bytes_per_unit=resolution.in_use_bytes,
        anonymous_limit_bytes_per_unit=resolution.anonymous_bytes,
    )


def steady_growth(units: Sequence[int], memory_bytes: Sequence[float]) -> Estimate:
    """Lower quartile of the segments' growth per unit; with 33 samples or more also that of fourfold segments.

    The larger of the two, as each overlooks other leaks. The interval is between two of the segments (order
    statistics); with eight segments its lower end is unbounded.
    """
    found = [quantile(growth, _QUARTILE) for growth in _growths(units, memory_bytes)]
    steadiest = max(found, key=lambda quartile: quartile.value or 0.0)
    return replace(steadiest, method=f"lower quartile of {steadiest.n} segments, order statistics")


def growth_per_unit(units: Sequence[int], memory_bytes: Sequence[float]) -> list[float]:
    """Growth of each segment divided by its units; one value fewer than samples."""
    points = pairwise(zip(units, memory_bytes, strict=True))
    return [(after - before) / (end - start) for (start, before), (end, after) in points]


def theil_sen_slope(units: Sequence[int], memory_bytes: Sequence[float]) -> float:
    """The median of the slopes between every two samples (P. K. Sen, JASA 63, 1968), bytes per unit.

    Worked out here and not by scipy, which the measured process must not load.
    """
    points = combinations(zip(units, memory_bytes, strict=True), 2)
    return float(median((after - before) / (end - start) for (start, before), (end, after) in points))


def _steady(units: Sequence[int], memory_bytes: Sequence[float]) -> float:
    quartiles = (percentile(growth, _QUARTILE) for growth in _growths(units, memory_bytes))
    return max((quartile for quartile in quartiles if quartile is not None), default=math.nan)


def _growths(units: Sequence[int], memory_bytes: Sequence[float]) -> list[list[float]]:
    strides = (1, LONG_STRIDE) if len(units) > LONG_STRIDE * SEGMENTS else (1,)
    return [growth_per_unit(units[::n], memory_bytes[::n]) for n in strides]
