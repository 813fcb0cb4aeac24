import math

import numpy as np
import pytest

from harness.errors import MeasureError
from harness.measure.divergence import ReferenceScores, compare_with_reference, score_reference
from harness.pack.pack import load_pack
from harness.runtime.fake import FakeSession
from harness.stats.divergence import Divergence, diverge

ANSWERS = {f"case-{n}": f"part {n}" for n in range(8)}
LOGITS = np.log(np.array([[0.5, 0.25, 0.25]], dtype=np.float32))


def test_kl_divergence_by_hand():
    # P = (1/2, 1/4, 1/4), Q uniform: 1/2 ln(3/2) + 1/2 ln(3/4) = 0.05889
    found = diverge(LOGITS, np.zeros((1, 3), np.float32), np.array([1]))
    assert found.kld_nats[0] == pytest.approx(0.5 * math.log(1.5) + 0.5 * math.log(0.75))
    assert found.nll_nats[0] == pytest.approx(math.log(3))
    assert found.reference_nll_nats[0] == pytest.approx(math.log(4))


def test_equal_logits_do_not_diverge_whatever_their_offset():
    found = diverge(LOGITS, LOGITS + 7, np.array([0]))
    assert found.kld_nats[0] == pytest.approx(0, abs=1e-12)
    assert found.is_same_top.all()


def test_another_most_likely_token_is_seen():
    assert not diverge(LOGITS, LOGITS[:, ::-1], np.array([0])).is_same_top.any()


def test_a_padded_vocabulary_is_cut():
    padded = np.concatenate([LOGITS, np.zeros((1, 5), np.float32)], axis=1)
    assert diverge(LOGITS, padded, np.array([0])).kld_nats[0] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_nan_does_not_hide_in_a_mean(bad):
    spoilt = LOGITS.copy()
    spoilt[0, 1] = bad
    with pytest.raises(MeasureError, match="NaN or infinite"):
        diverge(LOGITS, spoilt, np.array([0]))


def test_no_positions_are_no_evidence():
    empty = Divergence(
        kld_nats=np.array([]), is_same_top=np.array([], bool), nll_nats=np.array([]),
        reference_nll_nats=np.array([]), is_answer=np.array([], bool),
    )  # fmt: skip
    assert set(empty.metrics().values()) == {None}


def test_perplexity_counts_answer_tokens_only():
    found = Divergence(
        kld_nats=np.zeros(2), is_same_top=np.ones(2, bool), nll_nats=np.array([math.log(4), 99.0]),
        reference_nll_nats=np.array([math.log(2), 99.0]), is_answer=np.array([True, False]),
    )  # fmt: skip
    metrics = found.metrics()
    assert metrics["perplexity"] == pytest.approx(4)
    assert metrics["reference_perplexity"] == pytest.approx(2)


def scores(seed, noise=0.0):
    table = np.random.default_rng(0).normal(size=(130, 130))
    table = table + noise * np.random.default_rng(seed).normal(size=table.shape)
    return lambda ids: table[np.asarray(ids) % 130].astype(np.float32)


def fake(noise=0.0, **options):
    return FakeSession(lambda _: "x", context_length=4096, score=scores(1, noise), **options)


@pytest.fixture
def reference(pack_folder):
    return score_reference(fake(), load_pack(pack_folder), ANSWERS)


def test_a_session_does_not_diverge_from_itself(reference):
    metrics = compare_with_reference(fake(), reference).metrics()
    assert metrics["kld_mean_nats"] == pytest.approx(0, abs=1e-12)
    assert metrics["top1_agreement"] == 1.0
    assert metrics["perplexity"] == pytest.approx(metrics["reference_perplexity"])


def test_a_noisy_session_diverges_the_more_the_noisier(reference):
    small, large = (compare_with_reference(fake(noise), reference).metrics()["kld_mean_nats"] for noise in (0.1, 0.5))
    assert 0 < small < large


def test_texts_and_answers_are_both_scored(reference):
    assert {sequence.is_answer for sequence in reference.sequences} == {True, False}
    rows = sum(len(sequence.positions) for sequence in reference.sequences)
    assert reference.logits.shape == (rows, 130)


def test_a_reference_survives_the_disk(reference, tmp_path):
    reference.save(tmp_path)
    loaded = ReferenceScores.load(tmp_path)
    assert loaded.sequences == reference.sequences
    assert (np.asarray(loaded.logits) == reference.logits).all()


def test_another_tokenizer_is_named(reference):
    class Shifted(FakeSession):
        def encode(self, text):
            return [*super().encode(text)[:-1], 1]

    with pytest.raises(MeasureError, match="the tokenizer of fake and the source's differ"):
        compare_with_reference(Shifted(lambda _: "x", score=scores(1)), reference)


def test_positions_are_thinned_to_the_budget(pack_folder, monkeypatch):
    monkeypatch.setattr("harness.measure.divergence.LOGITS_BUDGET_BYTES", 40_000)
    thin = score_reference(fake(), load_pack(pack_folder), ANSWERS)
    assert thin.logits.nbytes <= 2 * 40_000  # ids reach 130 of a vocabulary of 130; the last of each stride may overlap
    assert compare_with_reference(fake(), thin).metrics()["kld_mean_nats"] == pytest.approx(0, abs=1e-12)


def test_without_a_right_answer_perplexity_is_no_evidence(pack_folder):
    reference = score_reference(fake(), load_pack(pack_folder), {})
    assert compare_with_reference(fake(), reference).metrics()["perplexity"] is None
