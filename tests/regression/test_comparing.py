"""Comparing stops when it is clear, and says undecided where it is not."""

import itertools
import math
from functools import partial

import numpy as np
import pytest

from harness.checks.check import Outcome
from harness.config.regression_limits import ratio_limits
from harness.errors import MeasureError
from harness.regression.arm import QUANTITIES, Arm, Work, observation_of
from harness.regression.comparing import compare
from harness.regression.drawing import draw, ratio_table
from harness.regression.interleaved import Interleaved
from harness.runtime.fake import FakeSession
from harness.runtime.session import Answer, TokenTimeline


class Noise:
    """Observations about given ratios."""

    def __init__(self, ratios, size, seed=0):
        self.ratios, self.size, self.draw, self.made = dict(zip(QUANTITIES, ratios, strict=True)), size, None, 0
        self.draw = np.random.default_rng(seed)

    def observe(self):
        self.made += 1
        return {name: math.log(ratio) + self.draw.normal(0, self.size) for name, ratio in self.ratios.items()}


def found(ratios, size, budget_s=30.0, one_s=1.0):
    noise, clock = Noise(ratios, size), itertools.count(step=one_s)
    comparison = compare(noise, budget_s=budget_s, clock=lambda: next(clock))
    return comparison, [check.outcome for check in comparison.checks("b", ratio_limits())]


def test_the_same_is_seen_early():
    comparison, outcomes = found((1.0, 1.0, 1.0), 0.002)
    assert outcomes == [Outcome.PASS] * 3
    assert comparison.observations < 10
    assert not comparison.is_worse


@pytest.mark.parametrize("ratios", [(1.05, 1.0, 1.0), (1.0, 1.05, 1.0), (1.03, 1.03, 1.03), (3.0, 2.0, 1.0)])
def test_a_slowdown_of_any_quantity_is_worse(ratios):
    comparison, outcomes = found(ratios, 0.003)
    assert comparison.is_worse
    assert Outcome.FAIL in outcomes


def test_faster_is_not_worse():
    assert found((0.8, 0.9, 0.7), 0.003)[1] == [Outcome.PASS] * 3


def test_noise_is_undecided_when_the_time_is_over():
    comparison, outcomes = found((1.0, 1.0, 1.0), 0.2)
    assert outcomes == [Outcome.INCONCLUSIVE] * 3
    assert comparison.measuring_s <= 33
    assert all(half > 0.05 for half in comparison.resolution.values())


@pytest.mark.parametrize(
    ("budget_s", "one_s", "observations"),
    [
        (None, 1.0, 28),  # half a minute
        (None, 10.0, 14),  # what takes long is observed as often as it needs
        (None, 60.0, 8),  # ten minutes at most
        (None, 600.0, 6),
        (30.0, 10.0, 6),  # as the user said
    ],
)
def test_slow_observations_get_more_time_unless_the_user_says_how_much(budget_s, one_s, observations):
    comparison, outcomes = found((1.0, 1.0, 1.0), 0.2, budget_s=budget_s, one_s=one_s)
    assert outcomes == [Outcome.INCONCLUSIVE] * 3
    assert comparison.observations == observations


def test_a_time_that_is_no_number_is_an_error():
    with pytest.raises(MeasureError, match="positive number"):
        found((math.nan, 1.0, 1.0), 0.0)


class Timed(FakeSession):
    """Answers whose times are given: `scale` times 10 ms to the first of four tokens, and 1 ms between them."""

    def __init__(self, scale):
        super().__init__(lambda messages: "abcd")
        self.scale = scale

    def answer(self, messages, *, max_new_tokens, min_new_tokens=0):
        token_s = tuple(self.scale * (0.010 + 0.001 * index) for index in range(4))
        timeline = TokenTimeline(start_s=0.0, token_s=token_s, prompt_tokens=3)
        return Answer(text="abcd", token_ids=(1, 2, 3, 4), finish_reason="length", timeline=timeline)


