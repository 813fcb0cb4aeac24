"""What a person reads of a failing rate: the cases, and who is to blame for them."""

import json

import pytest

from harness.grading.grade import Grader
from harness.measure.asking import ask_cases, graded
from harness.measure.failures import cut, describe_failures, escaped, expectation
from harness.pack.load import load_pack
from harness.pack.schema import Case
from harness.runtime.fake import FakeSession
from tests.conftest import write_pack
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


@pytest.mark.parametrize(
    ("source", "is_told"), [((1, 2, 3), True), ((1, 2), True), ((1,), False), ((), False), (None, False)]
)
def test_what_tuning_lacks_has_a_next_step(pack, source, is_told):
    told = described(pack, (1, 2, 3), source)
    assert ("train on more examples like these" in told) is is_told
    assert ("samples/<variant>/answers.jsonl" in told) is is_told


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


def fenced(text):
    return f"```json\n{text}\n```"


AROUND = {
    "a fence": (fenced, "code_fence = true"),
    "a thinking part": (lambda text: f"<think>hm</think>{text}", "thinking = true"),
    "both": (
        lambda text: f"<think>\n{fenced(text)}\nno</think>\n{fenced(text)}",
        "thinking = true and code_fence = true",
    ),
}


@pytest.mark.parametrize(("around", "setting"), AROUND.values(), ids=AROUND)
def test_what_the_pack_could_allow_is_named(pack, around, setting):
    roomy = pack.model_copy(update={"domain": pack.domain.model_copy(update={"max_new_tokens": 200})})
    answers = ask_cases(
        FakeSession(lambda messages: around(right(messages)) if "1" in messages[-1]["content"] else "no"), roomy
    )
    told = describe_failures(answers, (), roomy, lambda answer: not answer.is_exact).splitlines()
    assert told[1] == f"1 of these would not with [answer] {setting} in domain.toml, if your program reads such answers"


def test_upper_case_could_be_allowed(tmp_path):
    domain = 'schema_version = 1\nname = "n"\nmax_new_tokens = 48\n[answer]\nlabels = ["on", "off"]\n'
    rows = json.dumps({"id": "a", "kind": "k", "messages": QUESTION, "expected": "on"})
    folder = write_pack(tmp_path, domain_toml=domain, cases_jsonl=rows)
    (folder / "response.schema.json").unlink()
    pack = load_pack(folder)
    told = describe_failures(ask_cases(FakeSession(lambda _: "ON"), pack), (), pack, lambda answer: not answer.is_valid)
    assert "[answer] ignore_case = true" in told


def test_nothing_is_named_that_would_not_help(pack):
    told = described(pack, (1, 2), None)
    assert "[answer]" not in told
    cut_off = ask_cases(FakeSession(lambda _: "and so on " * 20), pack)
    assert "[answer]" not in describe_failures(cut_off, (), pack, lambda answer: answer.finish_reason == "length")
