"""Requests that come at random: when, and from when their times count."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import numpy as np
import pytest

from harness.errors import MeasureError
from harness.runtime.session import Message
from harness.serving.arrival import arrival_times, run_open
from harness.serving.load_level import LoadRequest

ASKED = {str(n): [{"role": "user", "content": str(n)}] for n in range(3)}


def answered(case_id: str, ttft_s: float = 0.01) -> LoadRequest:
    return LoadRequest(case_id=case_id, clients=0, is_same=True, pieces=1, ttft_s=ttft_s, e2e_s=ttft_s)


def test_arrivals_are_a_poisson_process_and_the_same_for_every_variant() -> None:
    times = np.array(arrival_times(50.0, 20_000))
    gaps = np.diff(times, prepend=0.0)
    assert gaps.min() >= 0
    assert gaps.mean() == pytest.approx(1 / 50, rel=0.03)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.05)  # of an exponential they are equal
    assert arrival_times(50.0, 10) == tuple(times[:10])


def test_every_request_is_sent_once_and_does_not_wait_for_others() -> None:
    together = threading.Barrier(6, timeout=60)

    def send(case_id: str, _messages: Sequence[Message]) -> LoadRequest:
        together.wait()  # opens only when all six are on their way
        return answered(case_id)

    level = run_open(send, ASKED, rate_per_second=500.0, requests=6)
    assert sorted(request.case_id for request in level.requests) == sorted([*"012"] * 2)
    assert (level.clients, level.arrival_per_second) == (6, 500.0)


def test_a_sender_that_is_held_up_does_not_hide_the_queue() -> None:
    def send(case_id: str, _messages: Sequence[Message]) -> LoadRequest:
        time.sleep(0.05)
        return answered(case_id, 0.05)

    level = run_open(send, ASKED, rate_per_second=1000.0, requests=4, most_waiting=1)
    slowest = max(request.ttft_s or 0.0 for request in level.requests)
    assert slowest > 0.15  # the last one was due when the first was sent


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_sender_that_dies_is_no_result() -> None:
    def die(_case_id: str, _messages: Sequence[Message]) -> LoadRequest:
        raise ZeroDivisionError

    with pytest.raises(MeasureError, match="only 0 of 3 requests"):
        run_open(die, ASKED, rate_per_second=1000.0, requests=3)


@pytest.mark.parametrize(("rate", "requests"), [(0.0, 3), (-1.0, 3), (5.0, 0), (float("nan"), 3)])
def test_no_load_is_refused(rate: float, requests: int) -> None:
    with pytest.raises(MeasureError, match="are no load"):
        run_open(lambda case_id, _: answered(case_id), ASKED, rate_per_second=rate, requests=requests)
