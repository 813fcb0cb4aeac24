import numpy as np
import pytest

from harness.stats.change_points import change_points

LEVELS = {
    "one step": ([1.0] * 8 + [1.1] * 8, [8]),
    "two steps": ([1.0] * 10 + [1.2] * 10 + [1.1] * 10, [10, 20]),
    "none": ([1.0] * 20, []),
    "one wild run": ([1.0, 1.01] * 6 + [9.0] + [1.0, 1.01] * 6, []),
    "too few": ([1.0, 1.0, 2.0, 2.0], []),
    "nothing": ([], []),
}


@pytest.mark.parametrize(("values", "places"), LEVELS.values(), ids=LEVELS)
def test_levels_are_found_where_they_change(values, places):
    noise = np.random.default_rng(0).normal(0, 0.01, len(values)) if "one" not in values else 0
    assert change_points(np.asarray(values) + noise) == places


def test_a_series_without_a_change_is_left_alone():
    draw = np.random.default_rng(1)
    found = [change_points(draw.standard_t(3, 20), seed=seed) for seed in range(100)]
    assert sum(map(bool, found)) <= 4  # 1 % and its scatter


def test_the_same_values_give_the_same_points():
    values = np.random.default_rng(2).normal(0, 1, 30)
    assert change_points(values) == change_points(values)
