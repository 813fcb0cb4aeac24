"""What a pack does not ask for is neither judged nor demanded; anything else that is missing is."""

import pytest

from harness.checks.check import Outcome
from harness.checks.judging import applicable, checks_of
from harness.config.default_limits import default_limits
from harness.config.limits import Limit
from harness.metrics.catalogue import UnknownMetricError
from harness.metrics.measurement import Measurement
from harness.pack.load import load_pack
from harness.stats.estimate import Estimate

LIMIT = Limit(min=0.9, reason="a limit for a test")
LIMITS = dict.fromkeys(("exact_match_rate", "json_valid_rate", "edge_case_rate", "out_of_scope_rate"), LIMIT)


@pytest.fixture
def pack(pack_folder):
    return load_pack(pack_folder)


@pytest.fixture
def free_text(pack):
    return pack.model_copy(update={"response_schema": None, "edge_cases": pack.edge_cases[:1]})


def judged(pack, metric, estimate):
    measurement = Measurement(estimates={metric: estimate}, details={metric: "so many"})
    return checks_of("int8", measurement, [metric], LIMITS, pack)


def test_a_pack_with_everything_is_judged_by_everything(pack):
    assert applicable(LIMITS, pack) == LIMITS


def test_a_pack_without_a_form_is_not_judged_by_it(free_text):
    assert set(applicable(LIMITS, free_text)) == {"exact_match_rate", "out_of_scope_rate"}


def test_a_pack_without_foreign_questions_demands_no_declining(pack):
    in_scope = pack.model_copy(update={"cases": pack.cases[:8]})
    assert "out_of_scope_rate" not in applicable(LIMITS, in_scope)


@pytest.mark.parametrize("metric", ["json_valid_rate", "edge_case_rate"])
def test_what_is_missing_because_it_was_not_asked_has_no_check(free_text, metric):
    assert judged(free_text, metric, Estimate.missing("no form")) == []


def test_what_was_measured_all_the_same_is_judged(free_text):
    (check,) = judged(free_text, "edge_case_rate", Estimate.exact(0.0))
    assert check.outcome is Outcome.FAIL


def test_a_default_judges_what_was_measured_and_demands_nothing(pack):
    limits = default_limits("int4")
    assert applicable(limits, pack) == {}

    def judged_by_default(estimate):
        measurement = Measurement(estimates={"answer_top1_agreement": estimate})
        return checks_of("int4", measurement, ["answer_top1_agreement"], limits, pack)

    assert judged_by_default(Estimate.missing("no right answer")) == []
    assert [one.outcome for one in judged_by_default(Estimate.exact(0.5))] == [Outcome.FAIL]
    assert [one.outcome for one in judged_by_default(Estimate.exact(0.8))] == [Outcome.PASS]
    assert [one.outcome for one in judged_by_default(Estimate.exact(float("nan")))] == [Outcome.NO_DATA]


def test_what_is_missing_for_any_other_reason_fails(pack):
    (check,) = judged(pack, "json_valid_rate", Estimate.missing("nobody answered"))
    assert check.outcome is Outcome.NO_DATA
    assert check.details == "so many"


def test_a_metric_without_a_limit_has_no_check_and_a_mistyped_one_is_an_error(pack):
    measurement = Measurement(estimates={})
    assert checks_of("int8", measurement, ["load_s"], LIMITS, pack) == []
    with pytest.raises(UnknownMetricError, match="did you mean 'exact_match_rate'"):
        checks_of("int8", measurement, ["exact_match_rat"], LIMITS, pack)
