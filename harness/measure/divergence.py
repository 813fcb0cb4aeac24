"""How far a variant's predictions lie from the source model's, position by position."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.config.limits import Limit
from harness.measure.reference_scores import ReferenceScores, ScoredSequence, longest
from harness.measure.verified_session import Tokens, VerifiedSession
from harness.metrics.measurement import Measured, Measurement
from harness.metrics.units import Unit, format_value
from harness.runtime.verified import Cursor, Rows, SteppingSession, read_rows
from harness.stats.divergence import Divergence, joined, log_normaliser, nll_of
from harness.stats.estimate import CONFIDENCE, Estimate
from harness.stats.means import clustered_mean
from harness.stats.quantiles import clustered_quantile
from harness.stats.sparse import SparseRows, diverge_from
from harness.system.progress import SILENT, Progress, Step, silent_step

_FORMAT = 3
_SHOWN = 3
_LEAST_OF_A_KIND = 2
"""Sequences of answers and of texts: without a second one there is no interval."""

_LOOK = 12
"""Sequences between two looks at the limits."""

_STRICT = 0.999
"""Confidence at a look: over ten looks at five metrics errors add up to 5 % at most."""

_OF_ANSWERS = ("answer_kld_mean_nats", "answer_top1_agreement", "perplexity", "perplexity_ratio")
"""What is measured where the source model gives a right answer: what quantisation costs the domain."""

_NO_ANSWER = Estimate.missing("the source model gives no right answer to score")


def measure_divergence(
    session: SteppingSession,
    reference: ReferenceScores,
    *,
    until: Mapping[str, Limit] | None = None,
    is_over: Callable[[], bool] | None = None,
    progress: Progress = SILENT,
) -> Measured:
    """KL divergence, top-1 agreement and perplexity of a candidate on what the source model was scored on.

    Args:
        session: the candidate.
        reference: the source model's answers and texts, with its logits.
        until: limits by metric; stops as soon as each of them lies outside of a 99.9 % interval. None compares all.
        is_over: whether the time for it is used up.
        progress: hears how far it is.

    Raises:
        MeasureError: the candidate's tokenizer gives other ids, or a logit is not finite.
    """
    whole, is_cut, step = len(reference.sequences), False, progress.step("divergence")
    if until is not None or is_over is not None:
        reference = reference.shuffled()
        found, is_cut = _compare_until(session, reference, step, until or {}, is_over or (lambda: False))
        reference = reference.part(range(len(np.unique(found.cluster))))
    else:
        found = compare_with_reference(session, reference, step)
    estimates = divergence_estimates(found)
    of_all = f"{found.kld_nats.size} positions of {len(reference.sequences)} texts and answers{_drawn(found)}"
    if len(reference.sequences) < whole:
        why = "the time for them was used up" if is_cut else "every limit on divergence was decided"
        of_all += f", of {whole}, as {why}"
    of_answers = f"{int(found.is_answer.sum())} tokens of right answers"
    details = {
        **dict.fromkeys(("kld_mean_nats", "kld_p99_nats"), f"{of_all}; most in {_worst(found, reference)}"),
        "top1_agreement": of_all,
        **dict.fromkeys(_OF_ANSWERS, of_answers),
    }
    return Measured(
        measurement=Measurement(
            estimates=estimates,
            details=details,
            cut=frozenset(estimates) if is_cut else frozenset(),
        ),
        samples={"kld_nats": [round(float(value), 9) for value in found.kld_nats]},
        of_source={"perplexity": _source_perplexity(found)},
    )


def _compare_until(
    session: SteppingSession,
    reference: ReferenceScores,
    step: Step,
    limits: Mapping[str, Limit],
    is_over: Callable[[], bool],
) -> tuple[Divergence, bool]:
    """As many sequences as decide the limits or fit into the time, and some of each kind; whether the time was over."""
    sequences, parts = reference.sequences, []
    wanted = {kind: min(_LEAST_OF_A_KIND, sum(one.is_answer is kind for one in sequences)) for kind in (True, False)}
    for done, sequence in enumerate(sequences, 1):
        found = compare_with_reference(session, reference.part([done - 1]))
        parts.append(replace(found, cluster=np.full_like(found.cluster, done - 1)))
        step(done, len(sequences))
        wanted[sequence.is_answer] -= 1
        if max(wanted.values()) > 0 or done == len(sequences):
            continue
        if is_over():
            return joined(parts), True
        if limits and done % _LOOK == 0 and _is_decided(joined(parts), limits):
            break
    return joined(parts), False


def _is_decided(found: Divergence, limits: Mapping[str, Limit]) -> bool:
    """Whether no limit lies within its metric's interval; what has no value will not get one."""
    estimates = divergence_estimates(found, confidence=_STRICT)
    judged = [(estimates[name], limit) for name, limit in limits.items() if name in estimates]
    return bool(judged) and all(one.value is None or _is_one_sided(one, limit) for one, limit in judged)


