import pytest

from harness.metrics.catalogue import METRICS, Better, UnknownMetricError, metric_named
from harness.metrics.measurement import Measurement, criterion
from harness.metrics.units import Unit
from harness.stats.estimate import Estimate

SUFFIXES = {
    Unit.SECONDS: ("_s", "_seconds_per_token"),
    Unit.BYTES: ("_bytes",),
    Unit.BYTES_PER_REQUEST: ("_bytes_per_request",),
    Unit.BYTES_PER_TOKEN: ("_bytes_per_token",),
    Unit.BYTES_PER_SESSION: ("_bytes_per_session",),
    Unit.BYTES_PER_STREAM: ("_bytes_per_stream",),
    Unit.BYTES_PER_ERROR: ("_bytes_per_error",),
    Unit.BYTES_PER_LOAD: ("_bytes_per_load",),
    Unit.PER_SECOND: ("_per_second",),
    Unit.NATS: ("_nats",),
    Unit.SHARE: ("_rate", "_agreement", "_share"),
    Unit.POINTS: ("_points",),
}


@pytest.mark.parametrize("metric", METRICS.values(), ids=lambda metric: metric.name)
def test_a_name_ends_in_its_unit_and_a_parent_is_there(metric):
    if metric.unit in SUFFIXES:
        assert metric.name.endswith(SUFFIXES[metric.unit])
    assert metric.parent is None or metric.parent in set(METRICS) - {metric.name}
    assert metric.meaning
    assert metric.estimator


@pytest.mark.parametrize(
    ("name", "better"),
    [
        ("exact_match_rate", Better.HIGHER),
        ("top1_agreement", Better.HIGHER),
        ("decode_tokens_per_second", Better.HIGHER),
        ("graph_matches_source", Better.HIGHER),
        ("exact_match_loss_points", Better.LOWER),
        ("kld_mean_nats", Better.LOWER),
        ("ttft_p95_s", Better.LOWER),
        ("peak_rss_bytes", Better.LOWER),
        ("perplexity_ratio", Better.LOWER),
    ],
)
def test_each_metric_knows_which_way_is_better(name, better):
    assert metric_named(name).better is better


def test_an_unknown_name_is_an_error_wherever_it_stands():
    with pytest.raises(UnknownMetricError, match="did you mean 'kld_mean_nats'"):
        metric_named("kld_men_nats")
    with pytest.raises(UnknownMetricError):
        Measurement(estimates={"kld_men_nats": Estimate.exact(1.0)})
    with pytest.raises(UnknownMetricError):
        Measurement(estimates={}, details={"kld_men_nats": "x"})
    with pytest.raises(UnknownMetricError):
        Measurement(estimates={}).estimate("kld_men_nats")


def test_what_was_not_measured_is_missing_and_never_zero():
    assert Measurement(estimates={}).estimate("kld_mean_nats").is_missing


def test_a_criterion_is_one_or_zero_with_its_details():
    met = criterion("graph_matches_source", is_met=False, details="another theta")
    assert met.estimate("graph_matches_source").value == 0.0
    assert met.details == {"graph_matches_source": "another theta"}
