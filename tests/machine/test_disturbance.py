"""A machine that was stolen, loaded or throttled is told apart from one that was left alone."""

import itertools

import pytest

from harness.machine.disturbance import Cause, MachineWatch, disturbances
from harness.machine.readings import Reading, pace_s, read_machine, weaker_here

BEFORE = {
    "at_s": 100.0, "own_s": 10.0, "cpus": 2, "busy_s": 500.0, "stolen_s": 3.0, "waited_s": 1.0, "stalled_s": 40.0,
    "quota_s": 0.0, "heat_s": 0.0, "clock_ratio": 1.2,
}  # fmt: skip
QUIET = {
    "at_s": 110.0, "own_s": 28.0, "cpus": 2, "busy_s": 518.4, "stolen_s": 3.01, "waited_s": 1.3, "stalled_s": 41.0,
    "quota_s": 0.0, "heat_s": 0.0, "clock_ratio": 1.1,
}  # fmt: skip
STEADY = [1.0, 1.02, 0.99, 1.0, 1.01, 1.0, 1.03, 1.0, 0.98, 1.0, 1.0, 1.01]


def found(paces=STEADY, **after):
    return disturbances(Reading(**BEFORE), Reading(**{**QUIET, **after}), paces)


def test_a_quiet_machine_is_left_alone():
    assert found() == ()


@pytest.mark.parametrize(
    ("after", "cause", "words"),
    [
        ({"stolen_s": 5.0}, Cause.STOLEN, "a hypervisor took 10 % of".replace(" %", "%")),
        ({"waited_s": 13.0}, Cause.LOADED, "the process waited 40% of its running time"),
        ({"busy_s": 523.0}, Cause.LOADED, "other programs used 25% of all processors"),
        (
            {"stalled_s": 48.0},
            Cause.LOADED,
            "programs waited for a processor for 80% of the time, others or the gate's own",
        ),
        ({"quota_s": 3.0}, Cause.THROTTLED, "a CPU quota stopped the process for 15%"),
        ({"heat_s": 2.0}, Cause.THROTTLED, "slowed down for its heat for 20%"),
        ({"clock_ratio": 0.5}, Cause.THROTTLED, "ran at 50% of its nominal clock rate"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_each_disturbance_is_named_with_its_size(after, cause, words):
    (one,) = found(**after)
    assert one.cause is cause
    assert words in str(one)


@pytest.mark.parametrize("name", ["busy_s", "stolen_s", "waited_s", "stalled_s", "quota_s", "heat_s", "clock_ratio"])
def test_what_a_system_does_not_tell_is_no_disturbance(name):
    assert disturbances(Reading(**{**BEFORE, name: None}), Reading(**{**QUIET, name: None}), STEADY) == ()


def test_a_processor_that_is_throttled_in_mid_run_shows_in_its_pace():
    (one,) = found([1.0] * 8 + [1.6] * 8)
    assert one.cause is Cause.THROTTLED
    assert one.share == pytest.approx(0.6)
    assert "the same work took 60% longer from" in str(one)


@pytest.mark.parametrize(
    "paces",
    [[], [1.0], [1.0, 2.0], STEADY, [1.0] * 6 + [3.0] + [1.0] * 6, [1.0, 1.1] * 6],
    ids=["none", "one", "two", "steady", "one interruption", "small waves"],
)
def test_a_pace_that_holds_is_no_throttling(paces):
    assert found(paces) == ()


def test_shares_of_a_moment_mean_nothing():
    moment = {**QUIET, "at_s": 100.1, "own_s": 10.1, "busy_s": 500.2, "stolen_s": 3.1, "waited_s": 2.0}
    assert disturbances(Reading(**BEFORE), Reading(**moment), []) == ()


def test_a_watch_reads_before_and_after_and_paces_in_between():
    readings = iter([Reading(**BEFORE), Reading(**{**QUIET, "stolen_s": 9.0})])
    paces = itertools.chain([1.0] * 5, itertools.repeat(2.0))
    with MachineWatch(read=lambda: next(readings), pace=lambda: next(paces)) as watch:
        assert watch.found == ()
        for _ in range(10):
            watch.beat()
    assert {one.cause for one in watch.found} == {Cause.STOLEN, Cause.THROTTLED}


def test_a_short_measurement_is_watched_until_counters_mean_something():
    moments = [{"at_s": at, "own_s": at, "waited_s": 3 * at} for at in (0.0, 0.05, 0.1, 0.2, 0.3)]
    readings, paces = iter([Reading(cpus=2, **one) for one in moments]), iter([1.0] * 3)
    with MachineWatch(read=lambda: next(readings), pace=lambda: next(paces)) as watch:
        pass
    (one,) = watch.found
    assert one.cause is Cause.LOADED
    assert "waited 75%" in str(one)
    assert next(paces, None) is None


def test_this_machine_is_read():
    before, pace, after = read_machine(), pace_s(), read_machine()
    assert pace > 0
    assert after.at_s > before.at_s
    assert after.own_s >= before.own_s > 0
    assert before.cpus >= 1
    assert isinstance(weaker_here(), str)
