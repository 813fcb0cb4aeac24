import math

import numpy as np
import pytest

from harness.errors import MeasureError
from harness.measure.divergence import (
    compare_on_the_way,
    compare_with_reference,
    divergence_estimates,
    measure_divergence,
)
from harness.measure.reference_scores import ReferenceScores, ScoresOnTheWay, answers_to_score, score_reference
from harness.measure.verified_session import CALIBRATED, VerifiedSession
from harness.pack.load import load_pack
from harness.runtime.fake import FakeSession
from harness.stats.divergence import Divergence, diverge
from harness.system.rows import KeptRows

LIMIT = 64
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


def positions(kld, *, clusters, same=None, nll=None, reference_nll=None, answers=None):
    count = len(kld)
    return Divergence(
        kld_nats=np.array(kld, dtype=float),
        kld_error_nats=np.zeros(count),
        is_same_top=np.ones(count, bool) if same is None else np.array(same, bool),
        nll_nats=np.zeros(count) if nll is None else np.array(nll, dtype=float),
        reference_nll_nats=np.zeros(count) if reference_nll is None else np.array(reference_nll, dtype=float),
        is_answer=np.zeros(count, bool) if answers is None else np.array(answers, bool),
        cluster=np.array(clusters, dtype=np.int64),
    )


def test_without_a_position_everything_is_missing():
    assert all(estimate.is_missing for estimate in divergence_estimates(positions([], clusters=[])).values())


def test_the_interval_of_a_mean_is_over_sequences():
    # sequences of two positions with means 1, 2 and 3: mean 2, standard error 1 / sqrt(3), t(0.975, 2) = 4.3027
    found = divergence_estimates(positions([0, 2, 1, 3, 2, 4], clusters=[0, 0, 1, 1, 2, 2]))["kld_mean_nats"]
    assert (found.value, found.n) == (2.0, 3)
    assert found.high - 2 == pytest.approx(4.3027 / math.sqrt(3), rel=1e-4)
    assert found.low == 0.0  # a divergence is never negative


def test_agreement_stays_between_none_and_all():
    found = divergence_estimates(positions([0, 0, 0], clusters=[0, 1, 2], same=[1, 1, 0]))["top1_agreement"]
    assert (found.value, found.low, found.high) == (pytest.approx(2 / 3), 0.0, 1.0)


def test_one_sequence_bounds_nothing():
    found = divergence_estimates(positions([1, 2], clusters=[0, 0]))
    assert (found["kld_mean_nats"].low, found["kld_p99_nats"].high) == (None, None)


def test_perplexity_counts_answer_tokens_only_and_the_ratio_is_paired():
    log = math.log
    found = divergence_estimates(
        positions(
            [0, 0, 0],
            clusters=[0, 1, 2],
            nll=[log(4), log(8), 99],
            reference_nll=[log(2), log(4), 99],
            answers=[True, True, False],
        )
    )
    assert found["perplexity"].value == pytest.approx(math.sqrt(32))
    assert found["perplexity_ratio"].value == pytest.approx(2)
    # both tokens are exactly twice as surprising, however surprising each is
    assert (found["perplexity_ratio"].low, found["perplexity_ratio"].high) == (pytest.approx(2), pytest.approx(2))
    assert found["perplexity"].high > 10


def test_answers_are_measured_apart_from_running_text():
    # answers: mean of 0 and 2 is 1, one of two tokens agrees; all: mean of 0, 2 and 7 is 3, one of three agrees
    found = divergence_estimates(
        positions([0, 2, 7], clusters=[0, 1, 2], same=[True, False, False], answers=[True, True, False])
    )
    assert (found["answer_kld_mean_nats"].value, found["kld_mean_nats"].value) == (1.0, 3.0)
    assert (found["answer_top1_agreement"].value, found["top1_agreement"].value) == (0.5, pytest.approx(1 / 3))
    assert found["answer_kld_mean_nats"].n == 2


def test_without_a_right_answer_there_is_nothing_to_say_of_answers():
    found = divergence_estimates(positions([0, 2], clusters=[0, 1], answers=[False, False]))
    for name in ("answer_kld_mean_nats", "answer_top1_agreement", "perplexity", "perplexity_ratio"):
        assert found[name].is_missing
        assert "no right answer" in found[name].method


