"""Logits are compared where they belong; the numbers are worked by hand."""

from types import SimpleNamespace

import numpy as np
import pytest

from harness.verify import fidelity as module
from harness.verify.fidelity import compare_with_reference_logits


def even(tokens):
    """Logits of a model of two tokens that has no preference."""
    return np.zeros((len(tokens), 2), np.float32)


def reference(source, base=None, texts=(), ids=()):
    """Reference logits of two short positions and a long one."""
    rows = {None: source, "base": base}
    return SimpleNamespace(
        sequence=(0,) * 5,
        positions=(0, 1, 4),
        short_count=2,
        answer_start=2,
        answer_tokens=12,
        logits=lambda name=None: rows[name],
    )


def session_of(logits, encode=None):
    return SimpleNamespace(
        name="int4", logits=logits, encode=encode, continued=lambda tokens, count: ([0] * count, even([0] * count))
    )


def test_positions_are_compared_where_they_belong():
    """Worked by hand: two equal rows and one that says 3/4 against 1/2: 0.75 ln 1.5 + 0.25 ln 0.5 = 0.1308 nats."""
    source = np.log(np.array([[0.5, 0.5], [0.5, 0.5], [0.75, 0.25]], np.float32))
    found = compare_with_reference_logits(session_of(even), reference(source, np.zeros((3, 2), np.float32)))
    assert found.first_kld_nats == found.short_kld_nats == 0
    assert found.long_kld_nats == pytest.approx(0.1308, abs=1e-4)
    assert found.base_kld_nats == 0
    assert found.base_from_source_nats == pytest.approx(0.1308 / 3, abs=1e-4)
    assert found.continued_kld_nats == 0


def test_the_first_positions_are_asked_without_what_follows(monkeypatch):
    """Worked by hand: a model that says 3/4 against 1/2 whenever it is given more than two tokens."""
    monkeypatch.setattr(module, "_continued_kld", lambda *_: 0.0)
    same, odd = np.log([0.5, 0.5]), np.log([0.75, 0.25])
    source = np.array([same, same, odd], np.float32)
    session = session_of(lambda tokens: np.array([odd if len(tokens) > 2 else same] * len(tokens), np.float32))
    found = compare_with_reference_logits(session, reference(source))
    assert found.short_kld_nats == 0
    assert found.long_kld_nats == 0


def test_the_second_half_of_an_answer_is_compared_with_one_prefill_of_its_tokens():
    """Worked by hand: 1/2 in one prefill against 3/4 is 0.5 ln (2/3) + 0.5 ln 2 = 0.1438 nats; barred tokens count not."""
    lowest = np.finfo(np.float32).min
    rows = np.tile(np.log(np.array([0.75, 0.25, 1e-9], np.float32)), (12, 1))
    rows[:, 2] = lowest

    def prefilled(tokens):
        assert list(tokens) == [7, 8, *range(11)]
        return np.tile(np.array([0, 0, 50], np.float32), (13, 1))

    session = SimpleNamespace(name="int4", logits=prefilled, continued=lambda tokens, count: (list(range(count)), rows))
    assert module._continued_kld(session, (7, 8), 12) == pytest.approx(0.1438, abs=1e-4)
    rows[:6] = 99  # before the change
    assert module._continued_kld(session, (7, 8), 12) == pytest.approx(0.1438, abs=1e-4)
