import dataclasses
import math
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.errors import GateError
from harness.report.samples import (
    ANSWERS,
    EDGE_CASES,
    KINDS,
    LATENCY,
    kind_named,
    read_samples,
    samples_of,
    write_samples,
)

VERSION_1 = Path(__file__).parent / "data/run-of-version-1"
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=40)  # lone surrogates too
st.register_type_strategy(str, ANY_TEXT)


def rows_of(kind):
    return st.lists(st.floats() if kind.type is float else st.from_type(kind.type), max_size=3)


def same(one, other):
    """Equal, NaN to itself."""
    if dataclasses.is_dataclass(one):
        return type(one) is type(other) and same(dataclasses.astuple(one), dataclasses.astuple(other))
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other or (isinstance(one, float) and math.isnan(one) and math.isnan(other))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_every_kind_is_read_as_what_was_written(tmp_path, kind, data):
    rows = data.draw(rows_of(kind))
    kind = kind.at(*[64] * kind.name.count("{}"))
    write_samples(tmp_path, "int4", kind.name, rows)
    assert same(read_samples(tmp_path, "int4", kind), rows)


def test_long_answers_survive(tmp_path):
    answers = read_samples(VERSION_1, "int4", ANSWERS)
    long = [dataclasses.replace(answers[0], text="Ж\u2028\x00" * 100_000)]
    write_samples(tmp_path, "int4", "answers", long)
    assert read_samples(tmp_path, "int4", ANSWERS) == long


@pytest.mark.parametrize("name", samples_of(VERSION_1, "int4"))
def test_samples_of_the_first_version_can_be_read(name):
    kind = kind_named(name)
    kind = kind.at(int(name.rpartition("_")[2])) if "{}" in kind.name else kind
    rows = read_samples(VERSION_1, "int4", kind)
    assert rows
    assert all(isinstance(row, kind.type) for row in rows)


def test_a_name_has_one_kind():
    for kind in KINDS:
        name = kind.at(*[7] * kind.name.count("{}")).name
        assert [one for one in KINDS if one.has_name(name)] == [kind]
    assert kind_named("latency_1024") is LATENCY


def test_an_unknown_kind_is_an_error_where_it_is_written(tmp_path):
    with pytest.raises(ValueError, match=r"called 'anwers' \(did you mean 'answers'\?\)"):
        write_samples(tmp_path, "int4", "anwers", [])
    assert not list(tmp_path.iterdir())


def test_rows_of_another_type_are_an_error_where_they_are_written(tmp_path):
    with pytest.raises(ValueError, match="'edge_cases' are EdgeResult, not dict"):
        write_samples(tmp_path, "int4", "edge_cases", [{"case_id": "a"}])


def test_samples_that_are_not_there_are_told_with_what_is(tmp_path):
    with pytest.raises(GateError, match=r"no samples 'edge_cases' of 'int4'\n.*\n.*it measured nothing"):
        read_samples(tmp_path, "int4", EDGE_CASES)
    write_samples(tmp_path, "int4", "kld_nats", [0.5])
    with pytest.raises(GateError, match="there are: kld_nats"):
        read_samples(tmp_path, "int4", EDGE_CASES)


def test_a_broken_line_is_named(tmp_path):
    file = tmp_path / "samples/int4/kld_nats.jsonl"
    file.parent.mkdir(parents=True)
    file.write_text('0.5\n{"no": "number"}\n')
    with pytest.raises(GateError, match=r"not a sample of kld_nats: (.|\n)*kld_nats.jsonl, line 2"):
        read_samples(tmp_path, "int4", kind_named("kld_nats"))
