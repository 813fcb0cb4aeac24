"""A group-sequential test of a ratio: what it finds, and how often it is wrong, on noise as machines make it."""

import math

import numpy as np
import pytest

from harness.stats.looks import Looks
from harness.stats.ratio_test import RatioTest
from harness.stats.ratios import mean_ratio, paired_log_ratio, step_log_ratio
from harness.stats.sequential import Decision

MOST, CONFIRMING = 16, 2
TOLERANCE = 1.015


def normal(draw, count, size):
    return draw.normal(0, size, count)


def heavy_tailed(draw, count, size):
    """One observation in eight is six times as wild."""
    return draw.normal(0, size, count) * np.where(draw.random(count) < 0.125, 6, 1)


def autocorrelated(draw, count, size):
    noise = draw.normal(0, size, count)
    for index in range(1, count):
        noise[index] += 0.3 * noise[index - 1]
    return noise


def drifting(draw, count, size):
    """What is left of a drift within a pair has either sign by lot."""
    return draw.normal(0, size, count) + draw.choice([-1, 1], count) * np.linspace(0, size, count)


NOISES = [normal, heavy_tailed, autocorrelated, drifting]


def decide(noise, ratio, *, size, draw):
    test = RatioTest(limit=TOLERANCE, looks=Looks.plan(MOST, alpha=0.01 / 3, first=4, every=2))
    for log_ratio in noise(draw, MOST + CONFIRMING, size) + math.log(ratio):
        if test.see(log_ratio) is not Decision.UNDECIDED:
            break
        if len(test.log_ratios) >= MOST and not test.is_confirming:
            break
    return test.decision


def rates(noise, ratio, *, size=0.006, runs=120, seed=0):
    draw = np.random.default_rng(seed)
    found = [decide(noise, ratio, size=size, draw=draw) for _ in range(runs)]
    return {decision: found.count(decision) / runs for decision in Decision}


@pytest.mark.parametrize("noise", NOISES, ids=lambda noise: noise.__name__)
def test_the_same_is_never_called_worse(noise):
    assert rates(noise, 1.0)[Decision.ABOVE] <= 0.01


@pytest.mark.parametrize("noise", NOISES, ids=lambda noise: noise.__name__)
def test_three_and_five_per_cent_are_found(noise):
    assert rates(noise, 1.05)[Decision.ABOVE] >= 0.95
    assert rates(noise, 1.03)[Decision.ABOVE] >= 0.80


@pytest.mark.parametrize("noise", NOISES, ids=lambda noise: noise.__name__)
def test_on_the_limit_an_alarm_is_as_rare_as_it_says(noise):
    assert rates(noise, TOLERANCE, size=0.02)[Decision.ABOVE] <= 0.02


def test_wild_noise_ends_undecided_and_not_green():
    assert rates(heavy_tailed, 1.03, size=0.05)[Decision.BELOW] <= 0.01


def test_an_alarm_that_is_not_repeated_is_none():
    test = RatioTest(limit=TOLERANCE, looks=Looks.plan(8, alpha=0.01, first=4, every=2))
    for log_ratio in (0.050, 0.051, 0.049, 0.050):
        assert test.see(log_ratio) is Decision.UNDECIDED
    assert test.is_confirming
    for log_ratio in (0.0, 0.0):
        assert test.see(log_ratio) is Decision.UNDECIDED
    assert not test.is_confirming
    assert test.estimate.low is None or test.estimate.low <= TOLERANCE


def test_an_alarm_that_is_repeated_stands():
    test = RatioTest(limit=TOLERANCE, looks=Looks.plan(8, alpha=0.01, first=4, every=2))
    found = [test.see(log_ratio) for log_ratio in (0.050, 0.051, 0.049, 0.050, 0.050, 0.049)]
    assert found == [Decision.UNDECIDED] * 5 + [Decision.ABOVE]
    assert test.estimate.low > TOLERANCE


@pytest.mark.parametrize("ratio", [1.0, 1.04])
def test_the_interval_that_is_told_lies_where_the_decision_says(ratio):
    draw, decided = np.random.default_rng(0), 0
    for _ in range(400):
        test = RatioTest(limit=TOLERANCE, looks=Looks.plan(MOST, alpha=0.01 / 3, first=4, every=2))
        for log_ratio in draw.normal(math.log(ratio), 0.006, MOST + CONFIRMING):
            test.see(log_ratio)
        decided += test.decision is not Decision.UNDECIDED
        assert test.decision is not Decision.BELOW or test.estimate.high <= TOLERANCE
        assert test.decision is not Decision.ABOVE or test.estimate.low > TOLERANCE
    assert decided > 200


