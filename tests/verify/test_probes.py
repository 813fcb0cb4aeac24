"""Both graphs read the same, in chunks, as far as their context goes; nothing is lost on the way."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.verify.probes import (
    RANDOM,
    SINGLE_STEPS,
    TEXTS,
    ProbeComparison,
    compare_rows,
    load_rows,
    reach,
    read_rows,
    save_rows,
    sequences,
)

VOCABULARY = 40


class Cursor:
    """A model whose logits are drawn for each position; `change` may edit a row, given its position and all tokens."""

    def __init__(self, change=lambda row, place, tokens: row):
        self.token_ids, self.chunks, self.change = [], [], change

    def append(self, token_ids, *, keep):
        assert keep == len(token_ids)
        self.chunks.append(len(token_ids))
        rows = []
        for token in token_ids:
            self.token_ids.append(token)
            place = len(self.token_ids)
            row = np.random.default_rng([place, token]).normal(size=VOCABULARY).astype(np.float32)
            rows.append(self.change(row, place, self.token_ids))
        return np.stack(rows)

    def rewind(self, length):
        raise AssertionError("nothing is read twice")

    def generate(self, count, end_ids):
        raise AssertionError("nothing is generated")


def encode(text):
    return [ord(letter) % VOCABULARY for letter in text]


def read(asked, change=lambda row, place, tokens: row):
    return read_rows(lambda _limit: Cursor(change), asked, VOCABULARY)


@pytest.mark.parametrize(
    ("context", "weights", "expected"),
    [
        (512, 3_500_000, 511),  # the whole of a short context
        (2048, 3_500_000, 2047),
        (131_072, 3_500_000, 8192),  # attention costs more the longer it gets
        (32_768, 494_000_000, 4451),
        (32_768, 8_000_000_000, 1024),  # never less than this
    ],
)
def test_how_far_a_graph_is_read_depends_on_its_size(context, weights, expected):
    assert reach(context, weights) == expected


def test_every_token_of_a_small_vocabulary_is_read_and_no_text_is_longer_than_the_context():
    asked = sequences(encode, VOCABULARY, 100)
    assert set(asked[RANDOM][:VOCABULARY]) == set(range(VOCABULARY))
    assert len(asked[RANDOM]) == 100
    assert set(asked) == {*TEXTS, RANDOM}
    assert max(map(len, sequences(encode, VOCABULARY, 20).values())) == 20
    assert sequences(encode, VOCABULARY, 100) == asked


def test_a_text_that_the_tokenizer_makes_nothing_of_is_left_out():
    assert set(sequences(lambda text: [], VOCABULARY, 5)) == {RANDOM}


def test_the_last_tokens_are_read_one_by_one():
    cursors = []

    def begin(limit):
        assert limit == 201
        cursors.append(Cursor())
        return cursors[-1]

    rows = read_rows(begin, {RANDOM: tuple(range(200))}, VOCABULARY)
    assert cursors[0].chunks == [64, 64, 56, *[1] * SINGLE_STEPS]
    assert rows[RANDOM].shape == (200, VOCABULARY)


def test_a_large_vocabulary_is_sampled_and_a_broken_logit_outside_the_sample_is_seen(monkeypatch):
    monkeypatch.setattr("harness.verify.probes._COLUMNS", 4)
    whole = read({"text": (1, 2, 3)})["text"]
    assert whole.shape == (3, 4)
    for column in range(VOCABULARY):

        def break_one(row, place, _tokens, column=column):
            row[column] = np.inf if place == 2 else row[column]
            return row

        rows = read({"text": (1, 2, 3)}, break_one)["text"]
        assert np.isnan(rows[1]).all()
        assert np.array_equal(rows[[0, 2]], whole[[0, 2]])


def test_equal_graphs_have_no_noise_and_stretches_cover_all_tokens():
    asked = sequences(encode, VOCABULARY, 1200)
    found = compare_rows(read(asked), read(asked))
    assert {probe.noise for probe in found} == {probe.worst_noise for probe in found} == {0.0}
    assert [probe.name for probe in found if probe.name.startswith(RANDOM)] == [
        "random tokens 1 to 64",
        "random tokens 65 to 256",
        "random tokens 257 to 1024",
        "random tokens 1025 to 1184",
        "random tokens 1185 to 1200",
    ]


@given(st.integers(1, 300), st.data())
def test_a_position_that_is_off_is_found_wherever_it_is(length, data):
    place = data.draw(st.integers(1, length))
    asked = {RANDOM: tuple(range(length))}
    found = compare_rows(read(asked), read(asked, lambda row, at, _tokens: -row if at == place else row))
    worst = max(found, key=lambda probe: probe.worst_noise)
    assert worst.worst_noise == pytest.approx(2.0)
    assert worst.worst_token == place
    assert sum(probe.worst_noise > 0 for probe in found) == 1


def test_where_logits_stop_being_finite_is_told():
    asked = {RANDOM: tuple(range(100))}
    found = compare_rows(read(asked), read(asked, lambda row, place, _tokens: row * (np.nan if place > 70 else 1)))
    assert [(probe.noise, probe.not_finite_token) for probe in found] == [(0.0, None), (None, 71), (None, 85)]
    broken = compare_rows(read(asked, lambda row, *_: row * np.inf), read(asked))
    assert not any(probe.is_reference_finite for probe in broken)


def test_rows_survive_the_disk(tmp_path):
    asked = {"a": (1, 2), "b/c": (3,)}
    rows = read(asked)
    save_rows(rows, tmp_path)
    again = load_rows(list(asked), tmp_path)
    assert all(np.array_equal(again[name], rows[name]) for name in asked)


@pytest.mark.parametrize(
    ("context", "told"), [(512, "as far as 511 tokens;"), (4096, "as far as 511 tokens of its context of 4,096;")]
)
def test_the_summary_says_how_far_was_looked(context, told):
    asked = sequences(encode, VOCABULARY, 511)
    probes = compare_rows(read(asked), read(asked, lambda row, *_: row * 1.25))
    comparison = ProbeComparison(probes=probes, tokens=511, context_length=context)
    assert told in comparison.summary
    assert comparison.summary.endswith("off by 0.25 of their spread at most")
    assert f"{len(TEXTS)} texts" in comparison.summary
