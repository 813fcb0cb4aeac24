"""Samples of a process's memory, and whether they grow with its requests.

A leak grows in every segment of a run; a cache that fills or a background thread grows in a few of them. So the
**lower quartile of the segments' growth** decides. The Theil-Sen slope (the median of all pairwise slopes) also sees
leaks that skip segments, but three background steps make it rise: alone it only makes the run repeat with more
requests. A long run is judged by its short segments, of which background steps touch few, and by fourfold ones, of
which a leak skips few.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

from harness.errors import MeasureError
from harness.metrics.measurement import Measured, Measurement
from harness.stats.estimate import Estimate
from harness.stats.quantiles import quantile

SEGMENTS: Final = 8
LONG_STRIDE: Final = 4
_QUARTILE: Final = 25

HEAP_LIMIT_BYTES_PER_REQUEST: Final = 16.0
PAGE_LIMIT_BYTES_PER_REQUEST: Final = 256.0
COARSE_LIMIT_BYTES_PER_REQUEST: Final = 1024.0

_NOTES: Final = {
    "mallinfo2": "heap in use, exact to the byte",
    "anonymous": "anonymous memory in whole pages: leaks below about 1 KiB per request can hide",
    "private": "private bytes of the process: leaks below about 1 KiB per request can hide",
    "uss": "unique set size of the process: leaks below about 1 KiB per request can hide",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LeakSample:
    """Memory at one point of the run."""

    requests: int
    """Requests answered since the warm-up."""

    in_use_bytes: int
    """The judged quantity: heap in use, or what the coarser method reads."""

    anonymous_bytes: int | None
    """Anonymous memory of the process; None where the system does not tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeakResult:
    """How memory grew with the requests, and who allocated it if it did."""

    leak_bytes_per_request: float
    """`steady_growth` of memory in use, bytes per request; negative where it shrank."""

    anonymous_bytes_per_request: float | None
    """The same of anonymous memory; None where the system does not tell."""

    theil_sen_bytes_per_request: float
    """Theil-Sen slope of memory in use, bytes per request; never an alarm by itself."""

    samples: tuple[LeakSample, ...]
    """Every sample of the run that decided."""

    earlier_samples: tuple[LeakSample, ...]
    """Samples of a first run that could not decide and was repeated; empty otherwise."""

    method: str
    """How memory in use was read: `mallinfo2`, or the fallback `anonymous`, `private` or `uss`."""

    note: str
    """What the method can see, and what happened on the way, for a person."""

    requests: int
    """Requests between the first and the last sample."""

    refused_requests: int
    """How many of `requests` went down the error path."""

    limit_bytes_per_request: float
    """Resolution of the method: more growth of memory in use than this is a leak."""

    anonymous_limit_bytes_per_request: float
    """Resolution for anonymous memory, which comes in pages."""

    stacks: tuple[str, ...]
    """Only of a leak: the call stacks that hold memory, most bytes first, innermost frame first."""

    @property
    def is_leaking(self) -> bool:
        """Whether either kind of memory grows by more than the resolution; NaN counts as growth."""
        anonymous = self.anonymous_bytes_per_request
        in_use_is_still = self.leak_bytes_per_request <= self.limit_bytes_per_request
        anonymous_is_still = anonymous is None or anonymous <= self.anonymous_limit_bytes_per_request
        return not (in_use_is_still and anonymous_is_still)

    @property
    def is_conclusive(self) -> bool:
        """Whether the run decides: a leak always does, the absence of one only if memory in use was level.

        It does not where the Theil-Sen slope rises or falls by more than the method's resolution although there is no
        steady growth: either could hide a leak. NaN is not level.
        """
        return self.is_leaking or abs(self.theil_sen_bytes_per_request) <= self.limit_bytes_per_request

    @property
    def estimate(self) -> Estimate:
        """Growth of memory in use, or of anonymous memory where only that leaks; missing if the run does not decide."""
        if not self.is_conclusive:
            return Estimate.missing("memory moved in some segments only, in a longer run too: nothing can be told")
        requests = [sample.requests for sample in self.samples]
        anonymous = [sample.anonymous_bytes for sample in self.samples if sample.anonymous_bytes is not None]
        only_anonymous = self.is_leaking and self.leak_bytes_per_request <= self.limit_bytes_per_request
        return steady_growth(requests, anonymous if only_anonymous else [one.in_use_bytes for one in self.samples])

    def measured(self, metric: str) -> Measured:
        """The result under the name of the runtime's metric."""
        how = f"{self.requests} requests, {self.refused_requests} of them refused; read by {self.method}: {self.note}"
        return Measured(
            measurement=Measurement(
                estimates={metric: self.estimate}, details={metric: "\n".join([how, *self.stacks])}
            ),
            samples={metric: [self]},
        )


