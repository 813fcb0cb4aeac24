import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from harness.report.jsonline import to_json
from harness.stats.estimate import Estimate

ANY_TEXT = st.text(st.characters(exclude_categories=()))  # lone surrogates too


@given(ANY_TEXT)
def test_every_text_survives_as_one_line_of_ascii(text):
    line = to_json({"text": text})
    assert line.isascii()
    assert "\n" not in line
    assert json.loads(line) == {"text": text}


@given(st.floats(), st.integers(0, 10**9) | st.none())
def test_every_number_survives(value, n):
    line = to_json(Estimate(value=value, n=n))
    assert "NaN" not in line.replace('"NaN"', "")  # JSON has no such number
    found = TypeAdapter(Estimate).validate_python(json.loads(line))
    assert found.n == n
    assert found.value == value or (math.isnan(found.value) and math.isnan(value))


def test_numpys_numbers_are_numbers():
    assert to_json([np.float32(0.5), np.int64(2), np.bool_(True), np.float64("inf")]) == '[0.5, 2, true, "Infinity"]'


def test_what_json_lacks_is_an_error_where_it_stands():
    with pytest.raises(TypeError):
        to_json({"x": object()})
