"""The prompt-length sweep: what is asked at which step, and the loss by hand."""

import json

import pytest

from harness.measure.lengths import (
    ask_lengths,
    cut_to_tokens,
    describe_course,
    length_drop,
    measure_length_consistency,
    padded_conversations,
    rates_by_length,
)
from harness.pack.choose import length_cases
from harness.pack.load import load_pack
from harness.runtime.fake import FakeSession
from harness.stats.estimate import Estimate
from harness.stats.paired import paired_loss
from tests.conftest import write_pack
from tests.measure.healthy import right


@pytest.fixture
def pack(pack_folder):
    return load_pack(pack_folder)


def forgetful(messages):
    return right(messages) if len(messages[-1]["content"]) < 30 else '{"status": "out_of_scope"}'


def measure(reply, pack, **options):
    source = ask_lengths(FakeSession(right), pack)
    return measure_length_consistency(FakeSession(reply, **options), pack, source)


def test_the_same_questions_are_asked_at_every_step(pack):
    answers = ask_lengths(FakeSession(right), pack)
    assert {tokens: rate.n for tokens, rate in rates_by_length(answers).items()} == {0: 4, 40: 4}
    assert length_drop(answers, pack).value == 0.0


def test_answers_that_degrade_with_length_are_seen_and_shown(pack):
    found = measure(forgetful, pack)
    assert found.measurement.estimate("length_drop_points").value == 100.0
    details = found.measurement.details["length_drop_points"]
    assert details.startswith(
        "exact answers by tokens of padding: 100.0 % of 4 at 0, 0.0 % of 4 at 40\n"
        "the loss is largest at 40 tokens, the longest prompts that were asked\n4 of 4 fail; the "
    )
    assert "conversion, not tuning" in details
    assert found.details["exact_match_by_padding_tokens"]["40"]["value"] == 0.0
    assert len(found.samples["length_answers"]) == 8


@pytest.mark.parametrize(
    ("points", "told"),
    [
        ({}, None),
        ({100: 0.0, 500: -5.0}, None),  # nothing is lost
        (
            {550: 0.0, 600: 12.5, 620: 0.0, 1500: 0.0},
            "600 tokens; longer ones are fine again: none is lost at 620 to 1500",
        ),
        ({600: 12.5, 620: -2.5}, "600 tokens; longer ones are fine again: none is lost at 620, so"),
        ({600: 12.5, 620: 5.0}, "longer ones are fine again: at most 5.0 pt is lost at 620, so"),
        ({600: 12.5, 620: 10.0, 1500: 7.5}, "600 tokens; longer ones lose up to 10.0 pt (at 620 to 1500)"),
        ({600: 5.0, 1500: 12.5}, "1500 tokens, the longest prompts that were asked"),
        ({600: 12.5, 1500: 12.5}, "1500 tokens, the longest prompts that were asked"),
    ],
)
def test_where_the_loss_is_and_what_becomes_of_it_is_told(points, told):
    said = describe_course({tokens: Estimate.exact(value / 100) for tokens, value in points.items()})
    assert said == [] if told is None else told in said[0]


def test_the_failures_that_are_shown_are_those_at_the_length_that_is_judged(pack_folder):
    domain = (pack_folder / "domain.toml").read_text().replace("[0, 40]", "[0, 40, 80]")
    (pack_folder / "domain.toml").write_text(domain)
    roomy = load_pack(pack_folder)

    def reply(messages):
        return "{}" if 40 < len(messages[-1]["content"]) < 75 else right(messages)

    found = measure(reply, roomy)
    details = found.measurement.details["length_drop_points"]
    assert "longer ones are fine again: none is lost at 80" in details
    assert "4 of 4 fail" in details
    assert found.details["source_exact_match_by_padding_tokens"]["40"]["value"] == 1.0


def test_how_many_questions_could_be_asked_is_told(pack):
    assert (
        measure(right, pack)
        .measurement.more["length_drop_points"]
        .startswith("4 of 8 questions were asked: `[length] cases = 8` in domain.toml")
    )


def test_the_interval_holds_for_all_steps_together(tmp_path):
    domain = (
        'schema_version = 1\nname = "x"\nmax_new_tokens = 48\n[length]\npadding_tokens = [0, 20, 40, 60]\ncases = 8\n'
    )
    pack = load_pack(write_pack(tmp_path / "pack", domain_toml=domain))

    def reply(messages):
        content = messages[-1]["content"]
        return right(messages) if "1?" not in content or len(content) < 50 else "{}"

    found = length_drop(ask_lengths(FakeSession(reply), pack), pack)
    by_hand = paired_loss([True] * 8, [True] * 7 + [False], confidence=1 - 0.05 / 3)
    assert (found.value, found.n) == (12.5, 8)
    assert (found.low, found.high) == (pytest.approx(100 * by_hand.low), pytest.approx(100 * by_hand.high))
    assert found.confidence == 0.95
    assert found.method == "Newcombe, paired, Bonferroni over 3 lengths"


def test_a_sweep_of_which_one_step_fits_shows_nothing(pack):
    found = measure(right, pack, context_length=130).measurement.estimate("length_drop_points")
    assert (found.value, found.method) == (None, "fewer than two prompt lengths fit into the context")


def test_questions_are_in_scope_and_spread_over_the_pack(pack):
    assert [case.id for case in length_cases(pack)] == ["case-0", "case-2", "case-4", "case-6"]


def test_a_system_turn_stays_in_front_and_takes_its_room(tmp_path):
    system = {"role": "system", "content": "s" * 100}
    case = {"id": "a", "kind": "part", "messages": [system, {"role": "user", "content": "1?"}], "keywords": ["ok"]}
    pack = load_pack(write_pack(tmp_path / "pack", cases_jsonl=json.dumps(case)))
    found = padded_conversations(pack, list, 512)
    assert [tokens for tokens, *_ in found] == [0, 40]
    assert all(conversation[0] == system for *_, conversation in found)
    assert padded_conversations(pack, list, 48 + 64 + 100 + 1) == []


def test_a_pack_of_conversations_has_no_sweep(tmp_path):
    turns = [{"role": role, "content": "part 1?"} for role in ("user", "assistant", "user")]
    case = {"id": "a", "kind": "part", "messages": turns, "expected": {"status": "ok", "part": "1"}}
    pack = load_pack(write_pack(tmp_path / "pack", cases_jsonl=json.dumps(case)))
    found = measure(right, pack)
    assert (
        found.measurement.estimate("length_drop_points").method == "the pack has no in-scope case of a single question"
    )


@pytest.mark.parametrize(("tokens", "text"), [(0, ""), (2, "ab"), (5, "ab cd"), (8, "ab cd ab"), (1, "")])
def test_padding_is_cut_at_whole_words(tokens, text):
    assert cut_to_tokens("ab cd", tokens, list) == text
