"""What a variant's checks add up to, and which variant to ship."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import StrEnum

from harness.checks.check import Outcome


class Verdict(StrEnum):
    """The gate's word on a variant."""

    PASS = "pass"
    FAIL = "fail"
    NO_DATA = "no evidence"
    INCOMPLETE = "incomplete"


def verdict_of(outcomes: Mapping[str, Outcome], required: Collection[str], problems: Collection[str]) -> Verdict:
    """Judge a variant from its checks.

    Args:
        outcomes: metric -> outcome of its check.
        required: metrics that have a limit; one that was not judged makes the verdict `incomplete`.
        problems: what went wrong outside of limits (a test failed or could not run).
    """
    if problems or Outcome.FAIL in outcomes.values():
        return Verdict.FAIL
    if Outcome.NO_DATA in outcomes.values():
        return Verdict.NO_DATA
    if not required or set(required) - set(outcomes):
        return Verdict.INCOMPLETE
    return Verdict.PASS


def recommend(verdicts: Mapping[str, Verdict], size_bytes: Mapping[str, float | None]) -> str | None:
    """The smallest variant on disk that passes; None when none does."""
    passing = [name for name, verdict in verdicts.items() if verdict is Verdict.PASS and size_bytes.get(name)]
    return min(passing, key=lambda name: size_bytes[name] or 0.0, default=None)
