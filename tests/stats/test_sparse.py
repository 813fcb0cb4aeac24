import numpy as np
import pytest

from harness.errors import MeasureError
from harness.stats.divergence import diverge, log_softmax
from harness.stats.sparse import SparseRows, diverge_from, sparsify


def logits(positions, vocabulary, seed=0, scale=2.0):
    return np.random.default_rng(seed).normal(scale=scale, size=(positions, vocabulary)).astype(np.float32)


def dense(reference, candidate):
    return diverge(reference, candidate, np.zeros(len(reference), dtype=np.int64)).kld_nats


def test_identity_is_zero_whatever_was_drawn():
    rows = logits(40, 5000)
    found = diverge_from(sparsify(rows), rows)
    assert not found.kld_nats.any()
    assert not found.kld_error_nats.any()
    assert found.is_same_top.all()


def test_a_small_vocabulary_is_kept_whole():
    reference, candidate = logits(30, 200), logits(30, 200, seed=1)
    found = diverge_from(sparsify(reference), candidate)
    assert found.kld_nats == pytest.approx(dense(reference, candidate), rel=1e-4)
    assert not found.kld_error_nats.any()


@pytest.mark.parametrize("noise", [0.02, 0.2, 1.0])
def test_the_mean_is_the_dense_one_within_one_per_cent_or_its_error(noise):
    """Of rows as language models have them: a few likely tokens and a long tail."""
    generator = np.random.default_rng(3)
    ranks = np.log(1 + np.arange(20_000))
    reference = np.stack([-1.4 * generator.permutation(ranks) for _ in range(200)]).astype(np.float32)
    candidate = reference + generator.normal(scale=noise, size=reference.shape).astype(np.float32)
    found, exact = diverge_from(sparsify(reference), candidate), dense(reference, candidate)
    error = np.sqrt((found.kld_error_nats**2).sum()) / len(exact)
    assert abs(found.kld_nats.mean() - exact.mean()) < max(0.01 * exact.mean(), 4 * error)
    assert (found.kld_floor_nats <= exact + 1e-6).all()


def test_the_estimate_is_unbiased_over_draws():
    reference, candidate = logits(1, 3000, scale=1.0), logits(1, 3000, seed=5, scale=1.0)
    exact = dense(reference, candidate)[0]
    found = [diverge_from(sparsify(reference, top=32, seed=seed), candidate) for seed in range(400)]
    values = np.array([one.kld_nats[0] for one in found])
    assert values.mean() == pytest.approx(exact, abs=4 * values.std() / 20)
    assert np.mean([one.kld_error_nats[0] for one in found]) == pytest.approx(values.std(), rel=0.15)


def test_rows_survive_the_disk_and_can_be_cut(tmp_path):
    rows = sparsify(logits(10, 1000))
    rows.save(tmp_path / "rows.npz")
    read = SparseRows.load(tmp_path / "rows.npz")
    assert (read.top_ids == rows.top_ids).all()
    assert (read.part(3, 2).drawn_logp == rows.drawn_logp[3:5]).all()
    assert (tmp_path / "rows.npz").stat().st_size / 10 < 2500


def test_what_cannot_be_compared_is_told():
    rows = sparsify(logits(2, 100))
    broken = logits(2, 100)
    broken[1, 5] = np.nan
    with pytest.raises(MeasureError, match="NaN or infinite"):
        diverge_from(rows, broken)
    with pytest.raises(MeasureError, match="lacks token"):
        diverge_from(rows, logits(2, 50))


def test_a_padded_vocabulary_changes_little():
    """Converters pad the vocabulary to a multiple of their block; the added tokens are unlikely."""
    rows = logits(5, 1000)
    padded = np.concatenate([rows, np.full((5, 24), -30, dtype=np.float32)], axis=1)
    assert diverge_from(sparsify(rows), padded).kld_nats.max() < 1e-6
    assert np.isfinite(log_softmax(padded)).all()
