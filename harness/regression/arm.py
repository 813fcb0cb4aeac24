"""One side of a comparison: a model with its runtime and settings, that can be opened again and again."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from harness.config.regression_limits import RATIOS
from harness.runtime.session import Answer, Message, ScoringSession
from harness.stats.ratios import median_log_ratio

QUANTITIES: Final = RATIOS
"""What is compared: ratios of times, candidate to baseline, by metric."""

Times = npt.NDArray[np.float64]
"""Times of one request in seconds, in the order of `QUANTITIES`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """A name, and a way to load the model afresh."""

    name: str
    """For people: `int4`, `./new-model`."""

    open: Callable[[], ScoringSession]


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
        if not ttft_s + itl_s * self.new_tokens > REQUEST_S:
            return self
        tokens = 1 + round((REQUEST_S - ttft_s) / max(itl_s, 1e-6))
        return replace(self, new_tokens=max(tokens, self.shortest.new_tokens))


REQUEST_S: Final = 0.5
"""What a request should take, in seconds, where it has more than the fewest tokens."""

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
    """Median log ratios of times, shape [blocks, side, repeat, quantity]."""
    return {
        name: median_log_ratio(blocks[:, 0, :, index], blocks[:, 1, :, index]) for index, name in enumerate(QUANTITIES)
    }


def request_times(session: ScoringSession, conversation: Sequence[Message], new_tokens: int) -> Times:
    """Ask once: time of the whole request, time to the first token, the median gap between tokens."""
    answer = session.answer(conversation, max_new_tokens=new_tokens, min_new_tokens=new_tokens)
    return times_of(answer)


def times_of(answer: Answer) -> Times:
    """The times of an answer with at least two tokens.

    Raises:
        ValueError: it has fewer.
    """
    line = answer.timeline
    if line.e2e_s is None or line.ttft_s is None or not line.itl_s:
        raise ValueError("an answer of fewer than two tokens has no gaps to compare")
    return np.asarray([line.e2e_s, line.ttft_s, float(np.median(line.itl_s))])
