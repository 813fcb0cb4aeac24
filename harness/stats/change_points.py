"""Where a series changed its level."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

LEAST = 3
"""Values on either side of a change: fewer do not make a level."""

_PERMUTATIONS = 999
_ALPHA = 0.01


def change_points(values: npt.NDArray[np.float64], *, alpha: float = _ALPHA, seed: int = 0) -> list[int]:
    """Indices at which a new level begins, growing; empty where nothing changed.

    Binary segmentation (A. J. Scott and M. Knott, Biometrics 30, 1974): the split with the largest difference of means
    of ranks, in standard errors, is kept if at most `alpha` of random orders of the same values have a larger one, and
    both parts are searched in turn. Ranks, because one wild run is no change. The orders are drawn from a fixed seed:
    the same values give the same points.

    Args:
        values: shape [runs], in order of time.
        alpha: probability of finding a change in a series without one.
        seed: of the random orders.
    """
    generator = np.random.default_rng(seed)
    found: list[int] = []
    parts = [(0, len(values))]
    while parts:
        begin, end = parts.pop()
        split = _split(values[begin:end], alpha, generator)
        if split is not None:
            found.append(begin + split)
            parts += [(begin, begin + split), (begin + split, end)]
    return sorted(found)


def _split(values: npt.NDArray[np.float64], alpha: float, generator: np.random.Generator) -> int | None:
    """Where the values change most, if that is more than chance does."""
    if len(values) < 2 * LEAST:
        return None
    ranks = _mid_ranks(values)
    sizes = _statistics(ranks[None, :])[0]
    best = int(sizes.argmax())
    orders = generator.permuted(np.tile(ranks, (_PERMUTATIONS, 1)), axis=1)
    reached = int((_statistics(orders).max(axis=1) >= sizes[best] - 1e-9).sum())
    return LEAST + best if (reached + 1) / (_PERMUTATIONS + 1) <= alpha else None


def _statistics(ranks: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """|difference of mean ranks| of every split, weighted by its precision; shape [series, splits]."""
    count = ranks.shape[1]
    left = np.arange(LEAST, count - LEAST + 1)
    sums = np.cumsum(ranks, axis=1)[:, left - 1]
    total = ranks.sum(axis=1, keepdims=True)
    difference = np.abs(sums / left - (total - sums) / (count - left))
    weighted: npt.NDArray[np.float64] = difference * np.sqrt(left * (count - left) / count)
    return weighted


def _mid_ranks(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Ranks from 1; equal values share the mean of theirs."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: npt.NDArray[np.float64] = (last - (counts - 1) / 2)[places]
    return ranks