def test_a_hopeless_model_has_an_infinite_perplexity_and_no_traceback():
    found = divergence_estimates(positions([0, 0], clusters=[0, 1], nll=[2e4, 3e4], answers=[True, True]))
    assert found["perplexity"].value == math.inf


def scores(seed, noise=0.0):
    table = np.random.default_rng(0).normal(size=(130, 130))
    table = table + noise * np.random.default_rng(seed).normal(size=table.shape)
    return lambda ids: table[np.asarray(ids) % 130].astype(np.float32)


def fake(noise=0.0, **options):
    return FakeSession(lambda _: "x", context_length=4096, score=scores(1, noise), **options)


def right_answers(pack, count=8):
    """Prompt and answer in tokens, by case id."""
    prompts = {case.id: fake().render(pack.conversation(case.messages)) for case in pack.cases[:count]}
    return {
        case_id: (tuple(fake().encode(prompt)), tuple(fake().encode(f"part {case_id[-1]}")))
        for case_id, prompt in prompts.items()
    }


@pytest.fixture
def reference(pack_folder):
    pack = load_pack(pack_folder)
    return score_reference(fake(), pack, right_answers(pack))


def value(session, reference, metric):
    return measure_divergence(session, reference).measurement.estimate(metric).value


def test_a_session_does_not_diverge_from_itself(reference):
    found = measure_divergence(fake(), reference)
    estimates = found.measurement.estimates
    assert estimates["kld_mean_nats"].value == pytest.approx(0, abs=1e-12)
    assert estimates["top1_agreement"].value == 1.0
    assert estimates["perplexity_ratio"].value == pytest.approx(1)
    assert estimates["perplexity"].value == pytest.approx(found.of_source["perplexity"].value)
    assert estimates["perplexity"].has_interval


def test_a_noisy_session_diverges_the_more_the_noisier(reference):
    small, large = (value(fake(noise), reference, "kld_mean_nats") for noise in (0.1, 0.5))
    assert 0 < small < large


def test_what_diverges_most_is_named_and_every_position_is_kept(reference):
    found = measure_divergence(fake(0.5), reference)
    assert len(found.samples["kld_nats"]) == len(reference.rows)
    details = found.measurement.details["kld_mean_nats"]
    assert details.startswith(f"{len(reference.rows)} positions of 9 texts and answers; most in ")
    assert details.count("nats") == 3


def test_texts_and_answers_are_both_scored(reference):
    assert {sequence.is_answer for sequence in reference.sequences} == {True, False}
    assert sum(sequence.count for sequence in reference.sequences) == len(reference.rows) == len(reference.nll_nats)


@pytest.mark.parametrize(("tokens", "answers"), [(1, 1), (200, 3), (400, 6), (10_000, 8)])
def test_a_part_of_the_sequences_has_some_of_each_kind(reference, tokens, answers):
    some = reference.some(tokens)
    assert sum(sequence.is_answer for sequence in some.sequences) == answers
    assert sum(not sequence.is_answer for sequence in some.sequences) == 1
    assert sum(sequence.count for sequence in some.sequences) == len(some.rows) == len(some.nll_nats)
    assert compare_with_reference(fake(), some).kld_nats.max() < 1e-9  # rows stay with their sequences


def test_a_reference_survives_the_disk(reference, tmp_path):
    reference.save(tmp_path)
    loaded = ReferenceScores.load(tmp_path)
    assert loaded.sequences == reference.sequences
    assert (loaded.rows.top_logp == reference.rows.top_logp).all()
    assert (loaded.nll_nats == reference.nll_nats).all()


def test_another_tokenizer_takes_nothing_from_the_comparison_of_graphs(reference):
    """The source's ids are scored; what the runtime's tokenizer makes of texts is counted elsewhere."""

    class Shifted(FakeSession):
        def encode(self, text):
            return [*super().encode(text)[:-1], 1]

    shifted, plain = (kind(lambda _: "x", score=scores(1)) for kind in (Shifted, FakeSession))
    found, expected = (compare_with_reference(session, reference).kld_nats for session in (shifted, plain))
    assert (found == expected).all()


