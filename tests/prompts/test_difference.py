"""The sentence about the first difference between two prompts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.prompts.difference import template_differences

PROMPT = "<|im_start|>user\nWhat is E4?<|im_end|>\n<|im_start|>assistant\n"


def test_equal_prompts_have_none() -> None:
    assert template_differences(PROMPT, PROMPT) is None


@pytest.mark.parametrize(
    ("actual", "sentence"),
    [
        (PROMPT[:-1], "the assistant turn opens without its newline"),
        (PROMPT + "\n", "the assistant turn opens with a further newline"),
        (PROMPT.removesuffix("<|im_start|>assistant\n"), "the assistant turn is not opened"),
        (PROMPT.replace("<|im_end|>\n", "<|im_end|>"), "<|im_end|>', without the newline"),
        ("<s>" + PROMPT, "at the beginning, '<s>' is added"),
        (PROMPT.removeprefix("<|im_start|>"), "at the beginning, '<|im_start|>' is missing"),
        (PROMPT.replace("user", "human"), "'human' in place of 'user'"),
        (PROMPT.replace("E4?", "E4? "), "' ' is added"),
        (PROMPT.replace("<|im_end|>", "<|end|>"), "'<|end|>' in place of '<|im_end|>'"),
    ],
)
def test_a_planted_difference_is_told_in_words(actual: str, sentence: str) -> None:
    difference = template_differences(PROMPT, actual)
    assert difference is not None
    assert sentence in difference


def test_the_missing_newline_is_told_for_other_openers_too() -> None:
    for opener in ("<|assistant|>\n", "<start_of_turn>model\n", "<|start_header_id|>assistant<|end_header_id|>\n\n"):
        difference = template_differences(f"hi{opener}", f"hi{opener}".rstrip("\n"))
        assert difference is not None
        assert "the assistant turn opens without its" in difference


def test_a_default_system_prompt_that_only_one_has_is_quoted() -> None:
    difference = template_differences("<|im_start|>system\nBe kind.<|im_end|>\n" + PROMPT, PROMPT)
    assert difference is not None
    assert "system" in difference


@given(st.text(), st.text())
def test_any_two_texts_are_told_apart_exactly_when_they_differ(expected: str, actual: str) -> None:
    assert (template_differences(expected, actual) is None) == (expected == actual)
