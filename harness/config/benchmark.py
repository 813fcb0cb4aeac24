"""`[benchmark]` of gate.toml: the points at which latency is measured, and when measuring stops."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from harness.config.diagnosis import Settings


def _listed(value: object) -> object:
    """A single number stands for a list of one."""
    return (value,) if isinstance(value, int) else value


class BenchmarkSettings(Settings):
    """`[benchmark]`: how much is measured."""

    prompt_tokens: Annotated[tuple[Annotated[int, Field(ge=8)], ...], Field(min_length=1)] = (64, 256, 1024)
    """Prompt lengths at which latency is measured; of each list, limits apply to the first one."""

    new_tokens: Annotated[tuple[Annotated[int, Field(ge=2)], ...], Field(min_length=1), BeforeValidator(_listed)] = (
        32,
    )
    """Tokens generated per request; end-of-sequence is ignored."""

    batch: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1), BeforeValidator(_listed)] = (1,)
    """Requests that are answered together."""

    depth_tokens: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1), BeforeValidator(_listed)] = (
        0,
    )
    """Tokens that are in the model's cache already when the prompt comes; a batch has none."""

    grid: Literal["axes", "full"] = "axes"
    """`axes` varies one list at a time and takes the first of all others; `full` measures every combination."""

    precision: Annotated[float, Field(gt=0, lt=1)] = 0.03
    """Measuring stops when the median end-to-end time is known to this share of itself (95 % interval), ..."""

    rounds: Annotated[int, Field(ge=5)] = 60
    """... or after so many requests at the point that limits apply to, ..."""

    longer_rounds: Annotated[int, Field(ge=3)] = 20
    """... so many at each of the other points, which have no limits and take longest, ..."""

    max_s: Annotated[float, Field(gt=0)] = 20.0
    """... or after so many seconds at a point; five requests, or three at other points, are measured in any case."""

    warmup_rounds: Annotated[int, Field(ge=1)] = 3
    """Least number of requests before the first measured one; more are made until times have settled."""

    threads: Annotated[int, Field(ge=1)] | None = None
    """Threads that onnxruntime-genai is to compute with; left out, its own choice. What came of it is read back."""

    disturbed: Literal["invalid", "told"] = "invalid"
    """What becomes of times that were measured while the machine was stolen, loaded or throttled: `invalid` makes them
    no data, `told` keeps them and says so, for machines that are never left alone."""

    @property
    def has_further_points(self) -> bool:
        """Whether there is a point beside the headline; batches and filled caches do not go together."""
        is_full = self.grid == "full"
        batches, depths = (axis if is_full else axis[:1] for axis in (self.batch, self.depth_tokens))
        return (
            any(len(set(axis)) > 1 for axis in (self.prompt_tokens, self.new_tokens))
            or (len(set(self.batch)) > 1 and 0 in depths)
            or (len(set(self.depth_tokens)) > 1 and 1 in batches)
        )