def test_what_is_decided_is_told_by_what_it_was_decided_on():
    test = RatioTest(limit=TOLERANCE, looks=Looks.plan(8, alpha=0.01, first=4, every=2))
    for log_ratio in (0.001, -0.001, 0.000, 0.001):
        test.see(log_ratio)
    assert test.decision is Decision.BELOW
    before = test.estimate
    for log_ratio in (0.03, -0.01):  # others are still being decided; alone, these would open the interval again
        test.see(log_ratio)
    assert test.estimate == before
    assert test.estimate.high <= TOLERANCE
    assert len(test.log_ratios) == 6


def test_the_looks_spend_no_more_than_there_is():
    looks = Looks.plan(16, alpha=0.01, first=4, every=2)
    assert looks.counts == (4, 6, 8, 10, 12, 14, 16)
    levels = [looks.level(count) for count in looks.counts]
    assert sum(levels) == pytest.approx(0.01)
    assert min(levels) > 0
    assert looks.confidence(16) == pytest.approx(1 - 2 * levels[-1])
    assert Looks.plan(3, alpha=0.1, first=4).counts == (3,)


@pytest.mark.parametrize(("counts", "alpha"), [((), 0.1), ((4, 4), 0.1), ((4, 3), 0.1), ((4,), 0.0), ((4,), 1.0)])
def test_a_plan_that_says_nothing_is_refused(counts, alpha):
    with pytest.raises(ValueError, match=r"looks|alpha"):
        Looks(counts=counts, alpha=alpha)


def test_a_paired_ratio_by_hand():
    baseline = np.array([1.0, 2.0, 4.0])
    candidate = np.array([2.0, 2.0, 16.0])  # twice, once, four times; the means of any two: 0 .5 1 1 1.5 2 in octaves
    assert paired_log_ratio(baseline, candidate) == pytest.approx(math.log(2))
    assert paired_log_ratio(baseline[:2], candidate[:2]) == pytest.approx(math.log(2) / 2)
    with pytest.raises(ValueError, match="no pair"):
        paired_log_ratio(baseline[:0], candidate[:0])


def test_a_stall_moves_a_paired_ratio_little():
    pairs = np.random.default_rng(0).normal(0, 0.01, 16)
    stalled = pairs.copy()
    stalled[3] += 5.0
    ones = np.ones(16)
    assert abs(paired_log_ratio(ones, np.exp(stalled)) - paired_log_ratio(ones, np.exp(pairs))) < 0.005


def test_steps_are_compared_one_by_one_and_by_the_fastest_repeat():
    baseline = np.array([[[1.0, 8.0, 3.0], [9.0, 2.0, 3.0]]])  # 1, 2 and 3, each disturbed once or not at all
    assert step_log_ratio(baseline, 1.1 * baseline[:, ::-1]) == pytest.approx(math.log(1.1))
    with pytest.raises(ValueError, match="no step"):
        step_log_ratio(baseline[:0], baseline[:0])


def test_the_mean_ratio_of_none_one_and_two():
    assert mean_ratio([]).is_missing
    one = mean_ratio([math.log(2)])
    assert one.value == pytest.approx(2)
    assert (one.low, one.high) == (None, None)
    two = mean_ratio([math.log(2), math.log(8)], confidence=0.5)  # Student's t of one degree is 1 at 75 %
    assert (two.low, two.value, two.high) == pytest.approx((2, 4, 8))
    assert math.isnan(mean_ratio([math.nan, 1.0]).value)
    assert math.isnan(mean_ratio([math.nan, *[1.0] * 15]).value)


def test_from_eight_on_the_extremes_are_left_out():
    calm = [0.0, 0.01, -0.01, 0.0, 0.01, -0.01, 0.0]
    wild = mean_ratio([*calm, 5.0])
    assert wild.value == pytest.approx(math.exp(0.01 / 6))  # without 5 and -0.01
    assert wild.high < 1.05
    assert wild.n == 8
