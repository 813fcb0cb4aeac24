"""Rates of a healthy model and of models with one fault each, and what their details say."""

import json
import re

import pytest

from harness.grading.settings import AnswerSettings
from harness.measure.asking import ask_cases
from harness.measure.quality import exact_by_kind, exact_match_loss, measure_quality, measure_source_quality
from harness.measure.wrong_answers import wrong_answers
from harness.pack.load import load_pack
from harness.runtime.fake import FakeSession
from tests.conftest import write_pack
from tests.measure.healthy import right

RATES = {"exact_match_rate", "exact_match_dev_rate", "exact_match_final_rate", "out_of_scope_rate", "json_valid_rate"}


@pytest.fixture
def pack(pack_folder):
    return load_pack(pack_folder)


def measure(reply, pack, source=right):
    return measure_quality(FakeSession(reply), pack, ask_cases(FakeSession(source), pack))


def estimates(reply, pack):
    return measure(reply, pack).measurement.estimates


def test_a_healthy_model_gets_full_marks(pack):
    found = estimates(right, pack)
    assert {name: found[name].value for name in RATES} == dict.fromkeys(RATES, 1.0)
    assert (found["exact_match_rate"].n, found["out_of_scope_rate"].n) == (8, 1)
    assert found["exact_match_loss_points"].value == 0.0
    assert found["truncated_answer_rate"].value == 0.0
    assert found["partial_credit_rate"].value == 1.0
    assert {name for name in found if not found[name].has_interval} == {"text_around_rate", "thinking_rate"}


def test_prose_breaks_form_and_content(pack):
    found = estimates(lambda _: "The pump is broken.", pack)
    assert found["json_valid_rate"].value == 0.0
    assert found["exact_match_rate"].value == 0.0
    assert found["exact_match_loss_points"].value == 100.0


def test_a_model_that_never_declines_is_seen(pack):
    found = estimates(lambda _: '{"status": "ok", "part": "1"}', pack)
    assert found["out_of_scope_rate"].value == 0.0
    assert found["json_valid_rate"].value == 1.0


def test_answers_that_do_not_end_are_counted_and_shown_with_their_end(pack):
    def endless(messages):
        return "and so on " * 9 if "3" in messages[-1]["content"] else right(messages)

    found = measure(endless, pack).measurement
    assert found.estimate("truncated_answer_rate").value == pytest.approx(1 / 9)
    details = found.details["truncated_answer_rate"]
    assert details.startswith("1 of 9 fail; the source model does not: conversion, not tuning\ncase-3 (part)\n")
    assert re.search(r"and was cut there, saying '.{10}' over and over", details)
    assert found.estimate("repeating_answer_rate").value == pytest.approx(1 / 9)


def test_an_answer_that_is_only_too_long_repeats_nothing(pack):
    found = estimates(lambda messages: right(messages) + " ".join(map(str, range(60))), pack)
    assert found["truncated_answer_rate"].value == 1.0
    assert found["repeating_answer_rate"].value == 0.0


def test_the_thinking_part_is_measured_apart_and_no_answer(pack):
    """Of a quarter of the questions the model never comes to an answer."""
    domain = pack.domain.model_copy(update={"answer": AnswerSettings(thinking=True), "max_new_tokens": 200})
    pack = pack.model_copy(update={"domain": domain})

    def thinks(messages):
        number = messages[-1]["content"]
        return f"<think>{'hm ' * 8}" if "3" in number else f"<think>\nhm\n</think>\n\n{right(messages)}"

    found = estimates(thinks, pack)
    assert found["thinking_rate"].value == 1.0
    assert found["exact_match_rate"].value == pytest.approx(7 / 8)


def test_a_refused_prompt_is_wrong_and_not_cut(pack):
    found = measure_quality(FakeSession(right, context_length=5), pack, ()).measurement
    assert found.estimate("exact_match_rate").value == 0.0
    assert found.estimate("truncated_answer_rate").is_missing
    assert "said:     nothing: the runtime refused the prompt" in found.details["exact_match_rate"]


def forgets(*numbers):
    """The healthy model, but for the parts of these numbers."""

    def reply(messages):
        return (
            '{"status": "out_of_scope"}'
            if any(f" {n}?" in messages[-1]["content"] for n in numbers)
            else right(messages)
        )

    return reply


def test_examples_are_of_the_metrics_own_split(pack):
    """Odd numbers are `dev`, even ones `final`."""
    details = measure(forgets(1, 2), pack).measurement.details
    assert ("case-1" in details["exact_match_dev_rate"], "case-2" in details["exact_match_dev_rate"]) == (True, False)
    assert ("case-1" in details["exact_match_final_rate"], "case-2" in details["exact_match_final_rate"]) == (
        False,
        True,
    )
    assert details["out_of_scope_rate"] == "none of 1 fails"


def test_what_is_lost_against_the_source_is_shown_beside_its_answer(pack):
    found = measure(forgets(1, 2), pack, source=forgets(2, 3)).measurement
    assert found.estimate("exact_match_loss_points").value == 0.0  # one lost, one won
    details = found.details["exact_match_loss_points"]
    assert details.splitlines()[0].endswith("1 exact ones of the source model are lost and 1 are won")
    assert "case-1 (part)" in details
    assert 'expected: \'{"status": "ok", "part": "1"}\' (source model)' in details
    assert "case-2" not in details


