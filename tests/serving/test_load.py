"""Load on a session of our own, whose faults are planted; and the arithmetic by hand."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from harness.config.target import CPU
from harness.errors import InvalidPromptError, MeasureError, SessionError
from harness.foundry.opening import foundry_spec
from harness.foundry.session import ServedAnswer
from harness.pack.choose import conversations_by_case
from harness.pack.pack import load_pack
from harness.runtime.fake import FakeSession
from harness.runtime.session import Answer, Message, TokenTimeline
from harness.serving.endurance import (
    LoadCycle,
    Soak,
    Unloading,
    measure_soak,
    measure_unloading,
    read_soak,
    read_unloading,
)
from harness.serving.load import LoadLevel, LoadRequest, expected_answers, run_load, same_rate, worst
from harness.serving.serving import Refusal, bare_answers, compare_served
from tests.conftest import write_pack

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
    assert same_rate([level]) == 1.0
    assert worst([level]) == []
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

    assert same_rate([load(confused, clients=1)]) == 1.0
    level = load(confused, clients=4)
    assert level.same < 12
    assert "another answer" in worst([level])[0]


@pytest.mark.parametrize("error", [SessionError("it broke off"), InvalidPromptError("too long")])
def test_an_error_is_a_result_and_load_goes_on(error: SessionError) -> None:
    def fail_one(messages: Sequence[Message]) -> str:
        if "1" in messages[-1]["content"]:
            raise error
        return reply(messages)

    level = load(fail_one)
    assert (len(level.requests), level.errors, level.same) == (12, 4, 8)
    assert worst([level])[0] == f"1 with 4 clients: {error.what}"


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
    assert same_rate([]) is None


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


def served(text: str, *, prompt_tokens: int = 5, completion_tokens: int = 2, finish: str = "stop") -> ServedAnswer:
    timeline = TokenTimeline(start_s=0.0, token_s=(), prompt_tokens=prompt_tokens)
    return ServedAnswer(
        text=text,
        token_ids=None,
        finish_reason=finish,
        timeline=timeline,
        completion_tokens=completion_tokens,  # type: ignore[arg-type]
    )


class Scripted:
    name, context_length = "scripted", 64

    def __init__(self, said: ServedAnswer | None) -> None:
        self._said = said

    def answer(self, messages: Sequence[Message], *, max_new_tokens: int) -> Answer:
        if self._said is None:
            raise InvalidPromptError("no")
        return self._said

    def close(self) -> None: ...


BARE = Answer(
    text="ok", token_ids=(1, 2), finish_reason="stop", timeline=TokenTimeline(start_s=0, token_s=(), prompt_tokens=5)
)


@pytest.mark.parametrize(
    ("expected", "said", "differences"),
    [
        (BARE, served("ok"), ()),
        (BARE, served("no"), ("text: 'ok' became 'no'",)),
        (BARE, served("ok", finish="length"), ("finish reason: 'stop' became 'length'",)),
        (BARE, served("ok", prompt_tokens=6), ("prompt tokens: 5 became 6",)),
        (BARE, served("ok", completion_tokens=3), ("completion tokens: 2 became 3",)),
        (BARE, None, ("answered became refused",)),
        (None, served("ok"), ("refused became answered",)),
        (None, None, ()),
    ],
)
def test_whatever_differs_is_told(
    expected: Answer | None, said: ServedAnswer | None, differences: tuple[str, ...]
) -> None:
    asked = {"a": ASKED["0"]}
    (found,) = compare_served({"a": expected}, Scripted(said), asked, max_new_tokens=8)
    assert found.differences == differences
    assert found.is_same is not bool(differences)


def test_conversations_are_spread_over_the_whole_pack(tmp_path) -> None:
    pack = load_pack(write_pack(tmp_path / "pack"))
    assert list(conversations_by_case(pack, 3)) == ["case-0", "case-3", "case-6"]
    assert len(conversations_by_case(pack, 1000)) == len(pack.cases)
    assert list(bare_answers(FakeSession(reply), conversations_by_case(pack, 2), max_new_tokens=4)) == [
        "case-0",
        "case-4",
    ]
    with pytest.raises(MeasureError, match="without a conversation"):
        conversations_by_case(pack, 0)


@pytest.mark.parametrize(
    ("status", "message", "lives_on", "is_proper"),
    [(400, "no", True, True), (404, "no", True, True), (200, "no", True, False), (500, "no", True, False),
     (0, "no", True, False), (400, "", True, False), (400, "no", False, False)],
)  # fmt: skip
def test_a_refusal_is_a_4xx_with_words_and_the_service_alive(
    status: int, message: str, lives_on: bool, is_proper: bool
) -> None:
    assert Refusal(request="x", status=status, message=message, lives_on=lives_on).is_proper is is_proper


def cycle(before: int, unloaded: int) -> LoadCycle:
    return LoadCycle(before_load_bytes=before, loaded_bytes=before + 50, unloaded_bytes=unloaded)


def test_what_remains_by_hand() -> None:
    cycles = (cycle(100, 110), cycle(110, 112), cycle(112, 116))
    found = Unloading(cycles=cycles, is_same_after_reload=True)
    assert (found.retention_bytes, found.retention_per_reload_bytes) == (10, 3.0)
    assert Unloading(cycles=cycles[:1], is_same_after_reload=True).retention_per_reload_bytes is None
    soak = Soak(requests=8, errors=("e",), wrong=("w",), memory_bytes=(100, 120, 121, 130))
    assert (soak.growth_bytes, soak.same_rate) == (10, 0.75)


UNLOADED = {
    "cycles": [{"before_load_bytes": 1, "loaded_bytes": 2, "unloaded_bytes": 1}],
    "is_same_after_reload": True,
}
SOAKED = {"requests": 8, "errors": [], "wrong": [], "memory_bytes": [1] * 9}


def test_a_child_that_did_less_than_asked_is_no_measurement() -> None:
    assert read_unloading(UNLOADED, cycles=1).retention_bytes == 0
    assert read_soak(SOAKED, requests=8).same_rate == 1.0
    with pytest.raises(MeasureError, match="only 0 of 1 cycles"):
        read_unloading({**UNLOADED, "cycles": []}, cycles=1)
    for less in ({"requests": 7}, {"memory_bytes": [1]}):
        with pytest.raises(MeasureError, match="requests in a row were made"):
            read_soak({**SOAKED, **less}, requests=8)


def test_too_little_to_say_anything_is_refused(tmp_path: Path) -> None:
    spec = foundry_spec(tmp_path, CPU, alias="x", home=tmp_path)
    where = {"max_new_tokens": 4, "log": tmp_path / "log"}
    with pytest.raises(MeasureError, match="without a cycle"):
        measure_unloading(spec, ASKED["0"], cycles=0, **where)
    for conversations, requests in ((ASKED, 7), ({}, 8)):
        with pytest.raises(MeasureError, match="at least 8 requests"):
            measure_soak(spec, conversations, requests=requests, **where)


@pytest.mark.toolchain
@pytest.mark.foundry
@pytest.mark.alone
def test_a_real_model_lets_go_of_its_memory(demo_artifact: Path, tmp_path: Path) -> None:
    found = measure_unloading(
        foundry_spec(demo_artifact, CPU, alias="let-go", home=tmp_path),
        ASKED["0"],
        max_new_tokens=16,
        log=tmp_path / "log",
    )
    assert found.is_same_after_reload
    assert found.retention_bytes < 32 * 1024**2
    assert found.retention_per_reload_bytes is not None
    assert found.retention_per_reload_bytes < 1024**2


@pytest.mark.toolchain
@pytest.mark.foundry
@pytest.mark.alone
def test_a_real_model_serves_on_without_growing(demo_artifact: Path, tmp_path: Path) -> None:
    found = measure_soak(
        foundry_spec(demo_artifact, CPU, alias="endure", home=tmp_path),
        ASKED,
        requests=32,
        max_new_tokens=16,
        log=tmp_path / "log",
    )
    assert (found.same_rate, found.errors, found.wrong) == (1.0, (), ())
    assert abs(found.growth_bytes) < 4 * 1024**2
