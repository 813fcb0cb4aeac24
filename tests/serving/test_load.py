"""Load on a session of our own, whose faults are planted; and the arithmetic by hand."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from harness.config.settings import FoundrySettings
from harness.errors import InvalidPromptError, MeasureError, SessionError
from harness.machine.disturbance import MachineWatch
from harness.machine.readings import Reading
from harness.pack.load import load_pack
from harness.runtime.fake import FakeSession
from harness.runtime.session import Message
from harness.serving.hanging_up import hung_up_differences, measure_hanging_up
from harness.serving.load import (
    expected_answers,
    load_estimates,
    measure_load,
    run_load,
)
from harness.serving.load_level import LoadLevel, LoadRequest, Objective
from tests.measure.healthy import right
from tests.serving.clients import WHOLE, Client

ASKED = {str(n): [{"role": "user", "content": f"part {n}?"}] for n in range(3)}


def reply(messages: Sequence[Message]) -> str:
    return f"answer to {messages[-1]['content']}"


def load(answer: Callable[[Sequence[Message]], str], *, clients: int = 4, requests: int = 12) -> LoadLevel:
    expected = {case: reply(messages) for case, messages in ASKED.items()}
    return run_load(FakeSession(answer), ASKED, expected, clients=clients, requests=requests, max_new_tokens=64)


def test_every_request_is_answered_once_and_counted() -> None:
    level = load(reply)
    assert (len(level.requests), level.errors, level.same) == (12, 0, 12)
    assert sorted(request.case_id for request in level.requests) == sorted([*"012"] * 4)
    assert load_estimates([level])["load_same_answer_rate"].value == 1.0
    assert expected_answers(FakeSession(reply), ASKED, max_new_tokens=64) == {n: f"answer to part {n}?" for n in "012"}


def test_so_many_clients_ask_at_once() -> None:
    together = threading.Barrier(4, timeout=60)

    def wait_for_the_others(messages: Sequence[Message]) -> str:
        together.wait()
        return reply(messages)

    assert load(wait_for_the_others, clients=4, requests=8).same == 8


def test_an_answer_that_depends_on_the_others_is_found() -> None:
    busy = threading.Lock()

    def confused(messages: Sequence[Message]) -> str:
        if not busy.acquire(blocking=False):
            return "somebody else's answer"
        with_time = reply(messages)
        time.sleep(0.02)
        busy.release()
        return with_time

    assert load(confused, clients=1).same == 12
    assert load(confused, clients=4).same < 12


@pytest.mark.parametrize("error", [SessionError("it broke off"), InvalidPromptError("too long")])
def test_an_error_is_a_result_and_load_goes_on(error: SessionError) -> None:
    def fail_one(messages: Sequence[Message]) -> str:
        if "1" in messages[-1]["content"]:
            raise error
        return reply(messages)

    level = load(fail_one)
    assert (len(level.requests), level.errors, level.same) == (12, 4, 8)
    assert {request.error for request in level.requests if request.case_id == "1"} == {error.what}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_client_that_dies_is_no_result() -> None:
    def die(_messages: Sequence[Message]) -> str:
        raise ZeroDivisionError

    with pytest.raises(MeasureError, match="only 0 of 12 requests of 4 clients"):
        load(die)


@pytest.mark.parametrize(("clients", "requests"), [(0, 4), (5, 4)])
def test_clients_without_a_request_are_refused(clients: int, requests: int) -> None:
    with pytest.raises(MeasureError, match="cannot share"):
        load(reply, clients=clients, requests=requests)


def test_nothing_to_ask_is_refused() -> None:
    with pytest.raises(MeasureError, match="without a conversation"):
        expected_answers(FakeSession(reply), {}, max_new_tokens=4)


def test_the_row_of_the_table_by_hand() -> None:
    requests = (
        LoadRequest(case_id="a", clients=2, is_same=True, pieces=3, ttft_s=0.1, e2e_s=0.3, itl_s=(0.1, 0.1)),
        LoadRequest(case_id="b", clients=2, is_same=False, pieces=2, ttft_s=0.3, e2e_s=0.6, itl_s=(0.3,)),
        LoadRequest(case_id="c", clients=2, error="refused"),
    )
    row = LoadLevel(clients=2, duration_s=2.0, requests=requests).summary()
    assert (row["requests"], row["errors"], row["same"]) == (3, 1, 1)
    assert (row["requests_per_second"], row["tokens_per_second"]) == (1.0, 2.5)
    assert row["ttft_p50_s"] == pytest.approx(0.2)
    assert row["itl_p50_s"] == pytest.approx(0.1)


def test_a_row_without_an_answer_has_no_numbers() -> None:
    row = LoadLevel(clients=1, duration_s=1.0, requests=(LoadRequest(case_id="a", clients=1, error="x"),)).summary()
    assert [row[name] for name in ("requests_per_second", "tokens_per_second", "ttft_p95_s", "itl_p95_s")] == [None] * 4


def requests_of(*ttft_s: float | None) -> tuple[LoadRequest, ...]:
    return tuple(
        LoadRequest(case_id="a", clients=1, ttft_s=one, is_same=one is not None, error="" if one else "no")
        for one in ttft_s
    )


def test_rates_are_over_all_levels_and_times_are_the_last_ones() -> None:
    quick = LoadLevel(clients=1, duration_s=1.0, requests=requests_of(*[0.1] * 30))
    busy = LoadLevel(clients=8, duration_s=2.0, requests=requests_of(*(0.1 * n for n in range(1, 10)), None))
    found = load_estimates([quick, busy])
    assert (found["load_same_answer_rate"].value, found["load_same_answer_rate"].n) == (39 / 40, 40)
    assert (found["load_requests_per_second"].value, found["load_requests_per_second"].n) == (4.5, 9)
    assert found["load_ttft_p95_s"].value == pytest.approx(0.86)
    assert found["load_ttft_p95_s"].high is None  # nine requests do not tell how slow the slowest are


def test_nobody_answered_is_missing_and_not_zero() -> None:
    found = load_estimates([LoadLevel(clients=1, duration_s=1.0, requests=requests_of(None))])
    assert found["load_same_answer_rate"].value == 0.0
    assert found["load_requests_per_second"].is_missing
    assert found["load_ttft_p95_s"].is_missing


def test_every_configured_number_of_clients_is_measured_on_the_packs_questions(pack_folder) -> None:
    settings = FoundrySettings(clients=(1, 3), load_requests=2, arrival_shares=(0.5,))
    found = measure_load(FakeSession(right), load_pack(pack_folder), settings, watch=watch_over())
    *closed, opened = found.details["load"]
    assert [(row["clients"], row["requests"], row["same"]) for row in closed] == [(1, 2, 2), (3, 3, 3)]
    assert (opened["requests"], opened["same"]) == (2, 2)
    assert opened["arrival_per_second"] == pytest.approx(closed[-1]["requests_per_second"] / 2)
    assert len(found.samples["load"]) == 7
    assert found.measurement.estimate("arrival_good_rate").n == 2
    assert found.measurement.details["load_ttft_p95_s"].startswith("7 requests, up to 3 clients, 0 without the right")


def watch_over(**after: float) -> Callable[[], MachineWatch]:
    """A watch over a machine that was left alone, but for what is said."""
    first = Reading(at_s=0.0, own_s=0.0, cpus=2, stolen_s=0.0, waited_s=0.0, busy_s=0.0)
    readings = iter([first, replace(first, **{"at_s": 10.0, "own_s": 20.0, "busy_s": 20.0, **after})])
    return lambda: MachineWatch(read=lambda: next(readings), pace=lambda: 1.0, is_crowd=True)


@pytest.mark.parametrize(
    ("after", "is_valid"),
    [({}, True), ({"waited_s": 60.0}, True), ({"stolen_s": 3.0}, False), ({"busy_s": 30.0}, False)],
)
def test_on_a_disturbed_machine_answers_count_and_times_do_not(
    pack_folder: Path, after: dict[str, float], is_valid: bool
) -> None:
    settings, pack = FoundrySettings(clients=(1,), load_requests=2, arrival_shares=(0.5,)), load_pack(pack_folder)
    found = measure_load(FakeSession(right), pack, settings, watch=watch_over(**after)).measurement
    assert found.estimate("load_same_answer_rate").value == 1.0
    for name in ("load_requests_per_second", "load_ttft_p95_s", "arrival_good_rate", "arrival_queue_p95_s"):
        assert found.estimate(name).is_missing is not is_valid
    told = measure_load(FakeSession(right), pack, settings, watch=watch_over(**after), is_invalid_if_disturbed=False)
    assert not told.measurement.estimate("load_requests_per_second").is_missing


def late(ttft_s: float, *gaps_s: float, is_same: bool = True, alone_s: float | None = 0.1) -> LoadRequest:
    return LoadRequest(
        case_id="a",
        clients=1,
        is_same=is_same,
        pieces=1 + len(gaps_s),
        ttft_s=ttft_s,
        itl_s=gaps_s,
        alone_ttft_s=alone_s,
    )


class TestObjective:
    """TTFT at most 0.5 s, a further token every 0.1 s."""

    OBJECTIVE = Objective(ttft_s=0.5, tpot_s=0.1)

    @pytest.mark.parametrize(
        ("request_", "is_good"),
        [
            (late(0.5, 0.1, 0.1), True),
            (late(0.4), True),
            (late(0.6, 0.1), False),
            (late(0.4, 0.1, 0.2), False),
            (late(0.4, 0.1, is_same=False), False),
            (LoadRequest(case_id="a", clients=1, error="refused"), False),
        ],
        ids=["in time", "of one piece", "late", "slow", "wrong", "refused"],
    )
    def test_an_answer_is_good_when_it_is_right_and_in_time(self, request_: LoadRequest, is_good: bool) -> None:
        assert self.OBJECTIVE.is_met_by(request_) is is_good

    def test_goodput_and_queue_by_hand(self) -> None:
        level = LoadLevel(clients=3, duration_s=2.0, requests=(late(0.2, 0.1), late(0.4, 0.1), late(0.9, 0.1)))
        row = level.summary(self.OBJECTIVE)
        assert row["goodput_per_second"] == 1.0
        assert row["queue_p50_s"] == pytest.approx(0.3)  # of 0.1, 0.3 and 0.8
        assert late(0.05).queue_s == 0.0  # faster than alone is no negative queue
        assert late(0.2, alone_s=None).queue_s is None


@pytest.mark.parametrize(("broken", "differences"), [("", 0), ("before", 1), ("after", 1)])
def test_what_hanging_up_does_to_others_is_told(broken: str, differences: int) -> None:
    found = hung_up_differences(Client(broken), {"a": ASKED["0"]}, {"a": WHOLE}, max_new_tokens=8)
    assert len(found) == differences


@pytest.mark.parametrize(("broken", "is_met"), [("", 1), ("after", 0)])
def test_hanging_up_is_a_criterion(pack_folder, broken: str, is_met: int) -> None:
    found = measure_hanging_up(Client(broken), load_pack(pack_folder)).measurement
    assert found.estimate("hung_up_client_harms_nobody").value == is_met
    assert bool(found.details) is not bool(is_met)