def test_a_round_asks_both_sides_equally_and_gives_everything_back(monkeypatch):
    monkeypatch.setattr("harness.regression.interleaved.ROUND_S", 0.0)
    opened = {"a": [], "b": []}

    def arm(name, scale):
        def open_session():
            opened[name].append(Timed(scale))
            return opened[name][-1]

        return Arm(name=name, open=open_session)

    work = Work(conversations=[[{"role": "user", "content": "x"}]], new_tokens=4)
    interleaved = Interleaved(baseline=arm("a", 1.0), candidate=arm("b", 1.04), work=work)
    observation = interleaved.observe()
    assert observation == pytest.approx(dict.fromkeys(QUANTITIES, math.log(1.04)))
    assert interleaved.requests % 4 == 0
    assert {name: len(sessions) for name, sessions in opened.items()} == {"a": 2, "b": 2}
    assert all(session.is_closed for sessions in opened.values() for session in sessions)


class Metered(FakeSession):
    """Answers as long as they are asked for, whose times are told and not waited for."""

    def __init__(self, ttft_s, itl_s):
        super().__init__(lambda messages: "abcd")
        self.ttft_s, self.itl_s, self.asked = ttft_s, itl_s, []

    def answer(self, messages, *, max_new_tokens, min_new_tokens=0):
        assert max_new_tokens == min_new_tokens
        self.asked.append(max_new_tokens)
        token_s = tuple(self.ttft_s + self.itl_s * index for index in range(max_new_tokens))
        timeline = TokenTimeline(start_s=0.0, token_s=token_s, prompt_tokens=3)
        ids = tuple(range(max_new_tokens))
        return Answer(text="", token_ids=ids, finish_reason="length", timeline=timeline)


@pytest.mark.parametrize(
    ("slower", "fewest", "tokens"),
    [
        ((0.002, 0.0002), 16, 64),  # nothing to gain
        ((0.100, 0.010), 16, 41),  # half a second: 100 ms, and 40 gaps of 10
        ((0.001, 0.00785), 16, 64),  # 64 tokens have 63 gaps
        ((0.300, 0.030), 16, 16),  # it takes longer all the same
        ((2.000, 0.500), 16, 16),
        ((2.000, 0.500), 64, 64),  # as the user said
    ],
)
def test_requests_of_a_slow_model_are_shorter_and_equal_on_both_sides(monkeypatch, slower, fewest, tokens):
    monkeypatch.setattr("harness.regression.interleaved.ROUND_S", 0.0)
    sessions = {"a": Metered(0.002, 0.0002), "b": Metered(*slower)}
    arms = [Arm(name=name, open=partial(sessions.get, name)) for name in sessions]
    work = Work(conversations=[[{"role": "user", "content": "x"}]], least_tokens=fewest)
    interleaved = Interleaved(baseline=arms[0], candidate=arms[1], work=work)
    observation = interleaved.observe()
    first, *rest = sessions["b"].asked
    assert first == fewest
    assert set(rest) == {tokens}
    assert sessions["a"].asked == sessions["b"].asked
    assert observation["itl_ratio"] == pytest.approx(math.log(slower[1] / 0.0002))


def test_a_pause_now_and_then_is_in_the_whole_and_not_in_the_gaps():
    steps = np.full((8, 2, 2, 16), 0.001)
    steps[:, 1, :, 1:] += np.where(np.arange(15) % 5 == 0, 0.002, 0.0)  # of the candidate, at every fifth token
    found = observation_of(steps)
    assert found["e2e_ratio"] == pytest.approx(math.log(22 / 16))
    assert found["itl_ratio"] == found["ttft_ratio"] == 0.0


def test_the_drawing_shows_value_interval_and_limit():
    comparison, _ = found((1.05, 1.0, 0.98), 0.003)
    checks = comparison.checks("b", ratio_limits())
    table = ratio_table(checks)
    assert "SLOWER" in table
    rows = [draw(check, 0.1) for check in checks]
    assert len({len(row) for row in rows}) == 1
    assert all(row.count("●") == 1 for row in rows)
    assert rows[0].index("|") < rows[0].index("●")  # beyond the limit
    assert rows[2].index("●") < len(rows[2]) // 2  # faster