def judge_samples(samples: Sequence[LeakSample], *, method: str, refused_requests: int = 0) -> LeakResult:
    """The statistics of one run; the samples must be in order.

    Raises:
        MeasureError: fewer than two samples, or a value that is not finite or not positive.
    """
    if len(samples) < 2:
        raise MeasureError(f"growth needs at least two memory samples, not {len(samples)}")
    for sample in samples:
        for value in (sample.in_use_bytes, sample.anonymous_bytes):
            if value is not None and not (math.isfinite(value) and value > 0):
                raise MeasureError(f"a memory sample after {sample.requests} requests is {value}", where=method)
    requests = [sample.requests for sample in samples]
    in_use = [sample.in_use_bytes for sample in samples]
    anonymous = [sample.anonymous_bytes for sample in samples if sample.anonymous_bytes is not None]
    is_exact = method == "mallinfo2"
    return LeakResult(
        leak_bytes_per_request=_steady(requests, in_use),
        anonymous_bytes_per_request=_steady(requests, anonymous) if len(anonymous) == len(samples) else None,
        theil_sen_bytes_per_request=theil_sen_slope(requests, in_use),
        samples=tuple(samples),
        earlier_samples=(),
        method=method,
        note=_NOTES.get(method, method),
        requests=requests[-1] - requests[0],
        refused_requests=refused_requests,
        limit_bytes_per_request=HEAP_LIMIT_BYTES_PER_REQUEST if is_exact else COARSE_LIMIT_BYTES_PER_REQUEST,
        anonymous_limit_bytes_per_request=PAGE_LIMIT_BYTES_PER_REQUEST if is_exact else COARSE_LIMIT_BYTES_PER_REQUEST,
        stacks=(),
    )


def _steady(requests: Sequence[int], memory_bytes: Sequence[float]) -> float:
    growth = steady_growth(requests, memory_bytes).value
    assert growth is not None
    return growth


def steady_growth(requests: Sequence[int], memory_bytes: Sequence[float]) -> Estimate:
    """Lower quartile of the segments' growth per request; with 33 samples or more also that of fourfold segments.

    The larger of the two, as each overlooks other leaks. The interval is between two of the segments (order
    statistics); with eight segments its lower end is unbounded.
    """
    strides = (1, LONG_STRIDE) if len(requests) > LONG_STRIDE * SEGMENTS else (1,)
    found = [quantile(growth_per_request(requests[::n], memory_bytes[::n]), _QUARTILE) for n in strides]
    steadiest = max(found, key=lambda quartile: quartile.value or 0.0)
    return replace(steadiest, method=f"lower quartile of {steadiest.n} segments, order statistics")


def growth_per_request(requests: Sequence[int], memory_bytes: Sequence[float]) -> list[float]:
    """Growth of each segment divided by its requests; one value fewer than samples."""
    points = pairwise(zip(requests, memory_bytes, strict=True))
    return [(after - before) / (end - start) for (start, before), (end, after) in points]


def theil_sen_slope(requests: Sequence[int], memory_bytes: Sequence[float]) -> float:
    """The median of the slopes between every two samples (P. K. Sen, JASA 63, 1968), bytes per request."""
    from scipy.stats import theilslopes

    return float(theilslopes(memory_bytes, requests).slope)
