"""Shares of successes."""

from __future__ import annotations

from collections.abc import Collection

from harness.stats.estimate import CONFIDENCE, Estimate


def proportion(outcomes: Collection[bool], *, confidence: float = CONFIDENCE) -> Estimate:
    """The share of true outcomes, 0 to 1; missing without a trial, never 0."""
    return proportion_of(sum(outcomes), len(outcomes), confidence=confidence)


def proportion_of(successes: int, trials: int, *, confidence: float = CONFIDENCE) -> Estimate:
    """`successes` of `trials`, with the Wilson score interval (E. B. Wilson, JASA 22, 1927)."""
    if trials == 0:
        return Estimate.missing("no trials")
    from scipy.stats import binomtest

    interval = binomtest(successes, trials).proportion_ci(confidence, method="wilson")
    value = successes / trials
    return Estimate(
        value=value,
        low=min(float(interval.low), value),  # rounding puts the end of 0 of n at 1e-19
        high=max(float(interval.high), value),
        confidence=confidence,
        n=trials,
        method="Wilson score",
    )
