"""An adversary's answers against every criterion and contract: none scores that should not, none fails that should pass."""

import pytest
from hypothesis import given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st

from harness.grading.grade import Grader
from harness.grading.settings import AnswerSettings
from harness.pack.schema import Case
from tests.grading.written import WRITTEN

SCHEMA = {
    "type": "object",
    "properties": {"on": {"type": "boolean"}, "count": {"type": "integer"}, "name": {"type": "string"}},
    "required": ["on", "count", "name"],
    "additionalProperties": False,
}
OBJECT = {"on": True, "count": 1, "name": "é"}


def settings(**values):
    return AnswerSettings.model_validate(values)


def case(**criterion):
    return Case.model_validate({"id": "c", "kind": "k", "messages": [{"role": "user", "content": "q"}], **criterion})


JSON_CASE = {"expected": OBJECT}
# schema, [answer], criterion, answers that are right, answers that are wrong
TABLE = {
    "json": (
        SCHEMA, {}, JSON_CASE,
        [
            '{"on": true, "count": 1, "name": "\u00e9"}', '{"name": "e\u0301", "on": true, "count": 1}',
            ' \n{"on":true,"count":1.0,"name":"\\u00e9"}\n', '{\r\n"on": true, "count": 1e0, "name": "é"}',
        ],
        [
            '{"on": 1, "count": 1, "name": "é"}', '{"on": true, "count": true, "name": "é"}',
            '{"on": "true", "count": 1, "name": "é"}', '{"on": true, "count": "1", "name": "é"}',
            '{"on": true, "count": 1, "name": "E"}', '{"on": true, "count": 1, "name": "é "}',
            '{"on": true, "count": 1, "name": "é", "name": "é"}', '{"on": true, "count": 1, "name": "é", "x": null}',
            '{"on": true, "count": 1}', '{"on": true, "count": 1, "name": null}', '{"On": true, "count": 1, "name": "é"}',
            '{"on": true, "count": NaN, "name": "é"}', '{"on": true, "count": 1e999, "name": "é"}',
            '[{"on": true, "count": 1, "name": "é"}]', '{"on": true, "count": 1, "name": "é"}.',
            'The answer is {"on": true, "count": 1, "name": "é"}', '{"on": true, "count": 1, "name": "é"} {}',
            "{'on': true, 'count': 1, 'name': 'é'}", '{"on": true, "count": 1, "name": "é",}',
            '```json\n{"on": true, "count": 1, "name": "é"}\n```', "", " ", "null", "true", "{}", "[" * 100_000,
            '{"on": true, "count": ' + "1" * 5000 + ', "name": "é"}', '\ufeff{"on": true, "count": 1, "name": "é"}',
            '<think></think>{"on": true, "count": 1, "name": "é"}',
        ],
    ),
    "json list": (
        None, {}, {"expected": [1, "a", False]},
        ['[1, "a", false]', '[1.0,"a",false]'],
        ['["a", 1, false]', '[1, "a", 0]', '[1, "a"]', '[1, "a", false, false]', "[true, \"a\", false]", '1, "a", false'],
    ),
    "json number": (None, {}, {"expected": 42}, ["42", "42.0", " 42 "], ["42.5", '"42"', "042", "42,", "[42]", "true", "4 2"]),
    "json boolean": (None, {}, {"expected": True}, ["true"], ["1", "True", '"true"', "yes", "false"]),
    "fields": (
        None,
        {"fields": {"t": {"compare": "number", "tolerance": 0.5}, "tags": {"compare": "set"},
                    "who": {"compare": "one_of"}, "note": {"compare": "any"}, "at.x": {"compare": "number", "relative_tolerance": 0.1}}},
        {"expected": {"t": 20, "tags": ["a", "b"], "who": ["Ann", "A."], "note": "n", "at": {"x": 100, "y": 1}}},
        [
            '{"t": 20.5, "tags": ["b", "a"], "who": "A.", "note": "zzz", "at": {"x": 90, "y": 1}}',
            '{"t": 19.5, "tags": ["b", "a", "a"], "who": "Ann", "at": {"y": 1, "x": 110}}',
        ],
        [
            '{"t": 20.51, "tags": ["b", "a"], "who": "A.", "note": "n", "at": {"x": 100, "y": 1}}',
            '{"t": "20", "tags": ["b", "a"], "who": "A.", "note": "n", "at": {"x": 100, "y": 1}}',
            '{"t": true, "tags": ["b", "a"], "who": "A.", "note": "n", "at": {"x": 100, "y": 1}}',
            '{"t": 20, "tags": ["a"], "who": "A.", "note": "n", "at": {"x": 100, "y": 1}}',
            '{"t": 20, "tags": ["a", "b", "c"], "who": "A.", "note": "n", "at": {"x": 100, "y": 1}}',
            '{"t": 20, "tags": "a, b", "who": "A.", "note": "n", "at": {"x": 100, "y": 1}}',
            '{"t": 20, "tags": {"a": 1, "b": 1}, "who": "A.", "note": "n", "at": {"x": 100, "y": 1}}',
            '{"t": 20, "tags": ["a", "b"], "who": ["Ann", "A."], "note": "n", "at": {"x": 100, "y": 1}}',
            '{"t": 20, "tags": ["a", "b"], "who": "ann", "note": "n", "at": {"x": 100, "y": 1}}',
            '{"t": 20, "tags": ["a", "b"], "who": "Ann", "note": "n", "at": {"x": 111, "y": 1}}',
            '{"t": 20, "tags": ["a", "b"], "who": "Ann", "note": "n", "at": {"x": 100}}',
            '{"t": 1' + "0" * 400 + ', "tags": ["a", "b"], "who": "Ann", "note": "n", "at": {"x": 100, "y": 1}}',
            '{"tags": ["a", "b"], "who": "Ann", "note": "n", "at": {"x": 100, "y": 1}}',
            '{"t": 20, "tags": ["a", "b"], "who": "Ann", "note": "n", "at": 100}',
        ],
    ),
    "text": (
        None, {}, {"expected": "Zürich, 5 km"},
        ["Zürich, 5 km", " Zu\u0308rich, 5 km\n", "Zürich, 5 km\r\n"],
        ["zürich, 5 km", "Zürich, 5 km.", "Zürich,  5 km", '"Zürich, 5 km"', "Zürich", "", "It is Zürich, 5 km", "Zürich, 5\nkm"],
    ),
    "text of any case": (
        None, {"ignore_case": True}, {"expected": "Straße"}, ["STRASSE", "straße"], ["Strase", "die Straße", ""],
    ),
    "several right answers": (
        None, {}, {"one_of": ["yes", "Yes.", {"ok": True}]}, ["yes", "Yes.", '{"ok": true}'], ["no", "yes.", '{"ok": 1}', "yes Yes."],
    ),
    "number in a text": (
        None, {"whole": {"compare": "number", "tolerance": 0.01}}, {"expected": "1234.5"},
        ["1234.5", "1,234.5", "1234.50", "1.2345e3", " 1234.509 ", "+1234.5"],
        ["1234.52", "1.234,5", "1234.5 km", "1234", "12,34.5", "", "nan", "inf", "1234.5.0", "\u0661\u0662\u0663\u0664.5", "1e999"],
    ),
    "similar text": (
        None, {"whole": {"compare": "similar", "at_least": 0.6}}, {"expected": "Clean the filter of the pump"},
        ["clean the pump filter", "Clean the filter of the pump.", "You should clean the filter of the pump"],
        ["", "the the the the the the", "replace the pump", "...", "Clean " * 40, "the filter"],
    ),
    "similar text without blanks": (
        None, {"whole": {"compare": "similar", "at_least": 0.7}}, {"expected": "请清洗水泵的过滤网"},
        ["请清洗水泵过滤网。"], ["请更换水泵", "请", "清洗"],
    ),
    "labels": (
        None, {"labels": ["on", "only", "not on"]}, {"expected": "on"},
        ["on", " on\n"], ["only", "not on", "On", "on.", "on on", "the label is on", "", "o n", '"on"', "on\nonly"],
    ),
    "labels of any case": (
        None, {"labels": ["Positive", "Negative"], "ignore_case": True}, {"expected": "Positive"},
        ["positive", "POSITIVE "], ["negative", "Positive!", "positive, negative", "pos"],
    ),
    "lines": (
        None,
        {"lines": {"Status": ["fault", "ok"], "Code": "[A-Z][0-9]", "Weight": {"pattern": "[0-9.]+ ?kg|[0-9.]+", "optional": True},
                   "Parts": {"pattern": ".+", "optional": True}},
         "fields": {"Weight": {"compare": "number", "tolerance": 0.1}, "Parts": {"compare": "set"}}},
        {"expected": {"Status": "fault", "Code": "K5", "Weight": 2.5, "Parts": ["pump", "belt"]}},
        [
            "Status: fault\nCode: K5\nWeight: 2.5\nParts: pump, belt", "Code:K5\r\n\r\nParts: belt,pump\r\nStatus: fault\r\nWeight: 2.6\n",
        ],
        [
            "Status: fault\nCode: K5\nWeight: 2.5\nParts: pump", "Status: ok\nCode: K5\nWeight: 2.5\nParts: pump, belt",
            "Status: fault\nStatus: fault\nCode: K5\nWeight: 2.5\nParts: pump, belt", "Status: fault, Code: K5, Weight: 2.5, Parts: pump, belt",
            "Here you are:\nStatus: fault\nCode: K5\nWeight: 2.5\nParts: pump, belt", "status: fault\nCode: K5\nWeight: 2.5\nParts: pump, belt",
            "Status: fault\nCode: K5\nParts: pump, belt", "Status: fault\nCode: K55\nWeight: 2.5\nParts: pump, belt",
            "Status: fault\nCode: K5\nWeight: 2.5\nParts: pump, belt\nDone", "Status fault\nCode K5", "", '{"Status": "fault"}',
            "Status: fault\nCode: K5\nWeight: 3\nParts: pump, belt", "Status: fault\nCode: K5\nWeight: heavy\nParts: pump, belt",
        ],
    ),
    "pattern": (
        None, {}, {"pattern": r"\bE\d+\b"}, ["code E42 it is", "E1", "E4\n"], ["no code", "", "e42", "E", "XE42", "E42x"],
    ),
    "pattern with an accent": (None, {}, {"pattern": "^caf\u00e9$"}, ["café", "cafe\u0301"], ["cafe", "un café", ""]),
    "keywords": (
        None, {}, {"keywords": ["pump", "5", "clean"]},
        ["Clean the PUMP 5 times", "5, pump; clean!", "pump-5 clean"],
        ["Clean the pumpkin 5 times", "Clean the pump 15 times", "Clean the pump 5.5 times", "unclean pump 5", "", "pump", "1,5 clean pump"],
    ),
    "keywords without blanks": (None, {}, {"keywords": ["水泵", "清洗"]}, ["请清洗水泵。", "清洗,水泵"], ["水泵", "请清洗泵"]),
    "keywords of several words": (None, {}, {"keywords": ["drain pump", "C++"]}, ["the Drain Pump in C++", "C++: drain pump"], ["drain the pump in C++", "C, drain pump"]),
    "fenced json": (
        SCHEMA, {"code_fence": True}, JSON_CASE,
        ['```json\n{"on": true, "count": 1, "name": "é"}\n```', 'Sure:\n```\n{"on": true, "count": 1, "name": "é"}\n```\nBye', '{"on": true, "count": 1, "name": "é"}'],
        ['```json\n{"on": true, "count": 1, "name": "é"}', '```\n{"on": true, "count": 1, "name": "é"}\n```\n```\n{}\n```',
         'Sure: {"on": true, "count": 1, "name": "é"}', "```\n```", '```json\n{"on": 1, "count": 1, "name": "é"}\n```',
         '```json\n{"on": true, "count": 1, "name": "é"}\n{"on": true, "count": 1, "name": "é"}\n```'],
    ),
    "json after thinking": (
        SCHEMA, {"thinking": True}, JSON_CASE,
        ['<think>on is false?</think>{"on": true, "count": 1, "name": "é"}', 'no, true</think>\n{"on": true, "count": 1, "name": "é"}'],
        ['<think>{"on": true, "count": 1, "name": "é"}', '<think>{"on": true, "count": 1, "name": "é"}</think>', "<think></think>",
         '<think>{"on": true, "count": 1, "name": "é"}</think>{}', '{"on": true, "count": 1, "name": "é"}<think>ok</think>',
         '<think>a</think>b</think>{"on": true, "count": 1, "name": "é"}'],
    ),
    "keywords after thinking": (
        None, {"thinking": True}, {"keywords": ["pump"]},
        ["<think>fan?</think>the pump", "the pump"], ["<think>the pump?</think>the fan", "<think>the pump", "the pump</think>the fan"],
    ),
    "taken by a pattern": (
        None, {"take": r"####\s*(.+)", "whole": {"compare": "number"}}, {"expected": "72"},
        ["48/2 = 24, so 48+24 = 72\n#### 72", "#### 72\n", "####72.0"],
        ["72", "#### 48\n#### 72", "####", "#### 72 apples", "#### 7 2", "###72"],
    ),
    "a form of text": (
        None, {"pattern": "[A-Z]{2}[0-9]{3}"}, {"expected": "AB123"}, ["AB123", "AB123\n"], ["AB124", "ab123", "AB123.", "", "AB1234"],
    ),
}  # fmt: skip
TABLE |= WRITTEN
PASSES = {f"{name} {n}": (name, text) for name, (*_, right, _) in TABLE.items() for n, text in enumerate(right)}
FAILS = {f"{name} {n}": (name, text) for name, (*_, wrong) in TABLE.items() for n, text in enumerate(wrong)}


