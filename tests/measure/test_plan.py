"""A budget stops what can be cut; what was cut is judged by the interval of what was asked, and says so."""

import json

import numpy as np
import pytest

from harness.checks.check import Outcome
from harness.checks.judging import checks_of
from harness.config.limits import Limit
from harness.config.plan import ALL_CASES, Plan, budget_of
from harness.errors import ConfigError
from harness.measure.asking import ask_cases
from harness.measure.divergence import compare_with_reference, divergence_estimates, measure_divergence
from harness.measure.lengths import ask_lengths, measure_length_consistency
from harness.measure.quality import measure_quality
from harness.measure.reference_scores import score_reference
from harness.measure.sampling import UntilDecided
from harness.pack.load import load_pack
from harness.runtime.fake import FakeSession
from tests.conftest import write_pack
from tests.measure.test_divergence import fake, right_answers

COUNT = 200


class Clock:
    """Goes on by hand."""

    def __init__(self):
        self.now_s = 100.0

    def __call__(self):
        return self.now_s


@pytest.mark.parametrize(("text", "seconds"), [("20m", 1200), ("90s", 90), ("1.5h", 5400), (" 5m ", 300), ("0.5m", 30)])
def test_times_are_read(text, seconds):
    assert budget_of(text) == seconds


@pytest.mark.parametrize("text", ["", "20", "m", "-5m", "0m", "20 minutes", "1e3s", "nan", "infh"])
def test_what_is_no_time_is_told(text):
    with pytest.raises(ConfigError, match="is no time"):
        budget_of(text)


def test_without_a_budget_nothing_is_cut():
    clock = Clock()
    for plan in (Plan(clock=clock), Plan(is_until_decided=True, clock=clock)):
        is_over = plan.part("int4", "questions")
        clock.now_s += 1e9
        assert not is_over()
    assert Plan().told == ALL_CASES
    assert "20 min" in Plan(budget_s=1200).told


def test_a_variant_gets_its_share_and_leaves_the_rest_to_the_next():
    clock = Clock()
    plan = Plan(budget_s=900, variants=3, clock=clock)
    first = plan.part("int4", "questions")  # 35 % of 300 s
    clock.now_s += 104
    assert not first()
    clock.now_s += 2
    assert first()
    clock.now_s += 194  # 300 s used
    plan.part("int8", "questions")
    clock.now_s += 20  # quick: 580 s are left to it and one more, whose half is 290 s
    second = plan.part("int8", "divergence")
    clock.now_s += 144
    assert not second()
    clock.now_s += 2
    assert second()


def test_a_budget_that_is_used_up_leaves_nothing_to_cut_parts():
    clock = Clock()
    plan = Plan(budget_s=10, clock=clock)
    clock.now_s += 11
    assert plan.part("int4", "questions")()


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    cases = [
        {"id": f"c{n}", "kind": "part", "messages": [{"role": "user", "content": f"part {n}?"}],
         "expected": {"status": "ok", "part": str(n)}}
        for n in range(COUNT)
    ]  # fmt: skip
    return load_pack(write_pack(tmp_path_factory.mktemp("pack"), cases_jsonl="\n".join(map(json.dumps, cases))))


def right(messages):
    return json.dumps({"status": "ok", "part": messages[-1]["content"].removeprefix("part ").removesuffix("?")})


def outcome(found, pack, metric, limit):
    (check,) = checks_of("int4", found, [metric], {metric: limit}, pack)
    return check.outcome


def test_questions_that_were_cut_are_judged_by_their_interval(pack):
    source = ask_cases(FakeSession(right), pack)
    limits = {name: Limit(min=0.95, reason="a limit to keep") for name in ("exact_match_rate", "json_valid_rate")}
    until = UntilDecided(limits, source, is_over=lambda: True)
    found = measure_quality(FakeSession(right), pack, source, until=until).measurement
    estimate = found.estimate("exact_match_rate")
    assert (estimate.n, estimate.value) == (8, 1.0)
    assert estimate.low < 0.95
    assert outcome(found, pack, "exact_match_rate", limits["exact_match_rate"]) is Outcome.INCONCLUSIVE
    assert outcome(found, pack, "exact_match_rate", Limit(min=0.2, reason="a low limit")) is Outcome.PASS
    assert f"stopped after 8 of {COUNT} cases, as the time for them was used up" in found.details["exact_match_rate"]


