"""Foundry Local's answers beside the bare runtime's: whatever differs is told."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from harness.errors import InvalidPromptError
from harness.foundry.session import ServedAnswer
from harness.pack.load import load_pack
from harness.pack.schema import DomainPack
from harness.runtime.fake import FakeSession
from harness.runtime.session import Answer, Message, TokenTimeline
from harness.serving.same_answers import LEAST, Said, compare_served, measure_same_answers
from harness.system.progress import LineProgress
from tests.measure.healthy import right


def served(text: str, *, prompt_tokens: int = 5, completion_tokens: int = 2, finish: str = "stop") -> ServedAnswer:
    timeline = TokenTimeline(start_s=0.0, token_s=(), prompt_tokens=prompt_tokens)
    return ServedAnswer(
        text=text,
        token_ids=None,
        finish_reason=finish,
        timeline=timeline,
        completion_tokens=completion_tokens,
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


REFUSED = InvalidPromptError("no")


@pytest.mark.parametrize(
    ("expected", "said", "differences"),
    [
        (BARE, served("ok"), ()),
        (BARE, served("no"), ("text: 'ok' became 'no'",)),
        (BARE, served("ok", finish="length"), ("finish reason: 'stop' became 'length'",)),
        (BARE, served("ok", prompt_tokens=6), ("prompt tokens: 5 became 6",)),
        (BARE, served("ok", completion_tokens=3), ("completion tokens: 2 became 3",)),
        (BARE, None, ("answered became refused",)),
        (REFUSED, served("ok"), ("refused became answered",)),
        (REFUSED, None, ()),
    ],
)
def test_whatever_differs_is_told(expected: Said, said: ServedAnswer | None, differences: tuple[str, ...]) -> None:
    asked = {"a": [{"role": "user", "content": "part 0?"}]}
    (found,) = compare_served([expected], Scripted(said), asked, max_new_tokens=8)
    assert found.differences == differences
    assert found.is_same is not bool(differences)


@pytest.fixture
def pack(pack_folder) -> DomainPack:
    return load_pack(pack_folder)


def test_every_way_is_asked_the_same_questions_and_judged_by_its_own_metric(pack: DomainPack) -> None:
    def forgetful(messages: Sequence[Message]) -> str:
        return "\x1b[2J" if " 4?" in messages[-1]["content"] else right(messages)

    ways = {
        "foundry_same_answer_rate": FakeSession(right, name="in process"),
        "foundry_http_same_answer_rate": FakeSession(forgetful, name="over HTTP"),
    }
    found = measure_same_answers(FakeSession(right), ways, pack, cases=4)
    same, other = (found.measurement.estimate(metric) for metric in ways)
    assert (same.value, same.n, same.has_interval) == (1.0, 4, True)
    assert other.value == 0.75
    details = found.measurement.details["foundry_http_same_answer_rate"].splitlines()
    assert details[0] == "3 of 4 answers are the same"
    assert details[1].startswith("case-4: text: ")
    assert r"became '\x1b[2J'" in details[1]
    asked = {one.case_id for one in found.samples["foundry_same_answer_rate"]}
    assert asked == {"case-0", "case-2", "case-4", "case-6"}


@pytest.mark.parametrize(("answer_s", "asked"), [(0.1, 24), (1.5, 14), (9.0, LEAST)])
def test_a_slow_model_is_asked_fewer_cases(answer_s: float, asked: int) -> None:
    now_s = [0.0]

    def slow(messages: Sequence[Message]) -> str:
        now_s[0] += answer_s
        return right(messages)

    conversations = {str(number): [{"role": "user", "content": f"part {number}?"}] for number in range(24)}
    expected = [FakeSession(right).answer(one, max_new_tokens=64) for one in conversations.values()]
    compared = compare_served(
        expected, FakeSession(slow), conversations, max_new_tokens=64, enough_s=20.0, clock=lambda: now_s[0]
    )
    assert [one.case_id for one in compared] == list(conversations)[:asked]
    assert all(one.is_same for one in compared)


def test_cases_that_were_not_asked_are_told(pack: DomainPack) -> None:
    way = {"foundry_same_answer_rate": FakeSession(right, name="in process")}
    found = measure_same_answers(FakeSession(right), way, pack, cases=LEAST + 1, enough_s=1e-9).measurement
    told = found.details["foundry_same_answer_rate"]
    assert found.estimate("foundry_same_answer_rate").n == LEAST
    assert told == "8 of 8 answers are the same; 9 were to be asked, and their time was over: `[foundry] cases_s`"


def test_each_way_tells_how_far_it_is(pack: DomainPack) -> None:
    lines: list[str] = []
    seconds = iter(range(0, 1000, 10))
    progress = LineProgress(lines.append, clock=lambda: next(seconds))
    way = FakeSession(right, name="in process")
    measure_same_answers(FakeSession(right), {"foundry_same_answer_rate": way}, pack, cases=2, progress=progress)
    assert lines[-1].startswith("questions to in process 2/2")
