"""What observations are worth that resemble each other, and how often the intervals hold that follow."""

import numpy as np
import pytest

from harness.stats.clusters import worth
from harness.stats.paired import paired_loss
from harness.stats.proportions import proportion, proportion_of, wilson_ends
from harness.stats.sequential import Decision, MeanTest, confidence_sequence


def test_observations_that_stand_alone_are_worth_their_number():
    for clusters in (None, [None] * 8, list("abcdefgh")):
        found = proportion([True] * 6 + [False] * 2, clusters)
        assert found == proportion_of(6, 8)


def test_clusters_that_repeat_each_other_are_worth_about_one_each():
    """Residual sums 4 of 2 and one of -8: (4 * 4 + 64) * 5 / 4, over 8 * 50 / 49 of independent values: 12.25."""
    found = worth([1.0] * 10 + [0.0] * 10 + [1.0] * 30, [n // 10 for n in range(50)], confidence=0.95)
    assert found.clusters == 5
    assert found.count == pytest.approx(50 / 12.25 * (1.95996 / 2.77645) ** 2, rel=1e-4)


def test_a_design_effect_by_hand():
    """Residual sums 2/3, -1/3 and -1/3: (2/3 * 3/2) over 4/3 * 6/5 is below 1, and clusters never help."""
    values, clusters = [1, 1, 1, 0, 0, 1], [0, 0, 1, 1, 2, 2]
    found = worth(values, clusters, confidence=0.95)
    assert found.count == pytest.approx(6 * (1.95996 / 4.30265) ** 2, rel=1e-4)


def test_a_perfect_score_of_few_conversations_says_little():
    found = proportion([True] * 200, [n // 20 for n in range(200)])
    assert found.value == 1.0
    assert found.low == pytest.approx(wilson_ends(1.0, 10 * (1.95996 / 2.26216) ** 2, 0.95)[0], abs=1e-4)
    assert proportion([True] * 40, ["one"] * 40).low < 0.3
    assert paired_loss([True] * 40, [True] * 40, ["one"] * 40).high > 0.5


def test_the_method_says_what_was_done():
    found = proportion([True, False] * 10, [n // 4 for n in range(20)])
    assert found.method.startswith("Wilson score over 5 clusters, worth ")
    assert found.n == 5


def test_values_and_clusters_must_be_as_many():
    with pytest.raises(ValueError, match="2 values and 1 clusters"):
        proportion([True, False], ["a"])


@pytest.mark.parametrize(("share", "alike"), [(0.5, 0.6), (0.9, 0.2), (0.9, 1.0), (0.97, 0.6)])
def test_intervals_of_clusters_hold_as_often_as_they_say(share, alike):
    """Beta-binomial conversations of 1 to 9 questions; answers taken for independent would hold in 40 to 85 %."""
    generator = np.random.default_rng(7)
    held = []
    for _ in range(250):
        size = 1 / alike - 1
        rates = generator.beta(share * size, (1 - share) * size, 30) if size else generator.random(30) < share
        clusters = np.repeat(np.arange(30), generator.integers(1, 10, 30))
        found = proportion(list(generator.random(len(clusters)) < np.asarray(rates)[clusters]), list(clusters))
        held.append(found.low <= share <= found.high)
    assert np.mean(held) >= 0.9


def test_a_sequence_of_clusters_decides_no_earlier_than_its_clusters_allow():
    alone, together = MeanTest(limit=0.9), MeanTest(limit=0.9)
    for _ in range(20):
        for _ in range(5):
            alone.see(1.0)
        together.see_cluster([1.0] * 5, 5)
    assert (alone.count, together.count) == (100, 20)
    assert (alone.decision, together.decision) == (Decision.ABOVE, Decision.UNDECIDED)
    assert together.see_cluster([], 5) is Decision.UNDECIDED
    with pytest.raises(ValueError, match="the largest has 2"):
        together.see_cluster([1.0] * 3, 2)
    with pytest.raises(ValueError, match="does not lie between"):
        together.see_cluster([2.0], 2)


def test_a_confidence_sequence_of_clusters_is_that_of_their_means_where_all_have_one_size():
    values = [1.0, 1.0, 0.0, 0.0, 1.0, 0.0, 1.0, 1.0]
    found = confidence_sequence(values, ["a", "a", "b", "b", "c", "c", "d", "d"])
    assert found.method == "betting confidence sequence over 4 clusters"
    plain = confidence_sequence([1.0, 0.0, 0.5, 1.0])
    assert (found.value, found.low, found.high, found.n) == (0.625, plain.low, plain.high, 4)
