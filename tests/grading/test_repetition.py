"""What a text repeats to its end, found by one pass and by trying."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.grading.repetition import repeated_end

ENDLESS = {
    "a sentence": ("Clean the filter. " * 6, "Clean the filter."),
    "behind an answer": ('{"part": "filter"}' + "\nAnd so on." * 8, "And so on.\n"),
    "cut within": ("the pump, the pump, the pump, the pump, the pump, the pu", "the pump, "),
    "one character": ("no" + "!" * 30, "!"),
    "lines that count nothing": ("- item\n" * 5, "- item"),
    "another script": ("清洁过滤器。" * 5, "清洁过滤器。"),
    "a list": ("[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0", "0, "),
}

HEALTHY = ["", "filter", "1000000", "no no no", "Replace the filter, then the pump, then the hose, then the valve.",
           "| a | b |\n|---|---|\n| 1 | 2 |\n| 3 | 4 |", "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13",
           "ha ha ha ha, very funny, I will not say that again"]  # fmt: skip


@pytest.mark.parametrize("name", ENDLESS)
def test_what_is_said_over_and_over_is_found(name):
    text, unit = ENDLESS[name]
    found = repeated_end(text)
    assert found is not None
    assert sorted(found.strip()) == sorted(unit.strip()) or found.strip() in text
    assert len(found) <= len(unit) + 1


@pytest.mark.parametrize("text", HEALTHY)
def test_an_answer_that_goes_on_is_no_repetition(text):
    assert repeated_end(text) is None


@given(st.text(alphabet="ab ", max_size=60))
def test_it_is_what_trying_every_length_finds(text):
    stripped = text.rstrip()

    def repeats(period):
        span = next(
            (n for n in range(len(stripped) - period) if stripped[-1 - n] != stripped[-1 - n - period]),
            len(stripped) - period,
        )
        return period + span >= max(4 * period, 24)

    tried = next((period for period in range(1, len(stripped) // 4 + 1) if repeats(period)), None)
    found = repeated_end(text)
    assert (None if found is None else len(found)) == tried