def graded(name, text):
    schema, answer, criterion, *_ = TABLE[name]
    return Grader(schema, settings(**answer)).grade(case(**criterion), text)


@pytest.mark.parametrize(("name", "text"), PASSES.values(), ids=PASSES)
def test_an_answer_that_should_pass_does(name, text):
    answer = graded(name, text)
    assert answer.is_exact, answer.explanation
    assert answer.is_valid is not False, answer.explanation
    assert answer.score >= 0.6
    assert answer.explanation == ""


@pytest.mark.parametrize(("name", "text"), FAILS.values(), ids=FAILS)
def test_an_answer_that_should_fail_does(name, text):
    answer = graded(name, text)
    assert not answer.is_exact
    assert 0 <= answer.score < 1
    assert answer.explanation


@pytest.mark.parametrize("name", TABLE)
def test_an_empty_answer_has_no_credit(name):
    for text in ("", " \n\t"):
        answer = graded(name, text)
        assert (answer.is_exact, answer.score, answer.is_valid in (False, None)) == (False, 0.0, True)


PARTS = {
    "one field of three": ("json", '{"on": true, "count": 2, "name": "e"}', 1 / 3),
    "a field that nobody asked for": ("json", '{"on": true, "count": 1, "name": "é", "x": 1}', 3 / 4),
    "half of a set": ("fields", '{"t": 20, "tags": ["a"], "who": "Ann", "at": {"x": 100, "y": 1}}', 3.5 / 4),
    "half of a nested object": ("fields", '{"t": 20, "tags": ["a", "b"], "who": "Ann", "at": {"x": 100, "y": 2}}', 3.5 / 4),
    "one keyword of three": ("keywords", "a pump", 1 / 3),
    "not JSON": ("json", "on", 0.0),
    "lines": ("lines", "Status: fault\nCode: K5\nWeight: 9\nParts: pump, belt", 3 / 4),
    "some words": ("similar text", "replace the pump", 1 / 3),
}  # fmt: skip


