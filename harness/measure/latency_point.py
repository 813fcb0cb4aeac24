"""Points of the latency grid: prompt length, generated length, batch and what is in the cache before the prompt."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from harness.config.benchmark import BenchmarkSettings


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class LatencyPoint:
    """One combination that is timed."""

    prompt_tokens: int
    new_tokens: int
    """Generated for each request."""

    batch: int = 1
    """Requests answered together."""

    depth_tokens: int = 0
    """Tokens in the model's cache before the prompt."""

    def __str__(self) -> str:
        """`64+32`, `64+32 x4`, `64+32 after 1024`: as tables and test ids show it."""
        batch = f" x{self.batch}" if self.batch > 1 else ""
        depth = f" after {self.depth_tokens}" if self.depth_tokens else ""
        return f"{self.prompt_tokens}+{self.new_tokens}{batch}{depth}"

    @property
    def is_plain(self) -> bool:
        """Whether one request is answered at a time, with an empty cache."""
        return self.batch == 1 and self.depth_tokens == 0

    @property
    def sample_name(self) -> str:
        """The name of its samples' file."""
        return f"latency_{self.prompt_tokens}_{self.new_tokens}_{self.batch}_{self.depth_tokens}"


def headline_point(settings: BenchmarkSettings) -> LatencyPoint:
    """The point that limits apply to: the first of every list."""
    return LatencyPoint(
        prompt_tokens=settings.prompt_tokens[0],
        new_tokens=settings.new_tokens[0],
        batch=settings.batch[0],
        depth_tokens=settings.depth_tokens[0],
    )


def grid_points(settings: BenchmarkSettings) -> tuple[LatencyPoint, ...]:
    """All points, the headline first; batches that begin with a filled cache are left out, as runtimes refuse them."""
    axes = (settings.prompt_tokens, settings.new_tokens, settings.batch, settings.depth_tokens)
    first = tuple(axis[0] for axis in axes)
    if settings.grid == "full":
        chosen: list[tuple[int, ...]] = list(itertools.product(*axes))
    else:
        chosen = [first, *((*first[:i], value, *first[i + 1 :]) for i, axis in enumerate(axes) for value in axis[1:])]
    points = [
        LatencyPoint(prompt_tokens=one[0], new_tokens=one[1], batch=one[2], depth_tokens=one[3])
        for one in dict.fromkeys(chosen)
    ]
    return tuple(point for point in points if point.batch == 1 or point.depth_tokens == 0)
