import pytest

from harness.grading.grade import Grader
from harness.grading.json_values import is_same_json, parse_json
from harness.pack.schema import Case
from tests.conftest import SCHEMA


def case(**criterion):
    return Case(id="c", kind="k", messages=({"role": "user", "content": "q"},), **criterion)


@pytest.mark.parametrize(
    ("criterion", "text", "is_right"),
    [
        ({"expected": {"a": 1, "b": 2}}, '{"b": 2, "a": 1}', True),
        ({"expected": {"a": 1}}, '{"a": 2}', False),
        ({"expected": {"a": 1}}, '{"a": 1, "b": 2}', False),
        ({"expected": {"a": 1}}, 'Sure! {"a": 1}', False),
        ({"expected": {"a": 1}}, "", False),
        ({"expected": "Paris"}, " Paris\n", True),
        ({"expected": "Paris"}, "Paris, France", False),
        ({"pattern": r"\bE\d+\b"}, "code E42 it is", True),
        ({"pattern": r"\bE\d+\b"}, "no code", False),
        ({"keywords": ("pump", "filter")}, "Clean the FILTER of the Pump", True),
        ({"keywords": ("pump", "filter")}, "Clean the pump", False),
    ],
)
def test_an_answer_is_right_by_its_criterion(criterion, text, is_right):
    assert (Grader(None).content_error(case(**criterion), text) == "") is is_right


def test_a_wrong_field_is_named():
    error = Grader(None).content_error(case(expected={"a": 1, "b": 2}), '{"a": 1, "b": 3}')
    assert error == "b: 3, expected 2"


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        ('{"status": "ok"}', ""),
        ("The pump is broken.", "not JSON"),
        ('{"status": "ok"', "not JSON"),
        ('{"status": "maybe"}', "$.status"),
        ('{"status": "ok", "extra": 1}', "extra"),
        ('{"status": "ok"} {"status": "ok"}', "not JSON"),
        ('{"status": "ok", "status": "ok"}', "twice"),
        ('{"status": NaN}', "NaN"),
        ("", "not JSON"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_the_form_is_judged_by_the_schema(text, finding):
    error = Grader(SCHEMA).form_error(text)
    assert finding in error
    assert bool(error) is bool(finding)


def test_without_a_schema_only_emptiness_breaks_the_form():
    assert Grader(None).form_error("prose") == ""
    assert Grader(None).form_error(" \n") == "the answer is empty"


def test_json_is_strict():
    assert parse_json(" [1, 2] ") == [1, 2]
    with pytest.raises(ValueError, match="Infinity"):
        parse_json("[Infinity]")


@pytest.mark.parametrize(
    ("first", "second", "is_same"),
    [
        (1, 1.0, True),
        (True, 1, False),
        (0, False, False),
        (None, False, False),
        ([1, True], [1, 1], False),
        ({"a": {"b": 1}}, {"a": {"b": True}}, False),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, True),
        ([1, 2], [2, 1], False),
        ("caf\u00e9", "cafe\u0301", True),
        ({"caf\u00e9": 1}, {"cafe\u0301": 1}, True),
        ("a", "A", False),
        ("1", 1, False),
        (2**53 + 1, float(2**53), False),
        ([], {}, False),
        ({}, {"a": None}, False),
    ],
)
def test_json_values_are_compared_as_json(first, second, is_same):
    assert is_same_json(first, second) is is_same
    assert is_same_json(second, first) is is_same


@pytest.mark.parametrize("text", ["NaN", "[-Infinity]", "1e999", '{"a": 1, "a": 1}', "1 2", "", "9" * 5000])
def test_what_is_not_json_is_refused(text):
    with pytest.raises(ValueError, match=r"\S"):
        parse_json(text)