def _is_one_sided(estimate: Estimate, limit: Limit) -> bool:
    if estimate.low is None or estimate.high is None:
        return False
    return limit.admits(estimate.low) == limit.admits(estimate.high)


def divergence_estimates(found: Divergence, *, confidence: float = CONFIDENCE) -> dict[str, Estimate]:
    """`kld_mean_nats`, `kld_p99_nats`, `top1_agreement` over all positions; those in `_OF_ANSWERS` over answer tokens.

    Perplexity is exp(mean negative log-likelihood); its ratio to the source model's is exp(mean difference of the
    two on the same tokens). Intervals are over sequences, whose positions resemble each other. A metric without a
    position is missing.
    """
    return {
        "kld_mean_nats": _mean_kld(found, confidence),
        "kld_p99_nats": clustered_quantile(found.kld_nats, found.cluster, 99, confidence=confidence),
        "top1_agreement": _agreement(found, confidence),
        **(_answer_estimates(found, confidence) if found.is_answer.any() else dict.fromkeys(_OF_ANSWERS, _NO_ANSWER)),
    }


def _answer_estimates(found: Divergence, confidence: float) -> dict[str, Estimate]:
    answers = found.where(found.is_answer)
    return {
        "answer_kld_mean_nats": _mean_kld(answers, confidence),
        "answer_top1_agreement": _agreement(answers, confidence),
        "perplexity": _perplexity(answers, answers.nll_nats, confidence),
        "perplexity_ratio": _perplexity(answers, answers.nll_nats - answers.reference_nll_nats, confidence),
    }


def _mean_kld(found: Divergence, confidence: float) -> Estimate:
    return clustered_mean(found.kld_nats, found.cluster, confidence=confidence).map(lambda nats: max(nats, 0.0))


def _agreement(found: Divergence, confidence: float) -> Estimate:
    mean = clustered_mean(found.is_same_top.astype(np.float64), found.cluster, confidence=confidence)
    return mean.map(lambda share: min(max(share, 0.0), 1.0))


def _drawn(found: Divergence) -> str:
    """What the tokens that were only drawn from the reference add to the mean's uncertainty."""
    error = float(np.sqrt((found.kld_error_nats**2).sum()) / max(1, found.kld_nats.size))
    return f", known to {format_value(Unit.NATS, error)} nats" if error > 0 else ""


def _perplexity(found: Divergence, nll_nats: npt.NDArray[np.float64], confidence: float = CONFIDENCE) -> Estimate:
    return clustered_mean(nll_nats, found.cluster, confidence=confidence).map(_exp)


def _source_perplexity(found: Divergence) -> Estimate:
    answers = found.where(found.is_answer)
    return _perplexity(answers, answers.reference_nll_nats) if found.is_answer.any() else _NO_ANSWER


def _exp(nats: float) -> float:
    """e to the power of `nats`; infinite where a double cannot hold it."""
    with np.errstate(over="ignore"):
        return float(np.exp(nats))


