"""Two sides that cannot share a process: each is timed in fresh ones, in turn.

Never both at once: the idle one's threads would spin on the other's cores. One observation is four processes, A B B A
or B A A B by lot.
"""

from __future__ import annotations

import random
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from harness.regression.arm import (
    WARMUP_REQUESTS,
    WARMUP_S,
    Observation,
    Times,
    Work,
    block_order,
    observation_of_processes,
)
from harness.regression.side import Side
from harness.system.child import run_job

LEAST_S: Final = 1.0
"""Time that each process asks for, at least; every conversation is asked once in any case."""

_TIMEOUT_S: Final = 600.0
_WORKER: Final = Path(__file__).with_name("timing_worker.py")


@dataclass(slots=True, kw_only=True)
class Separate:
    """Makes observations of two sides in fresh processes."""

    baseline: Side
    candidate: Side
    work: Work
    """Fitted to the slower side by its answers."""

    log: Path
    seed: int = 0
    requests: int = field(default=0, init=False)
    """Timed so far."""

    _lot: random.Random = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._lot = random.Random(self.seed)

    def observe(self) -> Observation:
        """Four processes.

        Raises:
            ChildError: one died, hung, or its runtime cannot load the model.
        """
        medians: list[list[Times]] = [[], []]
        for side in block_order(self._lot):
            times = np.asarray(self._asked((self.baseline, self.candidate)[side])["times"])
            self.requests += len(times)
            medians[side].append(np.median(times, axis=0))
        return observation_of_processes(np.asarray(medians))

    def answers(self) -> tuple[list[Any], list[Any]]:
        """What both sides answer greedily, as token ids by conversation; requests are fitted to how long that takes."""
        first, second = (self._asked(side, has_answers=True) for side in (self.baseline, self.candidate))
        times = [np.median(one["times"], axis=0) for one in (first, second) if one["times"]]
        if times:
            self.work = self.work.fitted(np.max(times, axis=0))
        return first["answers"], second["answers"]

    def _asked(self, side: Side, *, has_answers: bool = False) -> dict[str, Any]:
        job = {
            "folder": str(side.folder),
            "overlay": side.overlay,
            "conversations": [[dict(turn) for turn in turns] for turns in self.work.conversations],
            "new_tokens": self.work.new_tokens,
            "warmup": WARMUP_REQUESTS,
            "warmup_s": WARMUP_S / 2,
            "least_s": LEAST_S,
            "has_answers": has_answers,
        }
        command = [side.python or sys.executable, "-P", "-X", "utf8", _WORKER]
        return run_job(command, job, log=self.log, timeout_s=_TIMEOUT_S, env=side.environment)
