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
from harness.metrics.measurement import Measured, Measurement
from harness.pack.pack import OUT_OF_SCOPE, DomainPack
from harness.runtime.session import Session
from harness.stats.estimate import Estimate
from harness.stats.paired import paired_loss
from harness.stats.proportions import proportion
from harness.system.progress import SILENT, Progress


def measure_quality(
    session: Session, pack: DomainPack, source: Sequence[GradedAnswer], *, progress: Progress = SILENT
) -> Measured:
    """Ask every case of the pack and hold the answers against what is expected, and against the source model's.

    Args:
        session: the variant.
        pack: the questions.
        source: the source model's answers to them.
        progress: hears how far it is.
    """
    answers = ask_cases(session, pack, progress.step("questions"))
    estimates = {**quality_rates(answers, pack), "exact_match_loss_points": exact_match_loss(source, answers)}
    details = {
        name: describe_failures(_counted(name, answers), source, pack, _FAILS.get(name, _is_wrong))
        for name in estimates
    }
    details["exact_match_loss_points"] = describe_losses(_counted("exact_match_rate", answers), source, pack)
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
        name: Estimate.missing(absent[name]) if name in absent else proportion(_outcomes(name, answers))
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


def _outcomes(name: str, answers: Sequence[GradedAnswer]) -> list[bool]:
    """What the share is of, true where the answer counts for it."""
    counted = _counted(name, answers)
    if name == "truncated_answer_rate":
        return [_is_cut(answer) for answer in counted]
    return [not _FAILS.get(name, _is_wrong)(answer) for answer in counted]


def _counted(name: str, answers: Sequence[GradedAnswer]) -> list[GradedAnswer]:
    """The answers that a metric is about."""
    if name == "json_valid_rate":
        return [answer for answer in answers if answer.is_valid is not None]
    if name == "truncated_answer_rate":
        return [answer for answer in answers if answer.finish_reason is not None]
    if name == "out_of_scope_rate":
        return [answer for answer in answers if answer.kind == OUT_OF_SCOPE]
    split = {"exact_match_dev_rate": "dev", "exact_match_final_rate": "final"}.get(name)
    return [a for a in answers if a.kind != OUT_OF_SCOPE and split in (None, a.split)]


def _is_wrong(answer: GradedAnswer) -> bool:
    return not answer.is_exact


def _is_cut(answer: GradedAnswer) -> bool:
    return answer.finish_reason == "length"


_FAILS = {"json_valid_rate": lambda answer: answer.is_valid is False, "truncated_answer_rate": _is_cut}
"""When an answer counts against a metric, where that is not being wrong."""
