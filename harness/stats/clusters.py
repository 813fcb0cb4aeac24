"""Observations that resemble each other: how many independent ones a sample of clusters is worth."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

Clusters = Sequence[Hashable | None]
"""What each observation shares with others: a conversation, a document; None where it stands alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Worth:
    """What a clustered sample tells about a mean, in independent observations."""

    count: float
    """Independent observations that would leave as wide an interval, at most as many as there are."""

    clusters: int
    """Clusters; an observation that stands alone is one."""

    is_clustered: bool
    """Whether any cluster has more than one observation."""


def numbered(clusters: Clusters) -> npt.NDArray[np.int64]:
    """The clusters as whole numbers from 0, one of its own for each observation that stands alone."""
    seen: dict[Hashable, int] = {}
    keys = [("alone", at) if name is None else ("shared", name) for at, name in enumerate(clusters)]
    return np.asarray([seen.setdefault(key, len(seen)) for key in keys], dtype=np.int64)


def worth(values: Sequence[float], clusters: Clusters | None, *, confidence: float) -> Worth:
    """How many independent observations of a mean these values are worth.

    Their number over the design effect (L. Kish, Survey Sampling, 1965, section 5.4): the linearised variance of the
    mean over clusters against that of independent values, at least 1, with Student's t of (clusters - 1) degrees of
    freedom in place of the normal quantile (E. L. Korn and B. I. Graubard, Survey Methodology 24, 1998). Where all
    values are the same nothing shows how alike those of a cluster are, and they count as wholly alike.

    Args:
        values: shape [values].
        clusters: the cluster of each value, shape [values]; None for independent values.
        confidence: of the interval that is made of it, 0 to 1.

    Raises:
        ValueError: the two have not the same length.
    """
    seen = np.asarray(values, dtype=np.float64)
    if clusters is not None and len(clusters) != len(seen):
        raise ValueError(f"{len(seen)} values and {len(clusters)} clusters")
    ids = numbered(clusters if clusters is not None else [None] * len(seen))
    sizes = np.bincount(ids)
    if len(sizes) == len(seen):
        return Worth(count=float(len(seen)), clusters=len(sizes), is_clustered=False)
    effect = _design_effect(seen, ids, sizes)
    return Worth(
        count=max(1.0, len(seen) / effect) * _shrunk(len(sizes), confidence), clusters=len(sizes), is_clustered=True
    )


def _design_effect(seen: npt.NDArray[np.float64], ids: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64]) -> float:
    n, count = len(seen), len(sizes)
    alike = float((sizes**2).sum() / n)  # that of clusters whose values are all the same
    gaps = seen - seen.mean()
    spread = float((gaps**2).sum())
    if spread < 1e-12 or count < 2:
        return alike
    between = float((np.bincount(ids, weights=gaps) ** 2).sum()) * count / (count - 1)
    return max(1.0, between / (spread * n / (n - 1)))


def _shrunk(clusters: int, confidence: float) -> float:
    """(normal quantile / Student's t)²: few clusters say little of their own variance."""
    if clusters < 2:
        return 1.0
    from scipy.stats import t

    quantile = (1 + confidence) / 2
    return float((NormalDist().inv_cdf(quantile) / t.ppf(quantile, clusters - 1)) ** 2)
