import numpy as np
import pytest

from harness.stats.sequential import Decision, MeanTest, confidence_sequence

LOSS = {"limit": 0.03, "low": -1.0, "high": 1.0}
"""Three points of paired loss: a case is lost (1), won (-1) or the same (0)."""


def cases_until_decided(rates, generator, most=356, **test):
    """(decision, cases) for losses and wins at the given rates."""
    found = MeanTest(**test)
    for draw in generator.random(most):
        value = 1.0 if draw < rates[0] else -1.0 if draw < sum(rates) else 0.0
        if found.see(value) is not Decision.UNDECIDED:
            break
    return found.decision, found.count


def test_at_the_limit_it_passes_falsely_at_most_as_often_as_it_says():
    generator = np.random.default_rng(0)
    false = [cases_until_decided((0.04, 0.01), generator, **LOSS)[0] is Decision.BELOW for _ in range(600)]
    assert np.mean(false) <= 0.05


def drawn(lost, won, generator, most=284):
    """(decision, values) of a population in random order, of which so many are lost and won."""
    values = np.zeros(most)
    values[:lost], values[lost : lost + won] = 1.0, -1.0
    found = MeanTest(population=most, **LOSS)
    for value in generator.permutation(values):
        if found.see(float(value)) is not Decision.UNDECIDED:
            break
    return found.decision, found.count


@pytest.mark.parametrize(
    ("lost", "won", "wrong"),
    [(9, 0, Decision.BELOW), (14, 5, Decision.BELOW), (8, 0, Decision.ABOVE), (13, 5, Decision.ABOVE)],
)
def test_of_a_known_number_it_is_wrong_at_most_as_often_as_it_says(lost, won, wrong):
    generator = np.random.default_rng(3)
    false = [drawn(lost, won, generator)[0] is wrong for _ in range(600)]  # 8.52 of 284 are three points
    assert np.mean(false) <= 0.05


@pytest.mark.parametrize(
    ("lost", "decision", "most"),
    [(142, Decision.ABOVE, 20), (57, Decision.ABOVE, 60), (0, Decision.BELOW, 120), (2, Decision.BELOW, 200)],
)
def test_of_a_known_number_it_is_decided_sooner(lost, decision, most):
    generator = np.random.default_rng(4)
    found = [drawn(lost, 0, generator) for _ in range(100)]
    assert np.mean([one is decision for one, _ in found]) >= 0.9
    assert np.median([count for _, count in found]) <= most


def test_what_the_rest_cannot_change_is_decided():
    test = MeanTest(limit=0.5, population=10, alpha=1e-9)
    assert [test.see(1.0) for _ in range(6)][-2:] == [Decision.UNDECIDED, Decision.ABOVE]
    test = MeanTest(limit=0.5, population=10, alpha=1e-9)
    assert [test.see(0.0) for _ in range(6)][-2:] == [Decision.UNDECIDED, Decision.BELOW]


@pytest.mark.parametrize(
    ("rates", "decision", "most"),
    [
        ((0.5, 0.0), Decision.ABOVE, 20),  # a broken variant
        ((0.2, 0.0), Decision.ABOVE, 60),
        ((0.0, 0.0), Decision.BELOW, 170),  # a healthy one
        ((0.005, 0.005), Decision.BELOW, 220),
    ],
)
def test_the_median_number_of_cases_until_it_is_decided(rates, decision, most):
    generator = np.random.default_rng(1)
    found = [cases_until_decided(rates, generator, **LOSS) for _ in range(100)]
    assert np.mean([one is decision for one, _ in found]) >= 0.9
    assert np.median([count for _, count in found]) <= most


def test_a_rate_is_decided_against_its_limit():
    test = MeanTest(limit=0.95)
    for _ in range(20):
        test.see(0.0)
    assert test.decision is Decision.BELOW
    test = MeanTest(limit=0.95)
    decided = [test.see(1.0) for _ in range(100)]
    assert decided[-1] is Decision.ABOVE
    assert decided.index(Decision.ABOVE) > 50  # nineteen of twenty may still be the truth for long


def test_a_decision_stays():
    test = MeanTest(limit=0.5)
    for _ in range(30):
        test.see(0.0)
    for _ in range(300):
        test.see(1.0)
    assert test.decision is Decision.BELOW


@pytest.mark.parametrize("mean", [0.02, 0.5, 0.97])
def test_a_confidence_sequence_holds_at_every_look(mean):
    generator = np.random.default_rng(2)
    missed = 0
    for _ in range(25):
        values = (generator.random(120) < mean).astype(float)
        looks = [confidence_sequence(list(values[:n])) for n in (5, 20, 60, 120)]
        missed += any(not look.low <= mean <= look.high for look in looks)
    assert missed <= 3
    assert looks[-1].high - looks[-1].low < looks[0].high - looks[0].low


def test_bad_bounds_are_told():
    with pytest.raises(ValueError, match="does not lie between"):
        MeanTest(limit=1.0)
    with pytest.raises(ValueError, match="does not lie between"):
        MeanTest(limit=0.5).see(1.5)
    assert confidence_sequence([]).is_missing
