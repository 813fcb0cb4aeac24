import jsonschema
import pytest

from harness.pack.schema_draft import discriminator, draft_schema, is_closed, odd_answers

VALUES = [{"status": "ok", "count": n, "tags": ["a"], "where": {"x": 1.5}} for n in range(60)]


def test_a_drafted_schema_accepts_what_it_was_drafted_from_and_little_else():
    validator = jsonschema.Draft202012Validator(draft_schema(VALUES))
    assert all(validator.is_valid(value) for value in VALUES)
    for broken in (
        {},
        {**VALUES[0], "more": 1},
        {**VALUES[0], "count": 1.5},
        {**VALUES[0], "status": "no"},
        [VALUES[0]],
        "ok",
    ):
        assert not validator.is_valid(broken)


def test_fields_that_some_answers_lack_are_optional_and_null_is_a_type():
    schema = draft_schema([{"a": 1}, {"a": None, "b": "x"}])
    assert schema["required"] == ["a"]
    assert schema["properties"]["a"]["type"] == ["integer", "null"]


@pytest.mark.parametrize(
    ("values", "is_set"),
    [
        (["a", "b"] * 10, True),
        (["a", "b"], False),
        ([str(n) for n in range(40)], False),
        (["a"] * 9, False),
        (["a"] * 10, True),
    ],
)
def test_a_closed_set_was_seen_often_enough(values, is_set):
    assert is_closed(values) is is_set


def test_the_field_that_says_what_others_there_are_is_found():
    mixed = [{"status": "ok", "part": "1"}, {"status": "none"}] * 10
    assert discriminator(mixed) == "status"
    assert discriminator(VALUES) is None
    assert discriminator([{"status": "ok"}, {"status": "ok", "part": 1}] * 10) is None  # its value does not say it
    assert discriminator([{"status": f"s{n}", f"f{n}": 1} for n in range(20)]) is None  # a value each says nothing


@pytest.mark.parametrize(
    ("value", "what"),
    [
        ({**VALUES[0], "count": "3"}, "count is a string, where the others have a number"),
        ({**VALUES[0], "count": True}, "count is a boolean"),
        ({**VALUES[0], "cuont": 3}, "cuont is a field that no other has"),
        ({"status": "ok", "count": 1, "tags": []}, "lacks where, which the others have"),
        ([1], "is no object"),
        ({**VALUES[0], "count": None}, ""),
        (VALUES[5], ""),
    ],
)
def test_a_slip_is_told_from_a_choice(value, what):
    assert odd_answers([*VALUES, value])[-1].startswith(what)
    assert bool(odd_answers([*VALUES, value])[-1]) is bool(what)


def test_a_rare_but_repeated_choice_is_none():
    rare = {"status": "ok", "count": 1, "tags": [], "where": {}, "note": "x"}
    assert odd_answers([*VALUES, rare, rare])[-1] == ""
