"""Statistics of growth, worked by hand."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import theilslopes

from harness.errors import MeasureError
from harness.measure.growth import (
    EXACT,
    LeakResult,
    LeakSample,
    Resolution,
    growth_per_unit,
    judge_samples,
    samples_of,
    steady_growth,
    theil_sen_slope,
)

REQUEST = Resolution.of(EXACT, 16.0)


def samples(*in_use_bytes: int, anonymous: int | None = 4096) -> list[LeakSample]:
    return [
        LeakSample(units=16 * index, in_use_bytes=value, anonymous_bytes=anonymous)
        for index, value in enumerate(in_use_bytes)
    ]


def judged(some: list[LeakSample], method: str = EXACT) -> LeakResult:
    return judge_samples(some, path="request", resolution=Resolution.of(method, 16.0), method=method)


class TestResolution:
    def test_pages_and_coarse_readings_resolve_less(self):
        assert Resolution.of(EXACT, 16.0) == Resolution(in_use_bytes=16.0, anonymous_bytes=256.0)
        assert Resolution.of("uss", 16.0) == Resolution(in_use_bytes=1024.0, anonymous_bytes=1024.0)

    def test_a_round_is_allowed_what_its_strictest_path_is(self):
        # 16 requests may take 256 B, 20 tokens 80 B, 8 errors 128 B
        units = {"request": 16, "token": 20, "error": 8}
        found = Resolution.of_round(EXACT, {"request": 16.0, "token": 4.0, "error": 16.0}, units)
        assert (found.in_use_bytes, found.anonymous_bytes) == (80.0, 1280.0)


def test_rows_of_the_child_become_samples_of_a_path():
    found = samples_of([[0, 5000, None], [2, 6000, None]], units=8)
    assert found == [
        LeakSample(units=0, in_use_bytes=5000, anonymous_bytes=None),
        LeakSample(units=16, in_use_bytes=6000, anonymous_bytes=None),
    ]


class TestSteadyGrowth:
    def test_of_eight_segments_lies_between_second_and_third(self):
        # growths 10, 20 ... 80 per request; place (8 - 1) / 4 = 1.75: 20 + 0.75 * (30 - 20)
        memory = [5000 + 16 * 10 * sum(range(end + 1)) for end in range(9)]
        found = steady_growth(range(0, 144, 16), memory)
        assert found.value == 27.5
        # binomial ranks of the quarter at 95 %: the 6th of 8 values bounds it above, and nothing below
        assert (found.low, found.high, found.n) == (None, 60.0, 8)
        assert found.method == "lower quartile of 8 segments, order statistics"

    def test_of_one_segment_is_its_growth(self):
        found = steady_growth([0, 16], [100, 132])
        assert (found.value, found.low, found.high) == (2.0, None, None)

    def test_of_many_segments_has_two_ends(self):
        found = steady_growth(range(0, 33 * 16, 16), [5000 + 1600 * i for i in range(33)])
        assert (found.low, found.value, found.high) == (100.0, 100.0, 100.0)


class TestTheilSenSlope:
    def test_of_two_points_is_their_slope(self):
        assert theil_sen_slope([0, 16], [100, 132]) == 2.0

    def test_of_three_points_is_the_median_pairwise_slope(self):
        # slopes 10 (0-1), 2 (0-2 is 4 / 2), -6 (1-2)
        assert theil_sen_slope([0, 1, 2], [0, 10, 4]) == 2.0

    @given(st.lists(st.integers(1, 10**9), min_size=2, max_size=12))
    def test_is_scipys(self, memory):
        units = list(range(0, 16 * len(memory), 16))
        assert theil_sen_slope(units, memory) == pytest.approx(theilslopes(memory, units).slope, abs=1e-6)


class TestJudgement:
    @pytest.mark.parametrize("few", [samples(), samples(1000)])
    def test_below_two_samples_there_is_no_growth(self, few):
        with pytest.raises(MeasureError, match="at least two memory samples"):
            judged(few)

    @pytest.mark.parametrize("bad", [0, -1, math.nan])
    def test_a_sample_that_cannot_be_is_an_error(self, bad):
        with pytest.raises(MeasureError, match="after 16 units of request"):
            judged(samples(1000, bad, 1000))

    def test_growth_is_per_unit_of_its_own_segment(self):
        assert growth_per_unit([0, 16, 48], [100, 260, 420]) == [10.0, 5.0]

    def test_a_still_heap_is_healthy(self):
        result = judged(samples(*[5000] * 9))
        assert (result.leak_bytes_per_unit, result.theil_sen_bytes_per_unit) == (0.0, 0.0)
        assert result.units == 128
        assert not result.is_leaking
        assert result.is_conclusive

    def test_growth_at_the_resolution_is_healthy_and_over_it_is_a_leak(self):
        at, over = (judged(samples(*[5000 + 16 * step * i for i in range(9)])) for step in (16, 17))
        assert (at.leak_bytes_per_unit, at.is_leaking) == (16.0, False)
        assert (over.leak_bytes_per_unit, over.is_leaking) == (17.0, True)
        assert (at.estimate.value, over.estimate.value) == (16.0, 17.0)

    def test_three_steps_in_a_still_heap_are_no_leak_but_ask_for_a_longer_look(self):
        steps = judged(samples(5000, 5000, 11000, 11000, 17000, 17000, 17000, 23000, 23000))
        assert steps.leak_bytes_per_unit == 0.0
        assert steps.theil_sen_bytes_per_unit > 100
        assert not steps.is_leaking
        assert not steps.is_conclusive
        assert steps.estimate.is_missing

    def test_a_long_run_catches_what_skips_three_of_four_segments(self):
        # short segments: lower quartile 0; fourfold: 6400 B in every 64 requests
        result = judged(samples(*[5000 + 6400 * (i // 4) for i in range(33)]))
        assert result.leak_bytes_per_unit == 100.0
        assert result.is_leaking

    def test_a_long_run_sees_steady_growth_through_steps_back(self):
        # 100 B/request, and 9 KB given back in each of three fourfold segments: their lower quartile falls to
        # 100 - 9000 / 64 = -40.625, that of the 32 short segments stays at 100
        backs = [9000 * sum(i > step for step in (2, 10, 18)) for i in range(33)]
        result = judged(samples(*[90000 + 1600 * i - backs[i] for i in range(33)]))
        assert result.leak_bytes_per_unit == 100.0
        assert result.is_leaking

    def test_eight_segments_are_judged_by_short_ones_only(self):
        result = judged(samples(*[5000 + 6400 * (i // 4) for i in range(9)]))
        assert result.leak_bytes_per_unit == 0.0

    def test_a_heap_that_shrinks_a_lot_shows_nothing(self):
        result = judged(samples(*[90000 - 1600 * i for i in range(9)]))
        assert result.leak_bytes_per_unit == -100.0
        assert not result.is_leaking
        assert not result.is_conclusive

    def test_anonymous_memory_alone_can_leak(self):
        pages = [LeakSample(units=16 * i, in_use_bytes=5000, anonymous_bytes=4096 * (1 + 2 * i)) for i in range(9)]
        result = judged(pages)
        assert result.anonymous_bytes_per_unit == 512.0
        assert result.is_leaking
        assert result.estimate.value == 512.0

    def test_missing_anonymous_memory_is_none_and_not_zero(self):
        result = judged(samples(*[5000] * 9, anonymous=None), "uss")
        assert result.anonymous_bytes_per_unit is None
        assert not result.is_leaking

    def test_a_coarse_method_resolves_less(self):
        result = judged(samples(*[5000 + 16 * 1000 * i for i in range(9)]), "uss")
        assert result.limit_bytes_per_unit == 1024.0
        assert not result.is_leaking
