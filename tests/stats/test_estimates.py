"""Numbers worked by hand or taken from the methods' papers."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.stats.estimate import Estimate
from harness.stats.means import clustered_mean, mean
from harness.stats.paired import paired_loss
from harness.stats.proportions import proportion, proportion_of
from harness.stats.quantiles import clustered_quantile, percentile, quantile


def test_an_interval_must_hold_its_value():
    with pytest.raises(ValueError, match="must hold its value"):
        Estimate(value=1.0, low=2.0, high=3.0, confidence=0.95)
    assert Estimate(value=1.0, low=None, high=3.0, confidence=0.95).has_interval
    assert not Estimate.exact(1.0).has_interval
    assert Estimate.exact(math.nan).is_missing
    assert Estimate.missing("why").method == "why"


def test_a_falling_function_turns_the_interval_round():
    estimate = Estimate(value=0.5, low=0.25, high=None, confidence=0.95, n=3)
    turned = estimate.map(lambda value: 1 / value)
    assert (turned.low, turned.value, turned.high) == (None, 2.0, 4.0)
    assert estimate.map(lambda value: 100 * value).low == 25.0
    assert Estimate.missing().map(lambda value: 1 / value).is_missing


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        (8, 10, 0.4902, 0.9433),
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilsons_interval(successes, trials, low, high):
    """The last four are of R. G. Newcombe, Statistics in Medicine 17, 1998, p. 861, table I, method 3."""
    found = proportion_of(successes, trials)
    assert (round(found.low, 4), round(found.high, 4)) == (low, high)
    assert found.value == successes / trials
    assert found.n == trials


def test_no_trial_is_no_share():
    assert proportion([]).is_missing
    assert proportion([True]).value == 1.0
    assert proportion([True]).high == 1.0


def test_a_mean_of_independent_values():
    """2, 4, 6: mean 4, standard error 2 / sqrt(3), t(0.975, 2) = 4.3027."""
    found = mean([2.0, 4.0, 6.0])
    assert found.value == 4.0
    assert found.high - 4.0 == pytest.approx(4.3027 * 2 / math.sqrt(3), rel=1e-4)
    assert found.n == 3


@pytest.mark.parametrize("values", [[], [1.0]])
def test_a_mean_of_too_few_values_has_no_bounds(values):
    found = mean(values)
    assert (found.low, found.high) == (None, None)
    assert found.is_missing == (not values)


def test_clusters_that_repeat_each_other_count_once():
    values = np.array([1.0, 2.0, 3.0, 4.0])
    alone = clustered_mean(values, np.arange(4))
    repeated = clustered_mean(np.repeat(values, 5), np.repeat(np.arange(4), 5))
    assert repeated.value == alone.value
    assert repeated.high == pytest.approx(alone.high)
    assert repeated.n == 4


def test_the_order_statistics_of_a_median():
    """Of 20 values the ranks 6 and 15 bound the median at 95.86 % (W. J. Conover, table A3)."""
    found = quantile([float(value) for value in range(1, 21)], 50)
    assert (found.low, found.value, found.high) == (6.0, 10.5, 15.0)


def test_too_few_values_leave_the_end_of_a_tail_open():
    found = quantile([float(value) for value in range(1, 21)], 95)
    assert found.high is None
    assert found.low is not None
    assert quantile([float(value) for value in range(1, 201)], 95).high is not None
    assert quantile([], 50).is_missing
    assert percentile([], 50) is None


@pytest.mark.parametrize(
    ("values", "percent", "expected"), [([], 50, None), ([3], 95, 3), ([1, 2], 50, 1.5), ([1, 2, 3], 95, 2.9)]
)
def test_percentiles_interpolate_linearly(values, percent, expected):
    assert percentile(values, percent) == (None if expected is None else pytest.approx(expected))


def test_a_quantiles_interval_covers_as_often_as_it_says():
    generator = np.random.default_rng(0)
    covered = [
        found.low <= math.log(2) <= found.high
        for found in (quantile(list(generator.exponential(size=50)), 50) for _ in range(400))
    ]
    assert 0.92 <= sum(covered) / len(covered) <= 1.0


def test_a_clustered_quantile_is_wider_than_its_positions_pretend():
    generator = np.random.default_rng(1)
    values, clusters = np.repeat(generator.normal(size=20), 50), np.repeat(np.arange(20), 50)
    found, plain = clustered_quantile(values, clusters, 90), quantile(list(values), 90)
    assert found.high - found.low > plain.high - plain.low
    assert found == clustered_quantile(values, clusters, 90)
    assert clustered_quantile(values[:50], clusters[:50], 90).low is None


def pairs(both, lost, won, neither):
    before = [True] * (both + lost) + [False] * (won + neither)
    after = [True] * both + [False] * lost + [True] * won + [False] * neither
    return before, after


@pytest.mark.parametrize(
    ("table", "value", "low", "high"),
    [
        ((36, 12, 2, 0), 0.2, 0.0569, 0.3404),
        ((36, 14, 0, 0), 0.28, 0.1528, 0.4167),
    ],
)
def test_newcombes_interval_for_pairs(table, value, low, high):
    """Rows of R. G. Newcombe, Statistics in Medicine 17, 1998, p. 2635, table III, method 10."""
    found = paired_loss(*pairs(*table))
    assert found.value == pytest.approx(value, abs=1e-4)
    assert (found.low, found.high) == (pytest.approx(low, abs=6e-3), pytest.approx(high, abs=6e-3))


def test_pairs_must_be_pairs():
    assert paired_loss([], []).is_missing
    with pytest.raises(ValueError, match="zip"):
        paired_loss([True], [True, False])


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
@settings(max_examples=60, deadline=None)
def test_losing_and_winning_are_mirror_images(table):
    before, after = [one for one, _ in table], [other for _, other in table]
    loss, gain = paired_loss(before, after), paired_loss(after, before)
    assert loss.value == -gain.value
    assert loss.low == pytest.approx(-gain.high)
    assert -1 <= loss.low <= loss.value <= loss.high <= 1
