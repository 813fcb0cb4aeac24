"""Requests that come at random, as users do: the next one does not wait for the last one's answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from harness.errors import MeasureError
from harness.runtime.session import Message
from harness.serving.load_level import LoadLevel, LoadRequest
from harness.system.progress import Step, silent_step

MOST_WAITING: Final = 256
"""Requests that may wait for an answer at once; more mean that the rate is above what the service can do."""

Send = Callable[[str, Sequence[Message]], LoadRequest]
"""Asks one question, and says what came of it; it never raises what the service did."""


def arrival_times(rate_per_second: float, requests: int, *, seed: int = 0) -> tuple[float, ...]:
    """When requests come, in seconds from the start: a Poisson process, gaps are exponential and independent.

    The seed is fixed, so that every variant gets the same arrivals.
    """
    gaps = np.random.default_rng(seed).exponential(1 / rate_per_second, size=requests)
    return tuple(float(moment) for moment in np.cumsum(gaps))


def run_open(
    send: Send,
    conversations: Mapping[str, Sequence[Message]],
    *,
    rate_per_second: float,
    requests: int,
    most_waiting: int = MOST_WAITING,
    step: Step = silent_step,
) -> LoadLevel:
    """Send requests at the times of a Poisson process, whatever came of those before.

    Times count from when a request was due, not from when it was sent: a sender that was held up must not hide the
    queue (G. Tene's coordinated omission).

    Raises:
        MeasureError: nothing is to be sent, or a sender died.
    """
    if requests < 1 or not rate_per_second > 0:
        raise MeasureError(f"{requests} requests at {rate_per_second} a second are no load")
    ordered, done, lock = list(conversations.items()), [], threading.Lock()
    room, waiting = threading.Semaphore(most_waiting), [0, 0]  # now, most
    began_s = time.perf_counter()

    def work(number: int, due_s: float) -> None:
        case_id, messages = ordered[number % len(ordered)]
        late_s = max(0.0, time.perf_counter() - began_s - due_s)
        try:
            found = _later(send(case_id, messages), late_s)
        finally:
            room.release()
            with lock:
                waiting[0] -= 1
        with lock:
            done.append(found)
            step(len(done), requests)

    threads = []
    for number, due_s in enumerate(arrival_times(rate_per_second, requests)):
        time.sleep(max(0.0, due_s - (time.perf_counter() - began_s)))
        room.acquire()
        with lock:
            waiting[0] += 1
            waiting[1] = max(waiting)
        threads.append(threading.Thread(target=work, args=(number, due_s), daemon=True))
        threads[-1].start()
    for thread in threads:
        thread.join()
    if len(done) != requests:
        raise MeasureError(f"only {len(done)} of {requests} requests that came at random ended")
    return LoadLevel(
        clients=waiting[1],
        duration_s=time.perf_counter() - began_s,
        requests=tuple(done),
        arrival_per_second=rate_per_second,
    )


def _later(found: LoadRequest, late_s: float) -> LoadRequest:
    """The same, its times counted from when it was due."""
    return replace(
        found,
        ttft_s=None if found.ttft_s is None else found.ttft_s + late_s,
        e2e_s=None if found.e2e_s is None else found.e2e_s + late_s,
    )