def test_a_loss_is_paired_by_case(pack):
    source, own = (ask_cases(FakeSession(forgets(*numbers)), pack) for numbers in ((), (1, 2)))
    found = exact_match_loss(source, own)
    assert (found.value, found.n, found.method) == (25.0, 8, "Newcombe, paired")
    assert exact_match_loss(source[:4], own).n == 4


def test_kinds_have_their_own_rates(pack):
    found = exact_by_kind(ask_cases(FakeSession(forgets(1, 2)), pack))
    assert (found["part"]["value"], found["part"]["n"]) == (0.75, 8)
    assert found["out_of_scope"]["value"] == 1.0


def test_everything_is_kept(pack):
    found = measure(right, pack)
    assert len(found.samples["answers"]) == 9
    assert set(found.details) == {"exact_match_by_kind", "wrong_answers"}


def test_wrong_answers_are_counted_and_five_are_shown_spread_over_the_pack(pack):
    source = ask_cases(FakeSession(forgets(1)), pack)
    found = wrong_answers(ask_cases(FakeSession(forgets(*range(8))), pack), source, pack)
    assert (found.answers, found.wrong) == (9, 8)
    assert [one.case_id for one in found.shown] == ["case-0", "case-1", "case-3", "case-4", "case-6"]
    assert [one.is_source_wrong for one in found.shown] == [False, True, False, False, False]
    assert (found.shown[1].asked, found.shown[1].said) == ("'part 1?'", repr('{"status": "out_of_scope"}'))
    assert '"part": "0"' in found.shown[0].expected


def test_where_all_is_right_nothing_is_shown(pack):
    right_ones = ask_cases(FakeSession(right), pack)
    assert wrong_answers(right_ones, (), pack).shown == ()
    own = ask_cases(FakeSession(forgets(1)), pack)
    assert wrong_answers(own, (), pack).shown[0].is_source_wrong is None


def test_how_many_more_could_be_asked_is_told(pack):
    assert "all cases of the pack were asked" in measure(right, pack).measurement.more["exact_match_rate"]


def one_case(tmp_path, **fields):
    case = {"id": "a", "kind": "part", "messages": [{"role": "user", "content": "part 1?"}], **fields}
    return load_pack(write_pack(tmp_path / "pack", cases_jsonl=json.dumps(case)))


def test_what_a_pack_does_not_ask_is_missing_with_the_reason(tmp_path):
    pack = one_case(tmp_path, keywords=["part"]).model_copy(update={"response_schema": None})
    found = measure_source_quality(ask_cases(FakeSession(right), pack), (), pack).measurement.estimates
    assert found["exact_match_rate"].value == 1.0
    missing = {name: estimate.method for name, estimate in found.items() if estimate.is_missing}
    assert set(missing) == {
        "exact_match_final_rate",
        "out_of_scope_rate",
        "json_valid_rate",
        "text_around_rate",
        "thinking_rate",
        "length_drop_points",
    }
    assert missing["json_valid_rate"] == "the pack has no response schema and no other form for its answers"


def test_each_kind_is_measured_by_what_counts_it(pack):
    found = measure(forgets(1, 2), pack).measurement
    rate = found.estimate("exact_match_rate", "part")
    assert (rate.value, rate.n) == (0.75, 8)
    assert rate.low < 0.45  # of eight questions nobody knows more
    assert "2 of 8 fail" in found.of("part").details["exact_match_rate"]
    assert found.estimate("json_valid_rate", "out_of_scope").value == 1.0
    assert found.estimate("exact_match_rate", "out_of_scope").is_missing
    assert found.estimate("exact_match_rate", "nobody's").is_missing


def with_clusters(pack, size):
    cases = [case.model_copy(update={"cluster": f"t{n // size}"}) for n, case in enumerate(pack.cases)]
    return pack.model_copy(update={"cases": tuple(cases)})


def test_questions_of_one_conversation_count_as_what_they_are_worth(pack):
    together = with_clusters(pack, 3)
    found, alone = (measure(forgets(1, 2), one).measurement for one in (together, pack))
    for metric in ("exact_match_rate", "json_valid_rate", "exact_match_loss_points", "partial_credit_rate"):
        one, other = found.estimate(metric), alone.estimate(metric)
        assert one.value == other.value
        assert one.high - one.low > other.high - other.low
        assert "over 3 clusters" in one.method
        assert other.method in ("Wilson score", "Newcombe, paired")


def test_parts_of_the_answer_are_counted(tmp_path):
    pack = one_case(tmp_path, expected={"status": "ok", "part": "2"})
    found = measure(lambda _: '{"status": "ok", "part": "1"}', pack).measurement
    assert found.estimate("exact_match_rate").value == 0.0
    assert found.estimate("partial_credit_rate").value == 0.5
    assert "1 of 1 fail" in found.details["partial_credit_rate"]


def test_what_stands_around_answers_is_counted_where_it_may(pack):
    said = iter(["<think>hm</think>", "Sure:\n```json\n{}\n```\n", "", "<think>a</think>```\n{}\n```"] * 9)
    answer = AnswerSettings(thinking=True, code_fence=True)
    allowing = pack.model_copy(
        update={"domain": pack.domain.model_copy(update={"answer": answer, "max_new_tokens": 200})}
    )
    found = measure(lambda _: next(said) or "{}", allowing).measurement
    assert found.estimate("thinking_rate").value == pytest.approx(5 / 9)
    assert found.estimate("text_around_rate").value == pytest.approx(4 / 9)
    assert found.estimate("text_around_rate").n == 9
