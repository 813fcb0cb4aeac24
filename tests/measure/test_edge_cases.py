"""Unfriendly prompts: one planted fault at a time."""

import pytest

from harness.errors import SessionError
from harness.measure.edge_cases import ask_edge_cases, measure_edge_cases
from harness.pack.load import load_pack
from harness.runtime.fake import FakeSession
from tests.measure.healthy import right
from tests.runtime.test_verified import END, ToyCursor, own_answer


@pytest.fixture
def pack(pack_folder):
    return load_pack(pack_folder)


@pytest.fixture
def free_text(pack):
    return pack.model_copy(update={"response_schema": None})


def failed(reply, pack):
    return [result for result in ask_edge_cases(FakeSession(reply), pack) if result.is_handled is False]


def rate(reply, pack):
    return measure_edge_cases(FakeSession(reply), pack).measurement.estimate("edge_case_rate")


def test_a_healthy_model_handles_all_of_them(pack):
    found = rate(right, pack)
    assert (found.value, found.n, found.has_interval) == (1.0, 2, True)


def test_an_answer_that_breaks_the_form_is_seen_and_shown(pack):
    def chatty(messages):
        return right(messages) if messages[-1]["content"] else "You said nothing."

    found = measure_edge_cases(FakeSession(chatty), pack).measurement
    assert found.estimate("edge_case_rate").value == 0.5
    assert found.details["edge_case_rate"].splitlines() == [
        "1 of 2 are not handled",
        "empty (empty)",
        "  asked:    ''",
        "  expected: an answer in the pack's form",
        "  said:     'You said nothing.'",
        "  because:  not JSON: Expecting value: line 1 column 1 (char 0)",
    ]


def test_a_runtime_that_answers_beyond_its_context_is_seen(pack):
    class Boundless(FakeSession):
        def answer(self, messages, **options):
            self.context_length, kept = 10**9, self.context_length
            try:
                return super().answer(messages, **options)
            finally:
                self.context_length = kept

    found = measure_edge_cases(Boundless(right), pack).measurement
    assert found.estimate("edge_case_rate").value == 0.5
    assert "must be refused" in found.details["edge_case_rate"]


def test_a_prompt_that_harms_the_next_question_is_seen(pack):
    poisoned = []

    def fragile(messages):
        if not messages[-1]["content"]:
            poisoned.append(True)
        return right(messages) if not poisoned else '{"status": "out_of_scope"}'

    assert "next ordinary question" in failed(fragile, pack)[0].explanation


class Toy:
    """A toy model whose words are its tokens; an empty question leaves it changed."""

    name, context_length, end_ids, is_steppable = "toy", 40, END, True

    def __init__(self, *, is_fragile):
        self.is_fragile, self.is_changed, self.generated = is_fragile, False, 0

    def render(self, messages):
        return "1 2 3 4" if messages[-1]["content"] else ""

    def encode(self, text):
        return [int(word) if word.isdigit() else 5 for word in text.split()]

    def decode(self, token_ids):
        return " ".join(map(str, token_ids))

    def answer(self, messages, *, max_new_tokens):
        self.is_changed |= self.is_fragile
        raise SessionError("it broke off")

    def cursor(self, max_length):
        session = self

        class Counting(ToyCursor):
            def _row(self, tokens, is_prefill):
                return super()._row(tokens, is_prefill) * (-1 if session.is_changed else 1)

            def generate(self, count, end_ids):
                tokens = super().generate(count, end_ids)
                session.generated += len(tokens)
                return tokens

        return Counting()


@pytest.mark.parametrize("is_fragile", [True, False])
def test_the_ordinary_question_is_written_once_and_checked_later(pack, is_fragile):
    toy = Toy(is_fragile=is_fragile)
    written = len(own_answer([1, 2, 3, 4], pack.domain.max_new_tokens))
    results = ask_edge_cases(toy, pack)
    assert [("next ordinary" in one.explanation) for one in results] == [is_fragile] * len(pack.edge_cases)
    if not is_fragile:
        assert toy.generated == written - 1  # of the first, behind its first token; the others were read in one pass


def crashing(messages):
    if not messages[-1]["content"]:
        raise SessionError("it broke off")
    return right(messages)


def test_a_runtime_that_fails_is_seen(pack):
    assert failed(crashing, pack)[0].explanation == "the runtime failed: it broke off"


def test_without_a_form_an_answer_is_not_counted_as_handled(free_text):
    found = measure_edge_cases(FakeSession(lambda _: "You said nothing."), free_text).measurement
    assert (found.estimate("edge_case_rate").value, found.estimate("edge_case_rate").n) == (1.0, 1)  # the refusal
    assert "1 more were answered and are not counted" in found.details["edge_case_rate"]


def test_without_a_form_a_runtime_that_fails_is_seen_all_the_same(free_text):
    assert rate(crashing, free_text).value == 0.5


def test_without_a_form_and_a_refusal_to_expect_there_is_no_rate(free_text):
    only_answers = free_text.model_copy(update={"edge_cases": free_text.edge_cases[:1]})
    assert rate(right, only_answers).is_missing
    assert rate(crashing, only_answers).value == 0.0
