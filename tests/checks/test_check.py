import math

import pytest

from harness.checks.check import Check, Outcome, explained
from harness.config.limits import Limit
from harness.metrics.catalogue import UnknownMetricError
from harness.stats.estimate import Estimate

AT_MOST = Limit(max=1.0, reason="because it must")
AT_LEAST = Limit(min=0.9, reason="because it must")
BOUND_AT_MOST = Limit(max=1.0, judge="bound", reason="because it must")
BOUND_AT_LEAST = Limit(min=0.9, judge="bound", reason="because it must")


def check(estimate, limit, metric="ttft_p95_s"):
    if not isinstance(estimate, Estimate):
        estimate = Estimate.exact(estimate)
    return Check(variant="int4", metric=metric, estimate=estimate, limit=limit, details="3 requests")


def between(low, value, high, n=100):
    return Estimate(value=value, low=low, high=high, confidence=0.95, n=n, method="a test")


@pytest.mark.parametrize(
    ("estimate", "limit", "outcome"),
    [
        (1.0, AT_MOST, Outcome.PASS),
        (1.01, AT_MOST, Outcome.FAIL),
        (0.9, AT_LEAST, Outcome.PASS),
        (0.89, AT_LEAST, Outcome.FAIL),
        (None, AT_MOST, Outcome.NO_DATA),
        (math.nan, AT_MOST, Outcome.NO_DATA),
        (math.nan, AT_LEAST, Outcome.NO_DATA),
        (math.nan, BOUND_AT_LEAST, Outcome.NO_DATA),
        (math.inf, AT_MOST, Outcome.FAIL),
        (between(0.8, 0.95, 0.99), AT_LEAST, Outcome.PASS),  # the value is judged
        (between(0.8, 0.95, 0.99), BOUND_AT_LEAST, Outcome.INCONCLUSIVE),
        (between(0.8, 0.85, 0.95), BOUND_AT_LEAST, Outcome.INCONCLUSIVE),
        (between(0.9, 0.95, 0.99), BOUND_AT_LEAST, Outcome.PASS),
        (between(0.6, 0.7, 0.89), BOUND_AT_LEAST, Outcome.FAIL),
        (between(0.5, 0.9, 1.0), BOUND_AT_MOST, Outcome.PASS),
        (between(0.5, 0.9, 1.1), BOUND_AT_MOST, Outcome.INCONCLUSIVE),
        (between(1.1, 1.2, 1.3), BOUND_AT_MOST, Outcome.FAIL),
        (between(0.5, 0.9, None), BOUND_AT_MOST, Outcome.INCONCLUSIVE),  # unbounded above
        (between(None, 0.95, None), BOUND_AT_LEAST, Outcome.INCONCLUSIVE),
        (0.95, BOUND_AT_LEAST, Outcome.PASS),  # an exact number has no bound but itself
    ],
)
def test_outcomes(estimate, limit, outcome):
    assert check(estimate, limit).outcome is outcome


def test_a_failure_names_variant_metric_value_limit_reason_and_details():
    text = check(1.5, AT_MOST).explanation
    for part in ("int4", "ttft_p95_s", "1.5 s", "at most 1 s", "because it must", "3 requests"):
        assert part in text


def test_missing_data_is_said_with_the_reason():
    assert "no data is not a pass (no trials)" in check(Estimate.missing("no trials"), AT_MOST).explanation
    assert "not a number" in check(math.nan, AT_MOST).explanation


def test_a_failing_value_never_looks_like_its_limit():
    text = check(0.9499, Limit(min=0.95, reason="because it must"), "exact_match_rate").headline
    assert "94.99 %" in text
    assert "at least 95.00 %" in text


def test_an_interval_across_the_limit_says_what_would_decide():
    limit = Limit(min=0.75, judge="bound", reason="because it must")
    text = check(between(0.5, 1.0, 1.0), limit, "exact_match_rate").explanation
    assert "inconclusive, the interval reaches across the limit" in text
    # reach 0.5, gap 0.25: twice as near wants four times as many
    assert "about 400 observations instead of 100" in text
    assert "lies on the limit" in check(between(0.8, 0.9, 0.99), BOUND_AT_LEAST, "exact_match_rate").explanation


