"""The numbers are worked by hand."""

import numpy as np
import pytest

from harness.stats.logit_noise import logit_noise


def rows(*values):
    return np.array(values, dtype=np.float32)


@pytest.mark.parametrize(
    ("candidate", "expected"),
    [
        ([3, 1, 1, 3], 0.0),
        ([13, 11, 11, 13], 0.0),  # softmax does not see a shift
        ([1, 3, 3, 1], 2.0),  # another sign: the error is twice the signal
        ([2, 2, 2, 2], 1.0),  # says nothing
        ([2.5, 1.5, 1.5, 2.5], 0.5),  # half as sure
        ([3, 1, 3, 1], np.sqrt(2)),  # unrelated: errors of 0, 0, 2, -2 have a deviation of sqrt(2), the signal of 1
    ],
)
def test_noise_is_a_share_of_the_spread(candidate, expected):
    assert logit_noise(rows([3, 1, 1, 3]), rows(candidate)) == pytest.approx([expected])


def test_each_position_is_by_itself():
    found = logit_noise(rows([1, -1], [10, -10]), rows([2, -2], [11, -11]))
    assert found == pytest.approx([1.0, 0.1])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_no_number(value):
    assert not np.isfinite(logit_noise(rows([1, 2]), rows([1, value]))).any()


def test_a_reference_that_prefers_no_token():
    assert logit_noise(rows([4, 4], [4, 4]), rows([4, 4], [4, 5])).tolist() == [0.0, np.inf]


def test_a_padded_vocabulary_is_cut():
    assert logit_noise(rows([1, 2, 9]), rows([1, 2])) == pytest.approx([0.0])
