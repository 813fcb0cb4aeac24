import json

import pytest

from harness.measure.quality import (
    ask_cases,
    ask_edge_cases,
    ask_lengths,
    cut_to_tokens,
    length_drop_points,
    quality_rates,
    rates_by_length,
)
from harness.pack.choose import length_cases
from harness.pack.pack import load_pack
from harness.runtime.fake import FakeSession


@pytest.fixture
def pack(pack_folder):
    return load_pack(pack_folder)


def right(messages):
    """The healthy model of the small pack."""
    question = messages[-1]["content"]
    number = next((word.rstrip("?") for word in question.split() if word.rstrip("?").isdigit()), None)
    return json.dumps({"status": "ok", "part": number} if number else {"status": "out_of_scope"})


def test_a_healthy_model_gets_full_marks(pack):
    rates = quality_rates(ask_cases(FakeSession(right), pack))
    assert {name: rate.value for name, rate in rates.items()} == dict.fromkeys(rates, 1.0)
    assert (rates["exact_match_rate"].n, rates["out_of_scope_rate"].n) == (8, 1)


def test_prose_breaks_form_and_content(pack):
    rates = quality_rates(ask_cases(FakeSession(lambda _: "The pump is broken."), pack))
    assert rates["json_valid_rate"].value == 0.0
    assert rates["exact_match_rate"].value == 0.0


def test_a_model_that_never_declines_is_seen(pack):
    rates = quality_rates(ask_cases(FakeSession(lambda _: '{"status": "ok", "part": "1"}'), pack))
    assert rates["out_of_scope_rate"].value == 0.0
    assert rates["json_valid_rate"].value == 1.0


def test_a_refused_prompt_is_a_wrong_answer(pack):
    rates = quality_rates(ask_cases(FakeSession(right, context_length=5), pack))
    assert rates["exact_match_rate"].value == 0.0


def test_the_ladder_asks_the_same_questions_on_every_rung(pack):
    graded = ask_lengths(FakeSession(right), pack)
    assert {rung: rate.n for rung, rate in rates_by_length(graded).items()} == {0: 4, 40: 4}
    assert length_drop_points(graded) == 0.0


def test_answers_that_degrade_with_length_are_seen(pack):
    def forgetful(messages):
        return right(messages) if len(messages[-1]["content"]) < 30 else '{"status": "out_of_scope"}'

    assert length_drop_points(ask_lengths(FakeSession(forgetful), pack)) == 100.0


def test_a_ladder_of_one_rung_is_no_evidence(pack):
    graded = ask_lengths(FakeSession(right, context_length=130), pack)
    assert set(rates_by_length(graded)) == {0}
    assert length_drop_points(graded) is None
    assert length_drop_points(()) is None


def test_the_ladder_uses_in_scope_cases_spread_over_the_pack(pack):
    assert [case.id for case in length_cases(pack)] == ["case-0", "case-2", "case-4", "case-6"]


@pytest.mark.parametrize(("tokens", "text"), [(0, ""), (2, "ab"), (5, "ab cd"), (8, "ab cd ab"), (1, "")])
def test_padding_is_cut_at_whole_words(tokens, text):
    assert cut_to_tokens("ab cd", tokens, list) == text


def test_edge_cases_of_a_healthy_model_are_handled(pack):
    assert all(result.is_handled for result in ask_edge_cases(FakeSession(right), pack))


def test_an_edge_case_without_a_valid_answer_is_seen(pack):
    def chatty(messages):
        return right(messages) if messages[-1]["content"] else "You said nothing."

    failed = [result for result in ask_edge_cases(FakeSession(chatty), pack) if not result.is_handled]
    assert [result.case_id for result in failed] == ["empty"]
    assert "You said nothing" in failed[0].explanation


def test_a_runtime_that_answers_beyond_its_context_is_seen(pack):
    class Boundless(FakeSession):
        def answer(self, messages, **options):
            self.context_length, kept = 10**9, self.context_length
            try:
                return super().answer(messages, **options)
            finally:
                self.context_length = kept

    failed = [result for result in ask_edge_cases(Boundless(right), pack) if not result.is_handled]
    assert [result.case_id for result in failed] == ["over"]
    assert "must be refused" in failed[0].explanation


def test_a_prompt_that_harms_the_next_question_is_seen(pack):
    poisoned = []

    def fragile(messages):
        if not messages[-1]["content"]:
            poisoned.append(True)
        return right(messages) if not poisoned else '{"status": "out_of_scope"}'

    results = ask_edge_cases(FakeSession(fragile), pack)
    assert "next ordinary question" in results[0].explanation
