"""Two models in one process, asked in turn: request by request, freshly loaded for every round.

What is loaded second is often faster by a per cent or two (where its weights come to lie in memory), for as long as it
is loaded. So one observation is two rounds that load in either order, and that advantage cancels. Within a round,
blocks are A B B A or B A A B by lot: drift meets both alike.
"""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from harness.regression.arm import (
    QUANTITIES,
    WARMUP_REQUESTS,
    WARMUP_S,
    Arm,
    Observation,
    Steps,
    Work,
    block_order,
    observation_of,
    request_steps,
    times_of,
)
from harness.runtime.session import Message, ScoringSession

ROUND_S: Final = 0.6
"""Least time that a round's blocks take."""

_LEAST_BLOCKS: Final = 1
_LOADING_SHARE: Final = 0.5
"""A round lasts so long that loading and warming up take at most this share of it."""


@dataclass(slots=True, kw_only=True)
class Interleaved:
    """Makes observations of two arms in this process."""

    baseline: Arm
    candidate: Arm
    work: Work
    """Fitted to the slower side by the first round."""

    seed: int = 0
    requests: int = field(default=0, init=False)
    """Timed so far."""

    _lot: random.Random = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._lot = random.Random(self.seed)

    def observe(self) -> Observation:
        """Two rounds, the second with the other order of loading.

        Raises:
            SessionError: a side cannot be loaded or cannot answer.
        """
        first = self._lot.randrange(2)
        rounds = [self._round(first), self._round(1 - first)]
        return {name: sum(one[name] for one in rounds) / len(rounds) for name in QUANTITIES}

    def _round(self, first: int) -> Observation:
        started_s = time.perf_counter()
        sessions: list[ScoringSession] = [*self._opened(first)]
        try:
            if not self.requests:
                self.work = self._fitted(sessions)
            self._warm_up(sessions)
            least_s = max(ROUND_S, (time.perf_counter() - started_s) * (1 / _LOADING_SHARE - 1))
            with _uncollected():
                blocks = self._blocks(sessions, least_s)
        finally:
            for session in sessions:
                session.close()
        return observation_of(blocks)

    def _opened(self, first: int) -> tuple[ScoringSession, ScoringSession]:
        arms = (self.baseline, self.candidate)
        opened = {side: arms[side].open() for side in (first, 1 - first)}
        return opened[0], opened[1]

    def _fitted(self, sessions: list[ScoringSession]) -> Work:
        short = self.work.shortest
        times = [times_of(request_steps(one, short.conversations[0], short.new_tokens)) for one in sessions]
        return self.work.fitted(np.maximum(*times))

    def _warm_up(self, sessions: list[ScoringSession]) -> None:
        started_s = time.perf_counter()
        for _ in range(WARMUP_REQUESTS):
            for session in sessions:
                self._ask(session, self._lot.choice(self.work.conversations))
            if time.perf_counter() - started_s > WARMUP_S:
                return

    def _blocks(self, sessions: list[ScoringSession], least_s: float) -> npt.NDArray[np.float64]:
        started_s = time.perf_counter()
        blocks: list[list[list[Steps]]] = []
        while len(blocks) < _LEAST_BLOCKS or time.perf_counter() - started_s < least_s:
            conversation = self._lot.choice(self.work.conversations)
            steps: list[list[Steps]] = [[], []]
            for side in block_order(self._lot):
                steps[side].append(self._ask(sessions[side], conversation))
            blocks.append(steps)
        self.requests += 4 * len(blocks)
        return np.asarray(blocks)

    def _ask(self, session: ScoringSession, conversation: Sequence[Message]) -> Steps:
        return request_steps(session, conversation, self.work.new_tokens)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Keep Python's garbage collector from running in somebody's time."""
    gc.collect()
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
