import numpy as np
import pytest

from harness.stats.steady import pettitt, steadiness

RNG = np.random.default_rng(7)
NOISE = 1 + 0.05 * RNG.standard_normal(40)


def test_a_change_point_by_hand():
    # ranks 1 2 3 | 4 5 6: every one of the nine pairs across the split rises
    split, chance = pettitt(np.array([1.0, 2, 3, 4, 5, 6]))
    assert split == 3
    assert chance == pytest.approx(2 * np.exp(-6 * 81 / (216 + 36)))


@pytest.mark.parametrize(
    ("series", "ratio"),
    [
        ([*NOISE[:20], *(1.5 * NOISE[20:])], 1.5),  # throttled half way
        ([*(1.3 * NOISE[:20]), *NOISE[20:]], 1 / 1.3),  # still warming up
        (NOISE * np.linspace(1, 1.6, 40), 1.3),  # ever slower
    ],
    ids=["step", "warm-up", "ramp"],
)
def test_a_level_that_moves_is_found_and_its_size_told(series, ratio):
    found = steadiness(list(series))
    assert not found.is_steady
    assert found.ratio == pytest.approx(ratio, rel=0.1)
    assert "times those before" in found.sentence


@pytest.mark.parametrize(
    "series",
    [NOISE, np.ones(30), [1.0] * 29 + [9.0], [9.0] + [1.0] * 29, np.where(np.arange(40) % 5 == 0, 3.0, 1.0)],
    ids=["noise", "equal", "one slow request", "a slow first request", "slow ones in between"],
)
def test_what_is_steady_stays_so(series):
    found = steadiness(list(series))
    assert (found.is_steady, found.sentence) == (True, "")


def test_noise_rarely_looks_like_a_shift():
    series = 1 + 0.05 * RNG.standard_normal((300, 40))
    assert sum(not steadiness(list(one)).is_steady for one in series) <= 1


@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_few_values_do_not_tell(count):
    found = steadiness([1.0] * count)
    assert not found.is_steady
    assert "too few" in found.sentence
