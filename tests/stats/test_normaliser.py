"""ln sum exp of rows, taken a few at a time."""

import numpy as np
import pytest

from harness.stats.divergence import log_normaliser, log_softmax, nll_of


@pytest.mark.parametrize(("rows", "vocabulary"), [(1, 7), (5, 100_000), (3, 300_000), (600, 1_000), (0, 7)])
def test_every_row_is_normalised_however_many_are_taken_together(rows, vocabulary):
    logits = np.random.default_rng(0).normal(scale=8, size=(rows, vocabulary)).astype(np.float32)
    found = log_normaliser(logits)
    assert found.shape == (rows,)
    assert np.allclose(found, (logits - log_softmax(logits))[:, 0], rtol=0, atol=2e-6)


def test_the_parts_do_not_change_a_row():
    logits = np.random.default_rng(1).normal(size=(50, 20_000)).astype(np.float32)
    one_by_one = np.concatenate([log_normaliser(row[None]) for row in logits])
    assert np.array_equal(log_normaliser(logits), one_by_one)


def test_the_likelihood_of_tokens_is_that_of_the_whole_distribution():
    logits = np.random.default_rng(2).normal(size=(9, 50)).astype(np.float32)
    tokens = np.arange(9)
    assert np.allclose(nll_of(logits, tokens), -log_softmax(logits)[range(9), tokens], atol=1e-6)
