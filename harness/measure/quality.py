"""Quality on the domain's questions: right, declined, well-formed and ended answers, and what conversion cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from harness.grading.grade import GradedAnswer
from harness.measure.applicable import not_asked
from harness.measure.asking import ask_cases
from harness.measure.failures import describe_failures, describe_losses
from harness.measure.lengths import length_drop
from harness.measure.outcomes import counted, counts_against, outcomes
from harness.measure.sampling import UntilDecided, ask_until_decided, sequential_estimates
from harness.metrics.measurement import Measured, Measurement
from harness.pack.schema import OUT_OF_SCOPE, DomainPack
from harness.runtime.session import Session
from harness.stats.estimate import Estimate
from harness.stats.paired import paired_loss
from harness.stats.proportions import proportion
from harness.system.progress import SILENT, Progress


def measure_quality(
    session: Session,
    pack: DomainPack,
    source: Sequence[GradedAnswer],
    *,
    until: UntilDecided | None = None,
    progress: Progress = SILENT,
) -> Measured:
    """Ask the cases of the pack and compare the answers with what is expected, and with the source model's.

    Args:
        session: the variant.
        pack: the questions.
        source: the source model's answers to them.
        until: stops as soon as every quality limit is decided; None asks every case.
        progress: hears how far it is.
    """
    step = progress.step("questions")
    answers = ask_cases(session, pack, step) if until is None else ask_until_decided(session, pack, until, step)
    estimates = {**quality_rates(answers, pack), "exact_match_loss_points": exact_match_loss(source, answers)}
    if len(answers) < len(pack.cases):
        estimates |= sequential_estimates(answers, source, estimates)
    details = {
        name: describe_failures(counted(name, answers), source, pack, counts_against(name)) for name in estimates
    }
    details["exact_match_loss_points"] = describe_losses(counted("exact_match_rate", answers), source, pack)
    if len(answers) < len(pack.cases):
        stopped = f"stopped after {len(answers)} of {len(pack.cases)} cases, as every quality limit was decided"
        details = {name: "\n".join(filter(None, [stopped, text])) for name, text in details.items()}
    return Measured(
        measurement=Measurement(estimates=estimates, details=details),
        samples={"answers": answers},
        details={"exact_match_by_kind": exact_by_kind(answers)},
    )


def measure_source_quality(
    answers: Sequence[GradedAnswer], length_answers: Sequence[GradedAnswer], pack: DomainPack
) -> Measured:
    """The source model's own quality: what a variant can at most be expected to reach."""
    estimates = {**quality_rates(answers, pack), "length_drop_points": length_drop(length_answers, pack)}
    return Measured(measurement=Measurement(estimates=estimates))


def quality_rates(answers: Sequence[GradedAnswer], pack: DomainPack) -> dict[str, Estimate]:
    """Shares of right, declined, well-formed and cut answers; what the pack does not ask for is missing, and why."""
    absent = not_asked(pack)
    return {
        name: Estimate.missing(absent[name]) if name in absent else proportion(outcomes(name, answers))
        for name in (
            "exact_match_rate",
            "exact_match_dev_rate",
            "exact_match_final_rate",
            "out_of_scope_rate",
            "json_valid_rate",
            "truncated_answer_rate",
        )
    }


def exact_match_loss(source: Sequence[GradedAnswer], own: Sequence[GradedAnswer]) -> Estimate:
    """Percentage points of exact in-scope answers lost against the source model, paired by case."""
    was_right = {answer.case_id: answer.is_exact for answer in source}
    pairs = [(was_right[a.case_id], a.is_exact) for a in own if a.kind != OUT_OF_SCOPE and a.case_id in was_right]
    return paired_loss([before for before, _ in pairs], [after for _, after in pairs]).map(lambda share: 100 * share)


def exact_by_kind(answers: Sequence[GradedAnswer]) -> Mapping[str, Any]:
    """The share of exact answers to each kind of case, as the fields of an estimate."""
    kinds = dict.fromkeys(answer.kind for answer in answers)
    return {kind: asdict(proportion([a.is_exact for a in answers if a.kind == kind])) for kind in kinds}
