"""A refused prompt, an empty answer and a cut one are three different samples."""

from dataclasses import replace

import pytest

from harness.errors import InvalidPromptError, SessionError
from harness.measure.asking import ask_all, ask_cases, graded_again
from harness.pack.load import load_pack
from harness.runtime.fake import FakeSession
from tests.measure.healthy import right


@pytest.fixture
def pack(pack_folder):
    return load_pack(pack_folder)


def first(session, pack):
    return ask_cases(session, pack)[0]


def test_an_answer_keeps_its_facts(pack):
    answer = first(FakeSession(right), pack)
    assert (answer.is_exact, answer.refusal, answer.finish_reason) == (True, "", "stop")
    assert answer.answer_tokens == len(answer.text)  # the fake's tokens are characters
    assert answer.prompt_tokens > len("part 0?")
    assert answer.answer_s >= 0


def test_a_refused_prompt_is_wrong_and_says_why(pack):
    answer = first(FakeSession(right, context_length=5), pack)
    assert (answer.text, answer.is_exact, answer.is_valid, answer.finish_reason) == ("", False, False, None)
    assert "over the context" in answer.refusal
    assert answer.explanation.startswith("the runtime refused the prompt: ")


def test_an_empty_answer_is_wrong_and_was_not_refused(pack):
    answer = first(FakeSession(lambda _: ""), pack)
    assert (answer.text, answer.is_exact, answer.refusal, answer.finish_reason) == ("", False, "", "stop")
    assert answer.answer_tokens == 0
    assert answer.answer_s is None


def test_a_cut_answer_is_told(pack):
    answer = first(FakeSession(lambda _: "and so on " * 20), pack)
    assert (answer.finish_reason, answer.answer_tokens) == ("length", 48)


def test_a_session_that_answers_in_batches_is_asked_once(pack):
    class Batches(FakeSession):
        batches = 0

        def answer_many(self, conversations, *, max_new_tokens, step):
            self.batches += 1
            refused = InvalidPromptError("too long")
            return [refused, *(self.answer(one, max_new_tokens=max_new_tokens) for one in conversations[1:])]

    session = Batches(right)
    refused, second, *_ = ask_cases(session, pack)
    assert session.batches == 1
    assert (refused.refusal, second.is_exact) == ("too long", True)


def test_every_question_is_a_step_and_a_broken_runtime_is_no_answer(pack):
    steps = []
    asked = [[{"role": "user", "content": "part 1?"}]] * 2
    ask_all(FakeSession(right), asked, max_new_tokens=4, step=lambda *done: steps.append(done))
    assert steps == [(1, 2), (2, 2)]

    def broken(_messages):
        raise SessionError("it died")

    with pytest.raises(SessionError, match="it died"):
        ask_all(FakeSession(broken), asked, max_new_tokens=4)


def test_kept_answers_are_graded_as_today(pack):
    kept = [replace(answer, is_exact=False, score=0.2, explanation="an older grader's") for answer in ask_cases(FakeSession(right), pack)]  # fmt: skip
    refused = ask_cases(FakeSession(right, context_length=5), pack)
    assert graded_again([*kept, *refused], pack) == (*ask_cases_again(kept), *refused)


def ask_cases_again(kept):
    return tuple(replace(answer, is_exact=True, score=1.0, explanation="") for answer in kept)
