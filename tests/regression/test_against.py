"""Each kind of regression against a stored run is found, and another machine's times decide nothing."""

import math

import pytest

from harness.checks.check import Check, Outcome
from harness.config.regression_limits import REGRESSION_LIMITS
from harness.regression.against import compare_speed, compare_stored, lost_answers
from harness.stats.estimate import Estimate
from harness.stats.paired import mcnemar
from tests.regression.conftest import METRICS

CASES = [f"case-{number}" for number in range(200)]


def outcomes(measured):
    return {
        name: Check(variant="int4", metric=name, estimate=estimate, limit=REGRESSION_LIMITS[name]).outcome
        for name, estimate in measured.measurement.estimates.items()
    }


def sheet(wrong=()):
    return {case: case not in wrong for case in CASES}


@pytest.mark.parametrize(
    ("before", "now", "outcome"),
    [
        ((), (), Outcome.PASS),
        (CASES[:20], CASES[:20], Outcome.PASS),  # the same ones are wrong
        (CASES[:20], (), Outcome.PASS),  # better
        ((), CASES[:20], Outcome.FAIL),
        (CASES[:3], CASES[3:8], Outcome.INCONCLUSIVE),
    ],
    ids=["same", "same errors", "better", "worse", "a few moved"],
)
def test_lost_answers_are_counted_case_by_case(before, now, outcome):
    assert outcomes(lost_answers(sheet(before), sheet(now))) == {"baseline_loss_points": outcome}


def test_cases_of_one_run_only_are_told_and_not_counted():
    found = lost_answers(sheet(), {"case-0": False, "new": True})
    assert found.measurement.estimate("baseline_loss_points").n == 1
    assert "200 cases are in one of the runs only" in found.measurement.details["baseline_loss_points"]


def test_no_common_case_is_no_data():
    assert outcomes(lost_answers(sheet(), {"new": True})) == {"baseline_loss_points": Outcome.NO_DATA}


@pytest.mark.parametrize(("lost", "won", "value"), [(0, 0, 1.0), (1, 0, 1.0), (5, 0, 2 / 32), (3, 3, 1.0)])
def test_mcnemar_by_hand(lost, won, value):
    assert mcnemar(lost, won) == pytest.approx(value)


CHANGES = {
    "size_ratio": ("size_bytes", 1100.0),
    "peak_rss_ratio": ("peak_rss_bytes", 6000.0),
    "leak_increase_bytes_per_request": ("leak_bytes_per_request", 64.0),
}


def now(**changed):
    return {name: Estimate.exact(value) for name, value in {**METRICS, **changed}.items()}


def test_the_same_numbers_pass(make_baseline):
    assert set(outcomes(compare_stored(make_baseline(), "int4", now())).values()) == {Outcome.PASS}


@pytest.mark.parametrize(("metric", "change"), CHANGES.items(), ids=CHANGES)
def test_each_kind_is_found_and_swapped_it_passes(metric, change, make_baseline):
    name, value = change
    found = outcomes(compare_stored(make_baseline(), "int4", now(**{name: value})))
    assert found == {**dict.fromkeys(CHANGES, Outcome.PASS), metric: Outcome.FAIL}
    better = {name: METRICS[name] - (value - METRICS[name]) / 2}
    assert outcomes(compare_stored(make_baseline(), "int4", now(**better)))[metric] is Outcome.PASS


@pytest.mark.parametrize("value", [math.nan, None])
def test_what_was_not_measured_is_no_data(value, make_baseline):
    found = outcomes(compare_stored(make_baseline(), "int4", now(size_bytes=value, leak_bytes_per_request=value)))
    assert found["size_ratio"] is Outcome.NO_DATA
    assert found["leak_increase_bytes_per_request"] is Outcome.NO_DATA


def test_another_machine_decides_size_and_leaks_and_nothing_else(make_baseline, demo_stand_in):
    elsewhere = make_baseline(processor="Another One")
    found = outcomes(compare_stored(elsewhere, "int4", now()))
    assert found.pop("peak_rss_ratio") is Outcome.NO_DATA
    assert set(found.values()) == {Outcome.PASS}
    speed = compare_speed(elsewhere, "int4", demo_stand_in, None, None)
    assert set(outcomes(speed).values()) == {Outcome.NO_DATA}
    assert "Another One" in speed.measurement.estimate("e2e_ratio").method


def test_the_same_files_need_no_clock(make_baseline, demo_stand_in):
    speed = compare_speed(make_baseline(digest=demo_stand_in.digest), "int4", demo_stand_in, None, None)
    assert set(outcomes(speed).values()) == {Outcome.PASS}


def test_an_artifact_that_is_gone_is_no_data(make_baseline, demo_stand_in, bare_workspace):
    speed = compare_speed(make_baseline(), "int4", demo_stand_in, None, bare_workspace)
    assert set(outcomes(speed).values()) == {Outcome.NO_DATA}
    assert "save the baseline anew" in speed.measurement.estimate("e2e_ratio").method


@pytest.fixture
def demo_stand_in(make_artifact):
    """An artifact that nobody loads."""
    from harness.artifact.artifact import describe
    from harness.artifact.inspect import inspect_artifact
    from harness.recipes.recipe import load_recipe

    folder = make_artifact("int4")
    return describe(folder, "int4", load_recipe("int4"), inspect_artifact(folder), {}, was_reused=False)
