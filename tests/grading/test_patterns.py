"""Patterns of users that would search without end: told with pattern, case and answer, wherever a pack has patterns."""

import pytest

from harness.errors import PackError
from harness.grading import patterns
from harness.grading.grade import Grader
from harness.grading.json_schema import schema_problems
from harness.grading.patterns import SlowPatternError
from harness.grading.settings import AnswerSettings
from harness.pack.load import load_pack
from harness.pack.schema import Case
from tests.pack.test_misleading import FREE, asked, case, domain, lines, written

SLOW = "(a|aa)+$"
STICKY = "a" * 400 + "b"


def schema(**properties):
    return {"type": "object", **properties}


def of_case(**criterion):
    return Case.model_validate({"id": "c7", "kind": "k", "messages": [{"role": "user", "content": "q"}], **criterion})


WHERE = {
    "pattern of a case": (None, {}, of_case(pattern=SLOW), STICKY),
    "pattern of the form": (None, {"pattern": f"(?:{SLOW[:-1]})c"}, of_case(expected="ac"), STICKY),
    "take": (None, {"take": SLOW}, of_case(expected="a"), STICKY),
    "a line": (None, {"lines": {"A": SLOW}}, of_case(expected={"A": "a"}), f"A: {STICKY}"),
    "pattern of a schema": (schema(properties={"x": {"pattern": SLOW}}), {}, of_case(expected={"x": "a"}), f'{{"x": "{STICKY}"}}'),
    "patternProperties": (schema(patternProperties={SLOW: {"type": "null"}}), {}, of_case(expected={"a": None}), f'{{"{STICKY}": 1}}'),
    "additionalProperties": (schema(additionalProperties=False, patternProperties={SLOW: {}}), {}, of_case(expected={"a": 1}), f'{{"{STICKY}": 1}}'),
    "a schema that refers to itself": (
        schema(**{"$schema": "https://json-schema.org/draft/2020-12/schema"}, properties={"in": {"$ref": "#"}, "x": {"pattern": SLOW}}),
        {}, of_case(expected={"x": "a"}), f'{{"in": {{"x": "{STICKY}"}}}}',
    ),
}  # fmt: skip


@pytest.fixture
def short_patience(monkeypatch):
    monkeypatch.setattr(patterns, "PATIENCE_S", 0.05)


@pytest.mark.usefixtures("short_patience")
@pytest.mark.parametrize(("form", "answer", "asks", "text"), WHERE.values(), ids=WHERE)
def test_an_endless_search_is_told_with_pattern_case_and_answer(form, answer, asks, text):
    grader = Grader(form, AnswerSettings.model_validate(answer))
    with pytest.raises(SlowPatternError) as caught:
        grader.grade(asks, text)
    message = str(caught.value)
    assert "(a|aa)+" in message
    assert "where: case 'c7'" in message
    assert "'aaaa" in message or "'A: aaaa" in message
    assert "one repetition" in message


@pytest.mark.usefixtures("short_patience")
def test_an_expected_answer_that_is_searched_without_end_is_told_when_the_pack_is_read(tmp_path):
    rows = lines(case(expected="a" * 100 + "b"), case(id="b", messages=asked("other?"), expected="aac"))
    files = {**FREE, "cases_jsonl": rows, "domain_toml": domain('[answer]\npattern = "(a|aa)+c"\n', "schema_version = 1\nname = 'n'\nmax_new_tokens = 400\n")}  # fmt: skip
    with pytest.raises(PackError, match="still searching") as caught:
        load_pack(written(tmp_path, files))
    assert "cases.jsonl, line 1" in str(caught.value)


SOUND = {
    "a sentence": (r"(\w+ ?)+\.", "The pump is worn, so replace it soon. " * 40),
    "anything between two words": ("(?s)first.*then.*last", "first then " * 400 + "last"),
    "a mail address": (r"[\w.+-]+@[\w-]+\.[\w.]+", "x" * 4000 + " a.b@example.org"),
    "alternatives": ("(?i)^(yes|no|perhaps)\\b", "Perhaps " + "so " * 2000),
}


@pytest.mark.parametrize(("pattern", "text"), SOUND.values(), ids=SOUND)
def test_usual_patterns_are_found_in_long_answers(pattern, text):
    assert Grader(None).grade(of_case(pattern=pattern), text).is_exact


KEYWORDS = {
    "patternProperties": ({"patternProperties": {"^n": {"type": "number"}}}, '{"n1": 1, "x": "y"}', '{"n1": "1"}'),
    "additionalProperties false": ({"properties": {"a": {}}, "patternProperties": {"^n": {}}, "additionalProperties": False}, '{"a": 1, "n": 2}', '{"a": 1, "b": 2}'),
    "additionalProperties true": ({"properties": {"a": {"type": "null"}}, "additionalProperties": True}, '{"b": 1}', '{"a": 1}'),
    "additionalProperties of a kind": ({"properties": {"a": {}}, "additionalProperties": {"type": "number"}}, '{"a": "x", "b": 2}', '{"b": "x"}'),
    "pattern": ({"properties": {"a": {"pattern": "^E[0-9]+$"}}}, '{"a": "E12"}', '{"a": "E12 "}'),
    "pattern of a number": ({"properties": {"a": {"pattern": "^E[0-9]+$"}}, "required": ["a"]}, '{"a": 7}', "{}"),
}  # fmt: skip


@pytest.mark.parametrize("dialect", ["draft-04", "draft-07", "2020-12"])
@pytest.mark.parametrize(("rules", "right", "wrong"), KEYWORDS.values(), ids=KEYWORDS)
def test_the_keywords_of_a_schema_that_search_are_obeyed(rules, right, wrong, dialect):
    name = f"https://json-schema.org/draft/{dialect}/schema" if dialect[0] == "2" else f"http://json-schema.org/{dialect}/schema#"  # fmt: skip
    form = {"$schema": name, "type": "object", **rules}
    assert list(schema_problems(form)) == []
    grader = Grader(form)
    assert grader.form_error(right) == ""
    assert grader.form_error(wrong)
