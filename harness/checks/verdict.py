"""What a variant's checks add up to, which variant to ship, and the exit status of the run."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import IntEnum, StrEnum
from typing import Literal

from harness.checks.check import Outcome


class Verdict(StrEnum):
    """The gate's word on a variant."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    NO_DATA = "no data"
    INCOMPLETE = "incomplete"
    """Nothing failed, and something that has a limit was not judged."""


class ExitStatus(IntEnum):
    """How the gate's process ends."""

    PASS = 0
    FAIL = 1
    UNUSABLE_INPUT = 2
    """Configuration, pack, model or command line: nothing could be gated."""

    UNDECIDED = 3
    """Inconclusive, no data, or incomplete."""


def verdict_of(outcomes: Mapping[str, Outcome], required: Collection[str], problems: Collection[str]) -> Verdict:
    """Judge a variant from its checks, the worst one first.

    Args:
        outcomes: metric -> outcome of its check.
        required: metrics that had to be judged; one that was not makes the verdict `incomplete`.
        problems: what went wrong outside of checks (a test failed or could not run).
    """
    found = set(outcomes.values())
    if problems or Outcome.FAIL in found:
        return Verdict.FAIL
    if Outcome.NO_DATA in found:
        return Verdict.NO_DATA
    if not outcomes or set(required) - set(outcomes):
        return Verdict.INCOMPLETE
    return Verdict.INCONCLUSIVE if Outcome.INCONCLUSIVE in found else Verdict.PASS


def recommend(verdicts: Mapping[str, Verdict], size_bytes: Mapping[str, float | None]) -> str | None:
    """The smallest variant on disk that passes; None when none does."""
    passing = [name for name, verdict in verdicts.items() if verdict is Verdict.PASS and size_bytes.get(name)]
    return min(passing, key=lambda name: size_bytes[name] or 0.0, default=None)


def exit_status(
    verdicts: Collection[Verdict], problems: Collection[str] = (), inconclusive: Literal["red", "green"] = "red"
) -> ExitStatus:
    """The exit status that follows from the variants' verdicts and from problems of the run as a whole."""
    found = set(verdicts)
    if problems or Verdict.FAIL in found:
        return ExitStatus.FAIL
    undecided = {Verdict.NO_DATA, Verdict.INCOMPLETE} | ({Verdict.INCONCLUSIVE} if inconclusive == "red" else set())
    return ExitStatus.UNDECIDED if not found or found & undecided else ExitStatus.PASS