@pytest.mark.parametrize(("name", "text", "score"), PARTS.values(), ids=PARTS)
def test_a_part_of_the_answer_is_a_part_of_the_credit(name, text, score):
    assert graded(name, text).score == pytest.approx(score)


def test_weights_count():
    rules = settings(fields={"a": {"weight": 3}})
    answer = Grader(None, rules).grade(case(expected={"a": 1, "b": 2}), '{"a": 1, "b": 0}')
    assert answer.score == pytest.approx(3 / 4)


def test_only_a_pack_with_a_form_has_valid_answers():
    assert Grader(None).grade(case(expected="x"), "y").is_valid is None
    assert Grader(None, settings(labels=["x", "y"])).grade(case(expected="x"), "y").is_valid is True
    assert Grader({"type": "object"}).grade(case(keywords=["x"]), "{}").is_valid is True


def test_large_numbers_are_compared_to_the_last_digit():
    rules = settings(fields={"a": {"compare": "number"}})
    assert not Grader(None, rules).grade(case(expected={"a": 10**15}), '{"a": 1000000000000001}').is_exact
    assert Grader(None, rules).grade(case(expected={"a": 10**15}), '{"a": 1e15}').is_exact


FORMS = {
    "free text": (None, {}, "A pump."),
    "a schema in fences behind thinking": (SCHEMA, {"code_fence": True, "thinking": True}, OBJECT),
    "fields": (None, {"fields": {"a": {"compare": "set"}}}, {"a": [1, 2]}),
    "lines": (None, {"lines": {"A": "[a-z]+", "B": ["x", "y"]}, "ignore_case": True}, {"A": "pump", "B": "x"}),
    "a number behind a mark": (None, {"take": "=(.*)", "whole": {"compare": "number"}}, "7"),
    "similar words": (None, {"whole": {"compare": "similar", "at_least": 0.5}}, "clean the pump"),
}
PIECES = st.sampled_from(
    ["<think>", "</think>", "```", "~~~", "json", "\n", "{", "}", "[", "]", '"a"', ":", ",", "A: ", "1e999", "\\", "=7", "\ud800", "\u0000"]
)  # fmt: skip


@given(st.sampled_from(sorted(FORMS)), st.lists(st.one_of(PIECES, st.text(max_size=8)), max_size=12).map("".join))
@settings_of_hypothesis(max_examples=300, deadline=None)
def test_whatever_a_model_writes_is_graded(name, text):
    schema, answer, expected = FORMS[name]
    graded = Grader(schema, settings(**answer)).grade(case(expected=expected), text)
    assert 0 <= graded.score <= 1
    assert graded.explanation or (graded.is_exact and graded.is_valid is not False)
    assert graded.around_characters >= 0
    assert graded.thinking_characters >= 0


@pytest.mark.parametrize("depth", [*range(900, 1000, 9), 5000, 100_000])
@pytest.mark.parametrize("shape", [("[", "]"), ('{"a":', "}")])
def test_deep_nesting_is_wrong_and_no_accident(depth, shape):
    opening, closing = shape
    text = f"{opening * depth}1{closing * depth}"
    for name in ("json", "fields", "json list", "nested values"):
        assert not graded(name, text).is_exact