@pytest.mark.parametrize(
    ("low", "high", "told"),
    [
        (-2.3, 29.8, True),  # it may be 10 or less
        (10.0, 29.8, True),
        (10.1, 29.8, False),  # whatever it is, it is too much
        (None, 29.8, False),  # below, nothing is known that would speak for it
    ],
)
def test_a_value_that_fails_with_an_interval_across_the_limit_says_what_would_decide(low, high, told):
    limit = Limit(max=10.0, reason="because it must")
    estimate = Estimate(value=12.5, low=low, high=high, confidence=0.95, n=40, method="a test")
    more = "40 of 147 were asked: `[length] cases = 147`"
    found = Check(variant="int4", metric="length_drop_points", estimate=estimate, limit=limit, more=more)
    assert found.outcome is Outcome.FAIL
    assert ("the interval reaches across the limit (value judged)" in found.headline) is told
    assert bool(found.what_would_decide) is told
    assert ("  decide: " in found.explanation) is told
    assert (f"; {more}" in found.explanation) is told
    if low == -2.3:  # reach 14.8, gap 2.5
        assert found.what_would_decide == "about 1,402 observations instead of 40, if the value stays"


@pytest.mark.parametrize(
    ("low", "high", "told"),
    [
        (11.0, 14.0, "12.5 pt (95 % interval 11.0 pt to 14.0 pt)"),
        (None, 14.0, "12.5 pt (with 95 % at most 14.0 pt)"),
        (11.0, None, "12.5 pt (with 95 % at least 11.0 pt)"),
    ],
)
def test_an_interval_is_told_by_the_ends_that_are_known(low, high, told):
    estimate = Estimate(value=12.5, low=low, high=high, confidence=0.95, n=8, method="a test")
    limit = Limit(max=10.0, reason="because it must")
    assert told in Check(variant="int4", metric="length_drop_points", estimate=estimate, limit=limit).headline


@pytest.mark.parametrize("value", [8.0, 10.0])
def test_a_value_that_passes_lacks_nothing(value):
    estimate = Estimate(value=value, low=1.0, high=29.8, confidence=0.95, n=40, method="a test")
    limit = Limit(max=10.0, reason="because it must")
    found = Check(variant="int4", metric="length_drop_points", estimate=estimate, limit=limit, more="more")
    assert (found.is_across, found.what_would_decide) == (False, "")


def test_what_one_cause_left_without_data_is_told_once():
    busy, other = Estimate.missing("invalid: busy"), Estimate.missing("refused")
    named = [("ttft_p95_s", busy), ("itl_p95_s", busy), ("load_s", other), ("peak_rss_bytes", 2.0)]
    text = explained([check(estimate, AT_MOST, metric) for metric, estimate in named])
    assert text.count("invalid: busy") == 1
    assert "int4: ttft_p95_s, itl_p95_s: no data is not a pass (invalid: busy)" in text
    assert "int4: load_s: no data is not a pass (refused)" in text
    assert "int4: peak_rss_bytes = " in text


def test_a_criterion_is_met_or_not():
    must = Limit(min=1.0, reason="because it must")
    assert check(1.0, must, "graph_matches_source").headline == "int4: graph_matches_source: met"
    assert check(0.0, must, "graph_matches_source").headline == "int4: graph_matches_source: NOT met"


def test_its_properties_are_flat_and_leave_out_what_is_not_there():
    found = check(between(0.5, 0.9, None), AT_MOST).properties()
    assert found["int4.ttft_p95_s.value"] == 0.9
    assert found["int4.ttft_p95_s.unit"] == "s"
    assert found["int4.ttft_p95_s.better"] == "lower"
    assert found["int4.ttft_p95_s.outcome"] == "pass"
    assert "int4.ttft_p95_s.high" not in found


def test_an_unknown_metric_is_an_error_where_it_stands():
    with pytest.raises(UnknownMetricError, match="did you mean 'kld_mean_nats'"):
        check(1.0, AT_MOST, "kld_men_nats")
