"""Rates of a healthy model and of models with one fault each, and what their details say."""

import json

import pytest

from harness.measure.asking import ask_cases
from harness.measure.quality import exact_by_kind, exact_match_loss, measure_quality, measure_source_quality
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
    assert all(found[name].has_interval for name in found)


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
        return right(messages) + " and so on" * 9 if "3" in messages[-1]["content"] else right(messages)

    found = measure(endless, pack).measurement
    assert found.estimate("truncated_answer_rate").value == pytest.approx(1 / 9)
    details = found.details["truncated_answer_rate"]
    assert details.startswith("1 of 9 fail; the source model does not: conversion, not tuning\ncase-3 (part)\n")
    assert "and was cut there" in details


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
    assert set(found.details) == {"exact_match_by_kind"}


def one_case(tmp_path, **fields):
    case = {"id": "a", "kind": "part", "messages": [{"role": "user", "content": "part 1?"}], **fields}
    return load_pack(write_pack(tmp_path / "pack", cases_jsonl=json.dumps(case)))


def test_what_a_pack_does_not_ask_is_missing_with_the_reason(tmp_path):
    pack = one_case(tmp_path, keywords=["part"]).model_copy(update={"response_schema": None})
    found = measure_source_quality(ask_cases(FakeSession(right), pack), (), pack).measurement.estimates
    assert found["exact_match_rate"].value == 1.0
    missing = {name: estimate.method for name, estimate in found.items() if estimate.is_missing}
    assert set(missing) == {"exact_match_final_rate", "out_of_scope_rate", "json_valid_rate", "length_drop_points"}
    assert missing["json_valid_rate"] == "the pack has no response schema and no other form for its answers"
