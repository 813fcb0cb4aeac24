"""Stop strings, seeds and temperature: each promise kept once and broken once."""

from __future__ import annotations

import pytest

from harness.errors import MeasureError
from harness.pack.load import load_pack
from harness.serving.request_options import measure_request_options, seed_difference, stop_difference
from tests.serving.clients import QUESTION, Client


@pytest.mark.parametrize(
    ("broken", "is_told"),
    [("", False), ("stop", True), ("keeps the stop string", True), ("finish", True), ("greedy", False)],
)
def test_a_stop_string_that_does_not_stop_is_told(broken: str, is_told: bool) -> None:
    difference = stop_difference(Client(broken), QUESTION, max_new_tokens=8)
    assert ("with the stop string 'is'" in str(difference)) is is_told


def test_an_answer_without_a_middle_shows_nothing_about_stop_strings() -> None:
    with pytest.raises(MeasureError, match="answer of 2 characters"):
        stop_difference(Client(text="ok"), QUESTION, max_new_tokens=8)


@pytest.mark.parametrize(
    ("broken", "told"),
    [("", None), ("seed", "temperature 1.5, seeds (7, 7)"), ("greedy", "temperature 0.0, seeds (7, 8)")],
)
def test_a_seed_that_repeats_nothing_or_moves_a_greedy_answer_is_told(broken: str, told: str | None) -> None:
    difference = seed_difference(Client(broken), QUESTION, max_new_tokens=8)
    assert difference is None if told is None else str(difference).startswith(told)


@pytest.mark.parametrize(
    ("broken", "told"), [("", ""), ("stop", "over HTTP, with the stop"), ("seed", "over HTTP, temp")]
)
def test_whatever_is_not_obeyed_is_told(pack_folder, broken: str, told: str) -> None:
    found = measure_request_options(Client(broken), load_pack(pack_folder)).measurement
    assert found.estimate("request_options_obeyed").value == float(not told)
    assert found.details.get("request_options_obeyed", "").startswith(told)
