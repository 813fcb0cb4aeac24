"""KL divergence and agreement of two models' logits, position by position."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from harness.errors import MeasureError

_LOGITS_AT_ONCE: Final = 262_144
"""A megabyte of them, which the cache of a core holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Divergence:
    """Per-position comparison of a candidate with the reference; every array has one entry per kept position."""

    kld_nats: npt.NDArray[np.float64]
    """D_KL(reference || candidate), natural logarithm (Kullback and Leibler, 1951)."""

    kld_error_nats: npt.NDArray[np.float64]
    """Standard error of each of these where the reference kept drawn tokens only; 0 where it kept all."""

    is_same_top: npt.NDArray[np.bool_]
    """Reference and candidate give the same most likely token."""

    nll_nats: npt.NDArray[np.float64]
    """Candidate's negative log-likelihood of the token that really follows."""

    reference_nll_nats: npt.NDArray[np.float64]
    """The same of the reference."""

    is_answer: npt.NDArray[np.bool_]
    """The position predicts a token of a right answer."""

    cluster: npt.NDArray[np.int64]
    """Number of the sequence that the position is of: neighbours in a text resemble each other."""

    def where(self, is_wanted: npt.NDArray[np.bool_]) -> Divergence:
        """Some of the positions; `is_wanted` has one entry for each."""
        return Divergence(**{name: getattr(self, name)[is_wanted] for name in Divergence.__slots__})


def diverge(
    reference: npt.NDArray[np.float32],
    candidate: npt.NDArray[np.float32],
    targets: npt.NDArray[np.int64],
    *,
    is_answer: bool = False,
) -> Divergence:
    """Compare logits of one sequence, shape [positions, vocabulary]; `targets` are the tokens that really follow.

    `targets` has shape [positions]; `is_answer` holds for all of them. Vocabularies are cut to the shorter one:
    converters pad them to a multiple of their block.

    Raises:
        MeasureError: a logit is NaN or infinite; it would hide in a mean.
    """
    width = min(reference.shape[1], candidate.shape[1])
    if not np.isfinite(candidate[:, :width]).all():
        raise MeasureError("the model gives logits that are NaN or infinite", next_step="convert it again")
    p, q = log_softmax(reference[:, :width]), log_softmax(candidate[:, :width])
    kld = (np.exp(p) * (p - q)).sum(axis=1)
    rows = np.arange(len(targets))
    return Divergence(
        kld_nats=np.maximum(kld, 0.0),  # rounding may give -1e-17
        kld_error_nats=np.zeros(len(targets)),
        is_same_top=p.argmax(axis=1) == q.argmax(axis=1),
        nll_nats=-q[rows, targets],
        reference_nll_nats=-p[rows, targets],
        is_answer=np.full(len(targets), is_answer),
        cluster=np.zeros(len(targets), dtype=np.int64),
    )


def log_softmax(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Log-probabilities of logits, shape [positions, vocabulary], in float64."""
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


def log_normaliser(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """ln sum exp of logits, shape [positions]: a logit less it is a log-probability.

    Terms are taken in float32 and added in float64: within 1e-7, and the same error for equal logits. Rows are taken
    a few at a time, so that they stay in the cache.
    """
    count = max(1, _LOGITS_AT_ONCE // max(1, logits.shape[1]))
    parts = [_log_normaliser(logits[start : start + count]) for start in range(0, max(1, len(logits)), count)]
    return np.concatenate(parts)


def _log_normaliser(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    top = logits.max(axis=1, keepdims=True)
    terms = np.exp(logits - top)
    return np.asarray(np.log(terms.sum(axis=1, dtype=np.float64)) + top[:, 0])


def nll_of(
    logits: npt.NDArray[np.float32],
    targets: npt.NDArray[np.int64],
    normaliser: npt.NDArray[np.float64] | None = None,
) -> npt.NDArray[np.float64]:
    """Negative log-likelihood of the tokens that really follow, shape [positions].

    `normaliser` is `log_normaliser(logits)` where the caller has it already.
    """
    known = log_normaliser(logits) if normaliser is None else normaliser
    return np.asarray(known - logits[np.arange(len(targets)), targets])


def joined(parts: Sequence[Divergence]) -> Divergence:
    """All positions of several parts, one after the other.

    Raises:
        MeasureError: there is none.
    """
    if not parts:
        raise MeasureError("nothing to compare", next_step="put texts into the pack's texts.jsonl")
    return Divergence(
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in Divergence.__slots__}
    )
