"""Progress tells what is done and how long the rest takes, and not too often."""

import threading

import pytest

from harness.system.progress import (
    BETWEEN_LOGGED_STEPS_S,
    SILENT,
    LabelledProgress,
    LineProgress,
    TappedProgress,
    time_left,
)


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self):
        self.now_s = 0.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def lines():
    return []


@pytest.fixture
def progress(clock, lines):
    return LineProgress(lines.append, clock=clock)


def test_a_line_is_shown_at_once(progress, lines):
    progress.line("reading the model")
    progress.line("converting")
    assert lines == ["reading the model", "converting"]


def test_a_step_tells_how_long_is_left_by_the_rate_so_far(progress, lines, clock):
    step = progress.step("int4: questions")
    clock.now_s = 20.0
    step(120, 360)
    assert lines == ["int4: questions 120/360, about 40 s left"]


def test_steps_are_shown_every_two_seconds_at_most(progress, lines, clock):
    step = progress.step("int4: questions")
    for done in range(1, 81):
        clock.now_s += 0.125
        step(done, 80)
    assert [line.split(",")[0] for line in lines] == [f"int4: questions {done}/80" for done in (16, 32, 48, 64, 80)]


def test_a_line_in_between_counts_as_shown(progress, lines, clock):
    step = progress.step("questions")
    clock.now_s = 1.9
    progress.line("int8: converting")
    clock.now_s = 3.8
    step(1, 2)
    assert lines == ["int8: converting"]
    clock.now_s = 3.9
    step(1, 2)
    assert lines[1:] == ["questions 1/2, about 4 s left"]


@pytest.mark.parametrize(
    ("done", "total", "elapsed_s", "told"),
    [
        (0, 10, 5.0, ""),
        (10, 10, 5.0, ""),
        (11, 10, 5.0, ""),
        (0, 0, 5.0, ""),
        (1, 2, 0.001, ", about 1 s left"),
        (1, 2, 89.4, ", about 89 s left"),
        (1, 3, 60.0, ", about 2 min left"),
        (1, 101, 108.0, ", about 3.0 h left"),
    ],
)
def test_the_time_that_is_left(done, total, elapsed_s, told):
    assert time_left(done, total, elapsed_s) == told


def test_a_tap_hears_lines_before_they_are_shown(progress, lines):
    seen = []
    tapped = TappedProgress(progress, lambda: seen.append(len(lines)))
    tapped.line("one")
    tapped.step("work")(1, 2)
    assert (seen, lines) == ([0], ["one"])


def test_without_a_listener_nothing_happens():
    SILENT.line("unheard")
    SILENT.step("unheard")(1, 2)


def test_threads_do_not_interrupt_each_others_lines():
    inside, overlaps = [], []

    def write(text):
        inside.append(text)
        overlaps.append(len(inside))
        inside.pop()

    progress = LineProgress(write)

    def tell():
        for _ in range(200):
            progress.line("x")

    threads = [threading.Thread(target=tell) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert overlaps == [1] * 800


def test_a_label_stands_in_front_of_lines_and_steps(progress, lines, clock):
    labelled = LabelledProgress(progress, "int8")
    labelled.line("converting")
    step = labelled.step("questions")
    clock.now_s = 10.0
    step(1, 2)
    assert lines == ["int8: converting", "int8: questions 1/2, about 10 s left"]


def test_steps_go_onto_the_live_line_and_lines_stay(lines, clock):
    live = []
    progress = LineProgress(lines.append, rewrite=live.append, clock=clock)
    step = progress.step("questions")
    clock.now_s = 10.0
    step(1, 4)
    progress.line("int8: converting")
    assert (live, lines) == (["questions 1/4, about 30 s left"], ["int8: converting"])


def test_a_log_gets_a_line_a_minute(lines, clock):
    step = LineProgress(lines.append, between_s=BETWEEN_LOGGED_STEPS_S, clock=clock).step("questions")
    for done in range(1, 301):
        clock.now_s += 1.0
        step(done, 300)
    assert [line.split(",")[0] for line in lines] == [f"questions {done}/300" for done in (60, 120, 180, 240, 300)]
