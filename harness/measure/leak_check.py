"""What one process lost, by path: the metrics it becomes, and what a person is told of a leak."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from harness.measure.growth import METHOD_NOTES, LeakResult
from harness.metrics.measurement import Measured, Measurement
from harness.stats.estimate import Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class LeakCheck:
    """What one process lost, by path."""

    results: Mapping[str, LeakResult]
    """By path; those that the session does not have are not in it."""

    method: str
    """How memory was read."""

    is_level: bool
    """Whether the mixed rounds were level, so that no path was walked alone but the loads."""

    lost_objects: tuple[str, ...] | None
    """What the runtime itself reported as never freed: `1 Generator`; None where it was not asked."""

    @property
    def leaking(self) -> tuple[LeakResult, ...]:
        """The paths that lose memory, the worst against its resolution first."""
        found = [result for result in self.results.values() if result.is_leaking]
        return tuple(sorted(found, key=lambda one: one.leak_bytes_per_unit / one.limit_bytes_per_unit, reverse=True))

    def measured(self, prefix: str) -> Measured:
        """The results under the names of the runtime's metrics; `prefix` is "" or `foundry_`."""
        estimates = {metric_of(prefix, path): result.estimate for path, result in self.results.items()}
        details = {metric_of(prefix, path): self._details(result) for path, result in self.results.items()}
        if self.lost_objects is not None:
            freed = f"{prefix or 'runtime_'}frees_objects"
            estimates[freed] = Estimate.exact(float(not self.lost_objects))
            details[freed] = "\n".join(self.lost_objects) or "its own report at the end is empty"
        return Measured(
            measurement=Measurement(estimates=estimates, details=details),
            samples={f"{prefix}leak_bytes_per_request": list(self.results.values())},
        )

    def _details(self, result: LeakResult) -> str:
        lines = [f"{result.units} times; read by {result.method}: {METHOD_NOTES.get(result.method, result.method)}"]
        lines += [result.note] if result.note else []
        if not result.is_leaking:
            return "\n".join(lines)
        lines += result.stacks or ("no stack was found that allocates in every second of them",)
        if result.flamegraph:
            lines.append(f"all stacks: {result.flamegraph}")
        lines.append(ADVICE[result.path])
        return "\n".join(lines)


ADVICE: Final[Mapping[str, str]] = {
    "request": "what to do: see in the stacks who keeps something of a finished request: a list, a cache, a log",
    "token": "what to do: it grows with the length of answers; see who keeps each token",
    "session": "what to do: generators or chat sessions are opened and not given back; close them, or drop the last "
    "reference",
    "stream": "what to do: an answer that is broken off is not given back; close the stream where the client hangs up",
    "error": "what to do: refused requests are kept; an exception that is stored keeps its frames and all in them",
    "load": "what to do: a model that is unloaded stays in part; drop tokenizers and sessions before the model",
}


def metric_of(prefix: str, path: str) -> str:
    """The metric of a path; `prefix` is that of the runtime."""
    return f"{prefix}leak_bytes_per_{path}"
