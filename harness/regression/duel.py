"""Two sides that a user named, compared: answers first, then times."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

from harness.checks.check import Check, Outcome
from harness.checks.verdict import ExitStatus
from harness.config.regression_limits import ratio_limits
from harness.regression.answers import SameAnswers, answers_in_process, same_answers
from harness.regression.arm import Work
from harness.regression.comparing import USUAL_S, Comparison, compare
from harness.regression.interleaved import Interleaved
from harness.regression.separate import Separate
from harness.regression.side import Side
from harness.toolchain.workspace import Workspace

SEPARATE_S: Final = 120.0
"""Fresh processes scatter more than rounds of one, and each has to start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Duel:
    """What came of comparing two sides."""

    baseline: Side
    candidate: Side
    answers: SameAnswers
    comparison: Comparison
    checks: tuple[Check, ...]
    way: str
    """How times were taken, in words."""

    @property
    def status(self) -> ExitStatus:
        """0 same or faster, 1 slower, 3 undecided."""
        outcomes = {check.outcome for check in self.checks}
        if Outcome.FAIL in outcomes:
            return ExitStatus.FAIL
        return ExitStatus.PASS if outcomes == {Outcome.PASS} else ExitStatus.UNDECIDED

    @property
    def verdict(self) -> str:
        """One line."""
        name = self.candidate.name
        if self.status is ExitStatus.FAIL:
            slower = [check.metric for check in self.checks if check.outcome is Outcome.FAIL]
            return f"{name} is SLOWER ({', '.join(slower)}), and was again when it was asked once more"
        if self.status is ExitStatus.PASS:
            return f"{name} is not slower"
        open_ones = [check.metric for check in self.checks if check.outcome is not Outcome.PASS]
        return f"undecided ({', '.join(open_ones)}): the machine is too noisy for the time given; say --seconds more"

    def as_dict(self) -> dict[str, Any]:
        """For machines."""
        return {
            "baseline": self.baseline.name,
            "candidate": self.candidate.name,
            "way": self.way,
            "answers": self.answers,
            "checks": [
                {"metric": one.metric, "estimate": one.estimate, "limit": one.limit.edge, "outcome": one.outcome}
                for one in self.checks
            ],
            "observations": self.comparison.observations,
            "measuring_s": self.comparison.measuring_s,
            "log_ratios": {name: test.log_ratios for name, test in self.comparison.tests.items()},
            "status": self.status,
        }


def fight(
    baseline: Side, candidate: Side, work: Work, workspace: Workspace, *, tolerance: float, budget_s: float | None
) -> Duel:
    """Compare the answers, and then the times.

    Args:
        baseline: what the candidate is held against.
        candidate: the other side.
        work: what both are asked.
        workspace: progress and logs.
        tolerance: share by which the candidate may be slower.
        budget_s: seconds of measuring; None for 30, or 120 in processes of their own, or more where observations are
            dear.

    Raises:
        SessionError, ChildError: a side cannot be loaded or cannot answer.
    """
    observer: Separate | Interleaved
    if baseline.needs_process or candidate.needs_process:
        observer = Separate(baseline=baseline, candidate=candidate, work=work, log=workspace.log("compare"))
        answers = same_answers(*observer.answers())
        way, usual_s = "fresh processes in turn", SEPARATE_S
    else:
        arms = baseline.arm(), candidate.arm()
        answers = same_answers(*(answers_in_process(arm, work, workspace.progress) for arm in arms))
        observer = Interleaved(baseline=arms[0], candidate=arms[1], work=work)
        way, usual_s = "in turn, request by request", USUAL_S
    found = compare(observer, tolerance=tolerance, budget_s=budget_s, usual_s=usual_s, progress=workspace.progress)
    asked = f"{observer.requests} requests of {observer.work.new_tokens} tokens"
    details = f"{asked} {way}, {found.measuring_s:.0f} s"
    checks = found.checks(candidate.name, ratio_limits(tolerance), details)
    return Duel(
        baseline=baseline,
        candidate=candidate,
        answers=answers,
        comparison=found,
        checks=tuple(checks),
        way=details,
    )


def control(baseline: Side, work: Work, workspace: Workspace, *, tolerance: float, budget_s: float | None) -> Duel:
    """The baseline against itself: what this machine takes for a difference where there is none."""
    again = replace(baseline, name=f"{baseline.name} again")
    return fight(baseline, again, work, workspace, tolerance=tolerance, budget_s=budget_s)
