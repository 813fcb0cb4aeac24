"""Numbers of stored runs over time, machine by machine, and where they changed."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import numpy as np

from harness.errors import GateError
from harness.metrics.catalogue import METRICS
from harness.report.environment import Environment
from harness.report.record import RunRecord, load_record
from harness.stats.change_points import change_points

SHOWN: Final = (
    "exact_match_rate", "e2e_p50_s", "ttft_p50_s", "itl_p50_s", "size_bytes", "peak_rss_bytes",
    "leak_bytes_per_request",
)  # fmt: skip
_BARS: Final = "▁▂▃▄▅▆▇█"
_CHANGE: Final = "|"


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One run."""

    run_id: str
    started_at: datetime
    value: float
    """In the metric's unit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """A metric of a variant on one machine, in order of time."""

    model: str
    machine: str
    variant: str
    metric: str
    points: tuple[Point, ...]
    changes: tuple[int, ...]
    """Indices of points at which a new level begins."""

    @property
    def drawing(self) -> str:
        """`▂▁▂|▇█▇`: a bar a run from the smallest to the largest value, a stroke where the level changed."""
        values = [point.value for point in self.points]
        low, high = min(values), max(values)
        reach = (high - low) or 1.0
        bars = [_BARS[min(len(_BARS) - 1, int((value - low) / reach * len(_BARS)))] for value in values]
        return "".join(f"{_CHANGE if index in self.changes else ''}{bar}" for index, bar in enumerate(bars))

    @property
    def told(self) -> list[str]:
        """A line for each change: since which run, from what to what."""
        edges = [0, *self.changes, len(self.points)]
        metric = METRICS[self.metric]
        levels = [
            float(np.median([point.value for point in self.points[begin:end]]))
            for begin, end in itertools.pairwise(edges)
        ]
        return [
            f"{self.variant}: {self.metric} went from {metric.format(before)} to {metric.format(after)} "
            f"with {self.points[index].run_id}"
            for index, before, after in zip(self.changes, levels, levels[1:], strict=False)
        ]


def read_records(results: Path) -> list[RunRecord]:
    """Every record below a results folder, by time; what cannot be read is left out."""
    found = []
    for folder in sorted(results.iterdir()) if results.is_dir() else ():
        if folder.name == "latest" or not (folder / "run.json").is_file():
            continue
        try:
            found.append(load_record(folder))
        except GateError:
            continue
    return sorted(found, key=lambda record: record.started_at)


def series_of(records: Sequence[RunRecord], metrics: Sequence[str]) -> list[Series]:
    """One for each model, machine, variant and metric that two runs or more have."""
    points: dict[tuple[str, str, str, str], list[Point]] = {}
    for record in records:
        for key, point in _points(record, metrics):
            points.setdefault(key, []).append(point)
    return [
        Series(
            model=model,
            machine=machine,
            variant=variant,
            metric=metric,
            points=tuple(found),
            changes=tuple(change_points(np.asarray([point.value for point in found]))),
        )
        for (model, machine, variant, metric), found in points.items()
        if len(found) > 1
    ]


def _points(record: RunRecord, metrics: Sequence[str]) -> Iterator[tuple[tuple[str, str, str, str], Point]]:
    for name, variant in record.variants.items():
        machine = machine_of(record.environments.get(variant.host or ""))
        for metric in metrics:
            value = variant.value(metric)
            if value is not None and np.isfinite(value):
                point = Point(run_id=record.run_id, started_at=record.started_at, value=value)
                yield (record.model.spec or "?", machine, name, metric), point


def machine_of(environment: Environment | None) -> str:
    """Processor, cores and memory in words: runs of one such machine stand in one series, whatever is installed."""
    if environment is None:
        return "unknown machine"
    cores = environment.usable_cores or environment.logical_cores
    memory_gib = environment.memory_bytes / 2**30
    return f"{environment.cpu or environment.machine}, {cores} cores, {memory_gib:.0f} GiB"