def test_without_a_right_answer_perplexity_is_missing(pack_folder):
    found = measure_divergence(fake(), score_reference(fake(), load_pack(pack_folder), {}))
    assert found.measurement.estimate("perplexity").is_missing
    assert found.measurement.estimate("perplexity_ratio").method == "the source model gives no right answer to score"
    assert found.of_source["perplexity"].is_missing
    assert not found.measurement.estimate("kld_mean_nats").is_missing


def test_a_divergence_that_was_kept_is_not_measured_again(reference, tmp_path):
    class Counting(FakeSession):
        cursors = 0

        def logits(self, token_ids):
            Counting.cursors += 1
            return super().logits(token_ids)

    def measured(model, fresh=False):
        rows = KeptRows(tmp_path / "rows.db", fresh=fresh)
        inner = Counting(lambda _: "x", context_length=4096, score=scores(1, 0.3))
        Counting.cursors = 0
        found = measure_divergence(VerifiedSession(inner=inner, rows=rows, model=model), reference)
        return found.samples, Counting.cursors

    first, read = measured("a")
    again, none = measured("a")
    assert (first, none) == (again, 0)
    assert measured("b")[1] == measured("a", fresh=True)[1] == read > 0


class Reading(FakeSession):
    """Counts the sequences that are read."""

    def __init__(self, noise=0.0):
        super().__init__(lambda _: "x", context_length=4096, score=scores(1, noise))
        self.read = 0

    def logits(self, token_ids):
        self.read += 1
        return super().logits(token_ids)


def test_what_was_read_for_an_answer_is_not_read_again_for_its_divergence(pack_folder):
    pack = load_pack(pack_folder)
    reference = score_reference(fake(), pack, right_answers(pack))
    drafts = dict(right_answers(pack).values())
    expected = compare_with_reference(fake(0.3), reference)
    inner = Reading(0.3)
    session = VerifiedSession(inner=inner, drafts=drafts, rows=KeptRows(pack_folder / "kept.db"))
    compare_on_the_way(session, reference)
    session.answer_many([[{"role": "user", "content": f"hi {n}"}] for n in range(CALIBRATED)], max_new_tokens=8)
    session.answer_many([pack.conversation(case.messages) for case in pack.cases], max_new_tokens=LIMIT)
    inner.read = 0
    found = compare_with_reference(session, reference)
    texts = sum(not sequence.is_answer for sequence in reference.sequences)
    assert inner.read == texts
    assert np.allclose(found.kld_nats, expected.kld_nats, atol=1e-12)
    assert (found.is_same_top == expected.is_same_top).all()


def test_the_source_is_scored_while_it_answers(pack_folder):
    pack, inner = load_pack(pack_folder), Reading()
    answers = right_answers(pack)
    on_the_way = ScoresOnTheWay(prompts=frozenset(answers[case.id][0] for case in answers_to_score(pack)[:8]))
    session = VerifiedSession(inner=inner, drafts=dict(answers.values()), on_draft=on_the_way.see)
    session.answer_many([[{"role": "user", "content": f"hi {n}"}] for n in range(CALIBRATED)], max_new_tokens=8)
    session.answer_many([pack.conversation(case.messages) for case in pack.cases], max_new_tokens=LIMIT)
    inner.read = 0
    found = score_reference(inner, pack, answers, on_the_way=on_the_way)
    assert inner.read == len(pack.texts)
    again = score_reference(fake(), pack, answers)
    assert found.rows.digest() == again.rows.digest()
    assert (found.nll_nats == again.nll_nats).all()


def test_wrong_answers_make_room_for_other_right_ones(pack_folder):
    pack = load_pack(pack_folder)
    pack = pack.model_copy(update={"cases": pack.cases[:8] * 10})
    cases = tuple(case.model_copy(update={"id": f"case-{n}"}) for n, case in enumerate(pack.cases))
    pack = pack.model_copy(update={"cases": cases})
    answers = right_answers(pack, 80)
    wrong = [case.id for case in answers_to_score(pack)[:9]]
    right = {case_id: answer for case_id, answer in answers.items() if case_id not in wrong}
    scored = [one.id for one in score_reference(fake(), pack, right).sequences if one.is_answer]
    assert len(scored) == 60
    assert not set(scored) & set(wrong)
    assert scored == sorted(scored, key=list(answers).index)
