"""What a person reads of a failing rate: the cases, and who is to blame for them."""

import json

import pytest

from harness.grading.grade import Grader
from harness.measure.asking import ask_cases, graded
from harness.measure.failures import cut, describe_failures, escaped, expectation
from harness.pack.load import load_pack
from harness.pack.schema import Case
from harness.runtime.fake import FakeSession
from tests.measure.healthy import right

QUESTION = [{"role": "user", "content": "part 1?"}]


@pytest.fixture
def pack(pack_folder):
    return load_pack(pack_folder)


def forgets(*numbers):
    def reply(messages):
        return "{}" if any(f" {n}?" in messages[-1]["content"] for n in numbers) else right(messages)

    return reply


def described(pack, own, source):
    answers = ask_cases(FakeSession(forgets(*own)), pack)
    theirs = ask_cases(FakeSession(forgets(*source)), pack) if source is not None else ()
    return describe_failures(answers, theirs, pack, lambda answer: not answer.is_exact)


@pytest.mark.parametrize(
    ("own", "source", "told"),
    [
        ((), (), "none of 9 fails"),
        ((1, 2, 3), (), "3 of 9 fail; the source model fails none of these 3: conversion, not tuning"),
        ((1, 2, 3), (1, 2, 3, 4), "3 of 9 fail; the source model fails all 3 too: tuning, not conversion"),
        ((1, 2, 3), (1, 2), "3 of 9 fail; the source model fails 2 of these 3 too: mostly tuning, not conversion"),
        ((1, 2, 3), (1,), "3 of 9 fail; the source model fails 1 of these 3 too: mostly conversion, not tuning"),
        ((1,), (1,), "1 of 9 fail; the source model fails it too: tuning, not conversion"),
        ((1,), (), "1 of 9 fail; the source model does not: conversion, not tuning"),
        ((1,), None, "1 of 9 fail"),
    ],
)
def test_who_is_to_blame(pack, own, source, told):
    assert described(pack, own, source).splitlines()[0] == told


def test_a_case_is_shown_with_question_expectation_and_answer(pack):
    assert described(pack, (1,), None).splitlines()[1:] == [
        "case-1 (part)",
        "  asked:    'part 1?'",
        '  expected: \'{"status": "ok", "part": "1"}\'',
        "  said:     '{}'",
        "  because:  status: is missing, expected 'ok'; part: is missing, expected '1'",
    ]


def test_three_cases_are_enough(pack):
    assert described(pack, range(8), None).count("asked:") == 3


@pytest.mark.parametrize(
    ("criterion", "words"),
    [
        ({"expected": "ok"}, "'\"ok\"'"),
        ({"one_of": ["yes", {"a": 1}]}, "'\"yes\"' or '{\"a\": 1}'"),
        ({"pattern": "E[0-9]"}, "a match of 'E[0-9]'"),
        ({"keywords": ["pump", "valve"]}, "all of 'pump', 'valve'"),
    ],
)
def test_every_criterion_has_words(criterion, words):
    case = Case.model_validate({"id": "a", "kind": "k", "messages": QUESTION, **criterion})
    assert expectation(case) == words


def test_what_a_model_writes_cannot_act_on_a_terminal_or_fill_it():
    assert cut("\x1b[2J\n") == r"'\x1b[2J\n'"
    assert escaped("code: '\x1b[2J', not 'é'") == r"code: '\x1b[2J', not 'é'"
    long = cut("a" * 500 + "the end")
    assert len(long) < 200
    assert "a ... a" in long
    assert long.endswith("the end'")


def test_earlier_turns_are_told(pack):
    turns = [{"role": role, "content": "x"} for role in ("user", "assistant")]
    case = Case.model_validate({"id": "a", "kind": "k", "messages": [*turns, *QUESTION], "expected": "y"})
    answer = graded(Grader.of(pack), case, FakeSession(lambda _: json.dumps({})).answer(QUESTION, max_new_tokens=9))
    told = describe_failures([answer], (), pack.model_copy(update={"cases": (case,)}), lambda _: True)
    assert "asked:    'part 1?' (after 2 earlier turns)" in told
