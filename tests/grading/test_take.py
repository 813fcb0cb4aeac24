"""What a model writes around an answer, and what is graded of it."""

import pytest

from harness.grading.settings import AnswerSettings
from harness.grading.take import take_answer

FENCED = AnswerSettings(code_fence=True)
THINKING = AnswerSettings(thinking=True)
BOTH = AnswerSettings(code_fence=True, thinking=True)
FINAL = AnswerSettings(take=r"(?m)^Answer: (.+)$")
JSON_OBJECT = '{"a": 1}'

TAKEN = {
    "a plain answer": (BOTH, JSON_OBJECT, JSON_OBJECT),
    "a fence": (FENCED, f"```json\n{JSON_OBJECT}\n```", JSON_OBJECT),
    "a fence with words around it": (FENCED, f"Sure!\n```\n{JSON_OBJECT}\n```\nAnything else?", JSON_OBJECT),
    "a fence of tildes": (FENCED, f"~~~json\n{JSON_OBJECT}\n~~~", JSON_OBJECT),
    "a fence on one line": (FENCED, f"```json {JSON_OBJECT}```", JSON_OBJECT),
    "a fence on one line without a language": (FENCED, f"```{JSON_OBJECT}```", JSON_OBJECT),
    "a fence with line ends of Windows": (FENCED, f"```json\r\n{JSON_OBJECT}\r\n```", JSON_OBJECT),
    "a longer fence around a shorter one": (FENCED, "````\n```\nx\n```\n````", "```\nx\n```"),
    "an indented fence": (FENCED, f"  ```json\n{JSON_OBJECT}\n  ```", JSON_OBJECT),
    "backticks in a string": (FENCED, '{"a": "```json\\n{}\\n```"}', '{"a": "```json\\n{}\\n```"}'),
    "thinking": (THINKING, f"<think>\nhm, 2?\n</think>\n\n{JSON_OBJECT}", JSON_OBJECT),
    "empty thinking": (THINKING, f"<think>\n\n</think>\n\n{JSON_OBJECT}", JSON_OBJECT),
    "thinking that the prompt has opened": (THINKING, f"hm, 2?\n</think>{JSON_OBJECT}", JSON_OBJECT),
    "nested thinking": (THINKING, f"<think>a<think>b</think>c</think>{JSON_OBJECT}", JSON_OBJECT),
    "nested thinking that the prompt has opened": (THINKING, f"a<think>b</think>c</think>{JSON_OBJECT}", JSON_OBJECT),
    "two thinking parts": (THINKING, f"<think>a</think>\n<think>b</think>{JSON_OBJECT}", JSON_OBJECT),
    "a marker inside of the answer": (THINKING, '<think>a</think>{"a": "</think>"}', '{"a": "</think>"}'),
    "thinking, then a fence": (BOTH, f"<think>```\n0\n```</think>\n```json\n{JSON_OBJECT}\n```", JSON_OBJECT),
    "other markers": (AnswerSettings(thinking=(("[THINK]", "[/THINK]"),)), "[THINK]a[/THINK]b", "b"),
    "a pattern": (FINAL, "First 2, then 3.\nAnswer: 5\nBye.", "5"),
    "a pattern that matches twice alike": (FINAL, "Answer: 5\nAnswer: 5 ", "5"),
    "a pattern with a named group": (AnswerSettings(take=r"(a|b)=(?P<answer>\d)"), "a=4", "4"),
    "a pattern without a group": (AnswerSettings(take=r"\d+"), "it is 42.", "42"),
}  # fmt: skip


@pytest.mark.parametrize(("settings", "text", "answer"), TAKEN.values(), ids=TAKEN)
def test_an_answer_is_taken_out_of_what_stands_around_it(settings, text, answer):
    taken = take_answer(text, settings)
    assert taken.answer.strip() == answer
    assert not taken.problem


UNTOUCHED = {
    "a fence that is not allowed": (THINKING, f"```json\n{JSON_OBJECT}\n```"),
    "thinking that is not allowed": (FENCED, f"<think>a</think>{JSON_OBJECT}"),
    "two fences": (FENCED, f"```\n{JSON_OBJECT}\n```\nor\n```\n{{}}\n```"),
    "a fence that is never closed": (FENCED, f"```json\n{JSON_OBJECT}"),
    "two inline fences": (FENCED, '```{"a": 1}``` or ```{}```'),
    "a fence closed by a shorter one": (FENCED, f"````json\n{JSON_OBJECT}\n```"),
    "thinking behind the answer": (THINKING, f"{JSON_OBJECT}<think>was that right?</think>"),
}  # fmt: skip


@pytest.mark.parametrize(("settings", "text"), UNTOUCHED.values(), ids=UNTOUCHED)
def test_a_text_without_one_clear_answer_is_graded_whole(settings, text):
    assert take_answer(text, settings).answer == text


NO_ANSWER = {
    "thinking that is never closed": (THINKING, f"<think>hm {JSON_OBJECT}"),
    "nested thinking that is never closed": (THINKING, f"<think>a<think>b</think>{JSON_OBJECT}"),
    "a second thinking part that is never closed": (THINKING, f"<think>a</think><think>{JSON_OBJECT}"),
    "a pattern that does not match": (FINAL, "It is 5."),
    "a pattern that matches two answers": (FINAL, "Answer: 5\nNo.\nAnswer: 6"),
}  # fmt: skip


@pytest.mark.parametrize(("settings", "text"), NO_ANSWER.values(), ids=NO_ANSWER)
def test_a_text_without_an_answer_has_none(settings, text):
    taken = take_answer(text, settings)
    assert taken.answer == ""
    assert taken.problem


def test_what_stands_around_an_answer_is_counted():
    taken = take_answer("<think>four</think>Yes:\n```\nx\n```", BOTH)
    assert (taken.thinking_characters, taken.around_characters) == (4, len("Yes:\n```\n\n```"))
    assert take_answer(" x\n", BOTH).around_characters == 0