def _worst(found: Divergence, reference: ReferenceScores) -> str:
    """The three sequences that diverge most, by their mean."""
    means = {
        sequence.id: float(found.kld_nats[found.cluster == number].mean())
        for number, sequence in enumerate(reference.sequences)
    }
    worst = sorted(means, key=lambda name: means[name], reverse=True)[:_SHOWN]
    return ", ".join(f"{name} ({format_value(Unit.NATS, means[name])} nats)" for name in worst)


def compare_with_reference(
    session: SteppingSession, reference: ReferenceScores, step: Step = silent_step
) -> Divergence:
    """Score the same tokens with a candidate and compare graphs, chunk by chunk, whatever its tokenizer makes of texts.

    Raises:
        MeasureError: the candidate's vocabulary or a number is not comparable.
    """
    keep = session.keep if isinstance(session, VerifiedSession) else _compute
    cursor, parts = session.cursor(longest(reference.sequences)), []
    for done, (sequence, rows, nll_nats) in enumerate(reference.by_sequence(), 1):
        kept = keep(_key(sequence, rows), partial(_compare_sequence, cursor, sequence, rows))
        parts.append(_as_divergence(kept, nll_nats, is_answer=sequence.is_answer, cluster=done - 1))
        step(done, len(reference.sequences))
    return joined(parts)


def compare_on_the_way(session: VerifiedSession, reference: ReferenceScores) -> None:
    """Have the session compare answers with the reference while it checks them: one pass for both.

    `compare_with_reference` finds what was compared so and reads the rest: answers that were kept or that the
    candidate was not asked, and running text.
    """
    scored = {
        (sequence.token_ids[: sequence.first + 1], sequence.token_ids[sequence.first + 1 :]): (sequence, rows)
        for sequence, rows, _ in reference.by_sequence()
        if sequence.is_answer
    }

    def see(prompt: Tokens, draft: Tokens, rows: Rows) -> None:
        for answer in (draft, draft[:-1]):  # with and without the token that ends it
            if (prompt, answer) in scored:
                sequence, expected = scored[prompt, answer]
                found = partial(_compared, [(sequence.first, rows[: sequence.count])], sequence, expected)
                session.keep(_key(sequence, expected), found)

    session.on_draft = see


def _key(sequence: ScoredSequence, reference: SparseRows) -> list[Any]:
    return [_FORMAT, list(sequence.token_ids), sequence.first, reference.digest()]


def _compute(_what: Any, compute: Callable[[], Any]) -> Any:
    return compute()


def _compare_sequence(cursor: Cursor, sequence: ScoredSequence, reference: SparseRows) -> dict[str, list[float]]:
    return _compared(read_rows(cursor, sequence.read, sequence.first), sequence, reference)


def _compared(
    chunks: Iterable[tuple[int, Rows]], sequence: ScoredSequence, reference: SparseRows
) -> dict[str, list[float]]:
    """The candidate beside the reference at every scored position of a sequence, as plain values."""
    found: dict[str, list[float]] = {name: [] for name in ("kld_nats", "kld_error_nats", "is_same_top", "nll_nats")}
    for start, rows in chunks:
        normaliser = log_normaliser(rows)
        compared = diverge_from(reference.part(start - sequence.first, len(rows)), rows, normaliser)
        for name in ("kld_nats", "kld_error_nats", "is_same_top"):
            found[name] += getattr(compared, name).tolist()
        found["nll_nats"] += nll_of(rows, sequence.targets(start, len(rows)), normaliser).tolist()
    return found


def _as_divergence(
    found: Mapping[str, list[float]], reference_nll_nats: npt.NDArray[np.float64], *, is_answer: bool, cluster: int
) -> Divergence:
    count = len(reference_nll_nats)
    return Divergence(
        kld_nats=np.asarray(found["kld_nats"], dtype=np.float64),
        kld_error_nats=np.asarray(found["kld_error_nats"], dtype=np.float64),
        is_same_top=np.asarray(found["is_same_top"], dtype=np.bool_),
        nll_nats=np.asarray(found["nll_nats"], dtype=np.float64),
        reference_nll_nats=reference_nll_nats,
        is_answer=np.full(count, is_answer),
        cluster=np.full(count, cluster, dtype=np.int64),
    )
