"""One side of a comparison: a model with its runtime and settings, that can be opened again and again."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from harness.config.regression_limits import RATIOS
from harness.runtime.session import Message, ScoringSession
from harness.stats.ratios import paired_log_ratio, step_log_ratio

QUANTITIES: Final = RATIOS
"""What is compared: ratios of times, candidate to baseline, by metric."""

Times = npt.NDArray[np.float64]
"""Times of one request in seconds, in the order of `QUANTITIES`: end to end, first token, median gap."""

Steps = npt.NDArray[np.float64]
"""Times of one request's steps in seconds, shape [tokens]: to the first token, then every gap."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """A name, and a way to load the model afresh."""

    name: str
    """For people: `int4`, `./new-model`."""

    open: Callable[[], ScoringSession]


REQUEST_S: Final = 0.5
"""What a request should take, in seconds, where it has more than the fewest tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What both sides are asked, in equal amounts."""

    conversations: Sequence[Sequence[Message]]
    new_tokens: int = 64
    """Tokens generated per request; end-of-sequence is ignored, so that both sides do equal work."""

    least_tokens: int = 16
    """What a slow model's requests are shortened to at most."""

    @property
    def shortest(self) -> Work:
        """The same with the shortest requests."""
        return replace(self, new_tokens=min(self.new_tokens, self.least_tokens))

    def fitted(self, times: Times) -> Work:
        """The same, shortened so that a request with these times takes about `REQUEST_S`.

        A large model's comparison would else take the better part of an hour, and a long request tells hardly more.
        """
        _, ttft_s, itl_s = times
        is_slow = ttft_s + itl_s * (self.new_tokens - 1) > REQUEST_S
        if not is_slow:
            return self
        tokens = 1 + round((REQUEST_S - ttft_s) / max(itl_s, 1e-6))
        return replace(self, new_tokens=max(tokens, self.shortest.new_tokens))


Observation = Mapping[str, float]
"""Log ratio, candidate to baseline, by quantity."""

WARMUP_REQUESTS: Final = 3
"""For each side, after every load; fewer where they take long."""

WARMUP_S: Final = 1.0
"""After so many seconds of warming up both sides no further request is made for it."""


def block_order(lot: random.Random) -> tuple[int, int, int, int]:
    """The sides of a block in turn, 0 the baseline: A B B A or B A A B by lot, so that drift meets both alike."""
    one = lot.randrange(2)
    return one, 1 - one, 1 - one, one


def observation_of(blocks: npt.NDArray[np.float64]) -> Observation:
    """Log ratios of steps that were taken block by block, shape [blocks, side, repeat, tokens]."""
    whole, first = blocks.sum(axis=-1), blocks[..., 0]
    gaps = step_log_ratio(blocks[:, 0, :, 1:], blocks[:, 1, :, 1:])
    return dict(zip(QUANTITIES, (_of_pairs(whole), _of_pairs(first), gaps), strict=True))


def observation_of_processes(times: npt.NDArray[np.float64]) -> Observation:
    """Log ratios of what processes found, shape [side, repeat, quantity]."""
    return {name: paired_log_ratio(*times[..., index]) for index, name in enumerate(QUANTITIES)}


def _of_pairs(times: npt.NDArray[np.float64]) -> float:
    """Of times of shape [blocks, side, repeat]: in either order of a block, repeats of one number are neighbours."""
    return paired_log_ratio(times[:, 0].ravel(), times[:, 1].ravel())


def request_steps(session: ScoringSession, conversation: Sequence[Message], new_tokens: int) -> Steps:
    """Ask once.

    Raises:
        ValueError: the answer has fewer than two tokens.
    """
    answer = session.answer(conversation, max_new_tokens=new_tokens, min_new_tokens=new_tokens)
    line = answer.timeline
    if line.ttft_s is None or not line.itl_s:
        raise ValueError("an answer of fewer than two tokens has no gaps to compare")
    return np.asarray([line.ttft_s, *line.itl_s])


def times_of(steps: Steps) -> Times:
    """The same request's times."""
    return np.asarray([steps.sum(), steps[0], np.median(steps[1:])])
