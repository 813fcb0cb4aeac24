"""Whatever the draft is, the answer is the model's own."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.runtime.verified import calibrate, verify

END = frozenset({0})
VOCABULARY = 7


class ToyCursor:
    """A model whose next token depends on all tokens before it; `wobble` is what a prefill adds to its logits."""

    def __init__(self, wobble=0.0, gap=1.0):
        self.token_ids, self.read, self.wobble, self.gap = [], 0, wobble, gap

    def _row(self, tokens, is_prefill):
        state = np.random.default_rng([len(tokens), *tokens])
        row = state.normal(size=VOCABULARY).astype(np.float32) * self.gap
        noise = np.random.default_rng([1, len(tokens), *tokens]).normal(size=VOCABULARY).astype(np.float32)
        return row + (self.wobble * noise if is_prefill else 0)

    def append(self, token_ids, *, keep):
        rows = []
        for token in token_ids:
            self.token_ids.append(token)
            self.read += 1
            rows.append(self._row(self.token_ids, is_prefill=len(token_ids) > 1))
        self.last = rows[-1]
        return np.stack(rows[len(rows) - keep :])

    def rewind(self, length):
        assert 0 <= length <= len(self.token_ids)
        del self.token_ids[length:]

    def generate(self, count, end_ids):
        tokens = []
        while len(tokens) < count and not (tokens and tokens[-1] in end_ids):
            tokens.append(int(self.last.argmax()))
            self.token_ids.append(tokens[-1])
            self.last = self._row(self.token_ids, is_prefill=False)
        return tokens


def own_answer(prompt, count, wobble=0.0):
    cursor = ToyCursor(wobble)
    cursor.append(prompt, keep=1)
    return cursor.generate(count, END)


token_lists = st.lists(st.integers(0, VOCABULARY - 1), max_size=12)


@given(st.lists(st.integers(1, VOCABULARY - 1), min_size=1, max_size=5), token_lists, st.integers(1, 12))
@settings(max_examples=300, deadline=None)
def test_any_draft_gives_the_models_own_answer(prompt, draft, count):
    expected = own_answer(prompt, count)
    found = verify(ToyCursor(), prompt, draft, max_new_tokens=count, end_ids=END)
    ended = expected[-1] in END
    assert found.token_ids == tuple(expected[:-1] if ended else expected)
    assert found.finish_reason == ("stop" if ended else "length")
    assert len(found.draft_rows) <= min(len(draft), count)


@given(st.lists(st.integers(1, VOCABULARY - 1), min_size=1, max_size=4), st.integers(0, 8))
@settings(max_examples=100, deadline=None)
def test_the_own_answer_as_draft_is_read_and_not_written(prompt, cut):
    answer = own_answer(prompt, 10)
    found = verify(ToyCursor(), prompt, answer, max_new_tokens=10, end_ids=END)
    assert (found.verified, found.generated) == (len(answer), 0)
    shorter = verify(ToyCursor(), prompt, answer[:cut], max_new_tokens=10, end_ids=END)
    assert shorter.token_ids == found.token_ids


def test_what_two_prompts_share_is_read_once():
    cursor, system = ToyCursor(), [1, 2, 3, 4, 5, 6] * 20
    for question in ([1, 2], [1, 3], [2, 2]):
        verify(cursor, [*system, *question], [3, 0], max_new_tokens=4, end_ids=END)
    assert cursor.read < len(system) + 40


@pytest.mark.parametrize("seed", range(20))
def test_a_prefill_that_wobbles_does_not_decide_near_ties(seed):
    """The toy's prefill is off by up to some 0.3 logits; single steps, as in generation, are what counts."""
    prompt = [1 + seed % 6, 1 + seed // 6, 2]
    expected = own_answer(prompt, 10, wobble=0.1)
    drift = max(calibrate(ToyCursor(wobble=0.1), [1 + n, 2], own_answer([1 + n, 2], 10)) for n in range(6))
    for draft in (expected, [*expected[:3], 5, 5], []):
        found = verify(ToyCursor(wobble=0.1), prompt, draft, max_new_tokens=10, end_ids=END, drift=2 * drift)
        assert [*found.token_ids, *([0] if found.finish_reason == "stop" else [])] == expected


def test_kernels_that_do_not_care_have_no_drift():
    assert calibrate(ToyCursor(), [1, 2], own_answer([1, 2], 8)) == 0
    assert calibrate(ToyCursor(wobble=0.1), [1, 2], own_answer([1, 2], 8)) > 0
