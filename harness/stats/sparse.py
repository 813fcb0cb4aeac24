"""A next-token distribution kept in two kilobytes, and the divergence from it.

Of each reference position the most likely tokens are kept with their log-probabilities, and of the rest its mass and
some tokens drawn from it. The sum over the kept tokens is exact; the rest is estimated from the drawn ones without
bias (as importance sampling does it; M. Anshumann et al., "Sparse Logit Sampling", ACL 2025, shows why the kept tokens
alone are biased). Two equal distributions have a divergence of exactly zero, drawn tokens or not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from harness.errors import MeasureError
from harness.stats.divergence import log_normaliser

TOP = 256
"""Tokens that are kept of each position."""

DRAWN = 16
"""Tokens that are drawn from the rest of each position."""

Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True, kw_only=True)
class SparseRows:
    """Distributions of a model at some positions; every array has one row per position."""

    top_ids: Ids
    """The most likely tokens, most likely first, shape [positions, top]."""

    top_logp: Floats
    """Their log-probabilities, natural logarithm, likewise."""

    tail_mass: Floats
    """Probability of all other tokens together, shape [positions]."""

    drawn_ids: Ids
    """Tokens drawn from the others with their probabilities, shape [positions, drawn]."""

    drawn_logp: Floats
    """Their log-probabilities in the whole distribution, likewise."""

    def __len__(self) -> int:
        return len(self.top_ids)

    def digest(self) -> str:
        """SHA-256 over all arrays."""
        content = hashlib.sha256()
        for name in self.__slots__:
            content.update(np.ascontiguousarray(getattr(self, name)).tobytes())
        return content.hexdigest()

    def save(self, file: Path) -> None:
        """Write all arrays into one `.npz` file."""
        np.savez(file, **{name: getattr(self, name) for name in self.__slots__})

    @classmethod
    def load(cls, file: Path) -> SparseRows:
        """Read what `save` wrote."""
        with np.load(file, allow_pickle=False) as arrays:
            return cls(**{name: arrays[name] for name in cls.__slots__})

    @classmethod
    def joined(cls, parts: Sequence[SparseRows]) -> SparseRows:
        """The positions of all parts, one after the other.

        Raises:
            MeasureError: there is none.
        """
        if not parts:
            raise MeasureError("nothing to score", next_step="put texts into the pack's texts.jsonl")
        return cls(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in cls.__slots__})

    def part(self, start: int, count: int) -> SparseRows:
        """Some of the positions."""
        return SparseRows(**{name: getattr(self, name)[start : start + count] for name in self.__slots__})


def sparsify(
    logits: Floats,
    *,
    top: int = TOP,
    drawn: int = DRAWN,
    seed: int = 0,
    normaliser: npt.NDArray[np.float64] | None = None,
) -> SparseRows:
    """The sparse form of logits, shape [positions, vocabulary]; `seed` fixes the drawn tokens.

    `normaliser` is `log_normaliser(logits)` where the caller has it already.
    """
    normaliser = log_normaliser(logits) if normaliser is None else normaliser
    top = min(top, logits.shape[1])
    ids = np.argpartition(-logits, top - 1, axis=1)[:, :top]
    ids = np.take_along_axis(ids, np.argsort(-np.take_along_axis(logits, ids, axis=1), axis=1, kind="stable"), axis=1)
    rest = np.exp(logits - normaliser[:, None].astype(np.float32))
    np.put_along_axis(rest, ids, 0.0, axis=1)
    drawn_ids = _drawn(rest, drawn if logits.shape[1] > top else 0, seed)
    return SparseRows(
        top_ids=ids.astype(np.int32),
        top_logp=_logp(logits, ids, normaliser),
        tail_mass=rest.sum(axis=1, dtype=np.float64).astype(np.float32),
        drawn_ids=drawn_ids.astype(np.int32),
        drawn_logp=_logp(logits, drawn_ids, normaliser),
    )


def _logp(logits: Floats, ids: npt.NDArray[np.int64], normaliser: npt.NDArray[np.float64]) -> Floats:
    """Log-probabilities of some columns, rounded as they are kept, so that equal distributions differ by nothing."""
    return (np.take_along_axis(logits, ids, axis=1) - normaliser[:, None]).astype(np.float32)


def _drawn(weights: Floats, count: int, seed: int) -> npt.NDArray[np.int64]:
    """Columns drawn with replacement by their weights, shape [rows, count]; a row without weight gives its first."""
    cumulative = weights.cumsum(axis=1, dtype=np.float64)
    points = np.random.default_rng(seed).random((len(weights), count)) * cumulative[:, -1:]
    found = [np.searchsorted(row, point, side="right") for row, point in zip(cumulative, points, strict=True)]
    places = np.asarray(found, dtype=np.int64).reshape(len(weights), count)
    return np.asarray(np.minimum(places, weights.shape[1] - 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class SparseDivergence:
    """A candidate beside sparse reference rows; every array has one entry per position."""

    kld_nats: npt.NDArray[np.float64]
    """D_KL(reference || candidate), unbiased; drawn tokens can put one that is nearly zero below it."""

    kld_error_nats: npt.NDArray[np.float64]
    """Standard error of that, from the drawn tokens."""

    kld_floor_nats: npt.NDArray[np.float64]
    """What it is at least: the tail taken as one token (the log-sum inequality)."""

    is_same_top: npt.NDArray[np.bool_]
    """Both give the same most likely token."""


def diverge_from(
    reference: SparseRows, logits: Floats, normaliser: npt.NDArray[np.float64] | None = None
) -> SparseDivergence:
    """Compare logits, shape [positions, vocabulary], with reference rows of the same positions.

    `normaliser` is `log_normaliser(logits)` where the caller has it already.

    Raises:
        MeasureError: a logit is NaN or infinite, or the vocabulary lacks a token that the reference knows.
    """
    if not np.isfinite(logits).all():
        raise MeasureError("the model gives logits that are NaN or infinite", next_step="convert it again")
    if len(reference) and reference.top_ids.max() >= logits.shape[1]:
        raise MeasureError(
            f"the model's vocabulary of {logits.shape[1]} tokens lacks token {reference.top_ids.max()} of the source"
        )
    normaliser = log_normaliser(logits) if normaliser is None else normaliser
    p = np.exp(reference.top_logp.astype(np.float64))
    top_logq = _logp(logits, reference.top_ids.astype(np.int64), normaliser)
    top = (p * _gap(reference.top_logp, top_logq)).sum(axis=1)
    tail, error = _tail(reference, _logp(logits, reference.drawn_ids.astype(np.int64), normaliser))
    mass = reference.tail_mass.astype(np.float64)
    least = np.finfo(np.float64).tiny
    candidate_mass = np.maximum(1 - np.exp(top_logq.astype(np.float64)).sum(axis=1), least)
    lumped = np.where(mass > 0, mass * (np.log(np.maximum(mass, least)) - np.log(candidate_mass)), 0)
    return SparseDivergence(
        kld_nats=top + tail,
        kld_error_nats=error,
        kld_floor_nats=np.maximum(top + lumped, 0.0),
        is_same_top=logits.argmax(axis=1) == reference.top_ids[:, 0],
    )


def _gap(logp: Floats, logq: Floats) -> npt.NDArray[np.float64]:
    """log p - log q."""
    return logp.astype(np.float64) - logq.astype(np.float64)


def _tail(reference: SparseRows, logq: Floats) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The tail's part of the divergence and its standard error, both of shape [positions]; `logq` of drawn tokens."""
    count = reference.drawn_ids.shape[1]
    if count == 0:
        return np.zeros(len(reference)), np.zeros(len(reference))
    gaps = _gap(reference.drawn_logp, logq)
    mass = reference.tail_mass.astype(np.float64)
    return mass * gaps.mean(axis=1), mass * gaps.std(axis=1, ddof=1) / np.sqrt(count)
