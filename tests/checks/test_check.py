import math

import pytest

from harness.checks.check import CheckResult, Outcome
from harness.checks.verdict import Verdict, recommend, verdict_of
from harness.config.settings import Limit

AT_MOST = Limit(max=1.0, reason="because it must")
AT_LEAST = Limit(min=0.9, reason="because it must")


def check(value, limit, metric="ttft_p95_s"):
    return CheckResult(variant="int4", metric=metric, value=value, limit=limit, evidence="3 requests")


@pytest.mark.parametrize(
    ("value", "limit", "outcome"),
    [
        (1.0, AT_MOST, Outcome.PASS),
        (1.01, AT_MOST, Outcome.FAIL),
        (0.9, AT_LEAST, Outcome.PASS),
        (0.89, AT_LEAST, Outcome.FAIL),
        (None, AT_MOST, Outcome.NO_DATA),
        (math.nan, AT_MOST, Outcome.NO_DATA),
        (math.nan, AT_LEAST, Outcome.NO_DATA),
        (math.inf, AT_MOST, Outcome.FAIL),
    ],
)
def test_outcomes(value, limit, outcome):
    assert check(value, limit).outcome is outcome


def test_a_failure_names_variant_metric_value_limit_reason_and_evidence():
    text = check(1.5, AT_MOST).explanation
    for part in ("int4", "ttft_p95_s", "1.5 s", "at most 1 s", "because it must", "3 requests"):
        assert part in text


def test_missing_evidence_is_said():
    assert "no evidence is not a pass" in check(None, AT_MOST).explanation


@pytest.mark.parametrize(
    ("outcomes", "required", "problems", "verdict"),
    [
        ({"a": Outcome.PASS}, ["a"], [], Verdict.PASS),
        ({"a": Outcome.PASS, "b": Outcome.FAIL}, ["a", "b"], [], Verdict.FAIL),
        ({"a": Outcome.PASS}, ["a"], ["test_x"], Verdict.FAIL),
        ({"a": Outcome.PASS, "b": Outcome.NO_DATA}, ["a", "b"], [], Verdict.NO_DATA),
        ({"a": Outcome.PASS}, ["a", "b"], [], Verdict.INCOMPLETE),
        ({}, [], [], Verdict.INCOMPLETE),
    ],
)
def test_verdicts(outcomes, required, problems, verdict):
    assert verdict_of(outcomes, required, problems) is verdict


def test_the_smallest_passing_variant_is_recommended():
    sizes = {"int4": 4.0, "int8": 8.0, "fp16": 16.0}
    verdicts = dict.fromkeys(sizes, Verdict.PASS)
    assert recommend(verdicts, sizes) == "int4"
    assert recommend({**verdicts, "int4": Verdict.FAIL}, sizes) == "int8"
    assert recommend({**verdicts, "int4": Verdict.INCOMPLETE}, {**sizes, "int8": None}) == "fp16"
    assert recommend(dict.fromkeys(sizes, Verdict.FAIL), sizes) is None