def test_what_was_decided_in_time_keeps_its_judgement(pack):
    source = ask_cases(FakeSession(right), pack)
    limits = {
        "exact_match_rate": Limit(min=0.5, reason="a low limit"),
        "json_valid_rate": Limit(min=0.999, reason="a high limit"),
    }
    calls = iter(range(1000))
    until = UntilDecided(limits, source, is_over=lambda: next(calls) >= 4)
    found = measure_quality(FakeSession(right), pack, source, until=until).measurement
    assert "exact_match_rate" not in found.cut
    assert "json_valid_rate" in found.cut


def test_long_questions_end_after_one_that_was_asked_at_every_step(pack_folder):
    pack = load_pack(pack_folder)
    source = ask_lengths(FakeSession(right), pack)
    cut = measure_length_consistency(FakeSession(right), pack, source, is_over=lambda: True)
    answers = cut.samples["length_answers"]
    assert len({answer.case_id for answer in answers}) == 1
    assert len(answers) == len({answer.padding_tokens for answer in source})
    assert cut.measurement.cut == {"length_drop_points"}
    whole = measure_length_consistency(FakeSession(right), pack, source, is_over=lambda: False)
    asked = [(answer.case_id, answer.padding_tokens) for answer in source]
    assert [(answer.case_id, answer.padding_tokens) for answer in whole.samples["length_answers"]] == asked
    assert not whole.measurement.cut


def test_divergence_that_was_cut_is_of_some_sequences_of_both_kinds(pack_folder):
    pack = load_pack(pack_folder)
    reference = score_reference(fake(), pack, right_answers(pack))
    many = reference.part([*range(len(reference.sequences)), 0])  # a second text
    cut = measure_divergence(fake(0.3), many, is_over=lambda: True).measurement
    assert cut.estimate("answer_kld_mean_nats").n >= 2
    assert cut.estimate("kld_mean_nats").n < len(many.sequences)
    assert "kld_mean_nats" in cut.cut
    whole = measure_divergence(fake(0.3), reference, is_over=lambda: False).measurement
    expected = divergence_estimates(compare_with_reference(fake(0.3), reference))
    assert whole.estimate("kld_mean_nats").value == pytest.approx(expected["kld_mean_nats"].value)
    assert not whole.cut


def test_an_order_of_which_any_beginning_stands_for_the_whole(pack_folder):
    pack = load_pack(pack_folder)
    reference = score_reference(fake(), pack, right_answers(pack))
    shuffled = reference.shuffled()
    assert {one.id for one in shuffled.sequences} == {one.id for one in reference.sequences}
    assert shuffled.sequences != reference.sequences
    assert len(shuffled.rows) == len(reference.rows)
    assert compare_with_reference(fake(), shuffled).kld_nats.max() < 1e-9  # rows stay with their sequences
    assert np.isclose(shuffled.nll_nats.sum(), reference.nll_nats.sum())


def many_texts(pack_folder):
    """Ninety-six sequences, half of them right answers."""
    pack = load_pack(pack_folder)
    reference = score_reference(fake(), pack, right_answers(pack))
    kinds = {one.is_answer: number for number, one in enumerate(reference.sequences)}
    return reference.part([kinds[number % 2 == 0] for number in range(96)])


@pytest.mark.parametrize(
    ("limit", "compared"),
    [
        (1e9, 12),  # far above whatever comes
        (1e-9, 12),  # far below
        (None, 96),  # no limit, nothing to decide
    ],
)
def test_divergence_stops_when_its_limits_are_decided(pack_folder, limit, compared):
    many = many_texts(pack_folder)
    limits = {"kld_mean_nats": Limit(max=limit, reason="because it must")} if limit else {}
    found = measure_divergence(fake(0.3), many, until=limits).measurement
    assert found.estimate("kld_mean_nats").n == compared
    assert not found.cut  # what was decided is judged as ever
    assert ("as every limit on divergence was decided" in found.details["kld_mean_nats"]) is (compared < 96)


def test_divergence_near_its_limit_is_measured_to_the_end(pack_folder):
    many = many_texts(pack_folder)
    value = measure_divergence(fake(0.3), many).measurement.estimate("kld_mean_nats").value
    near = {"kld_mean_nats": Limit(max=value, reason="because it must")}
    assert measure_divergence(fake(0.3), many, until=near).measurement.estimate("kld_mean_nats").n == 96
