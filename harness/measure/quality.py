"""Quality on the domain's questions: right, declined, well-formed and ended answers, and what conversion cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, Final

from harness.grading.grade import GradedAnswer
from harness.measure.applicable import kinds_of, not_asked
from harness.measure.asking import ask_cases
from harness.measure.failures import describe_failures, describe_losses
from harness.measure.lengths import length_drop
from harness.measure.outcomes import counted, counts_against, share
from harness.measure.sampling import LOSS, RATES, UntilDecided, ask_until_decided, sequential_estimates
from harness.measure.wrong_answers import wrong_answers
from harness.metrics.measurement import Measured, Measurement
from harness.pack.schema import OUT_OF_SCOPE, DomainPack
from harness.runtime.session import Session
from harness.stats.estimate import Estimate
from harness.stats.paired import paired_loss
from harness.stats.proportions import proportion
from harness.system.progress import SILENT, Progress

_ALL_ASKED: Final = "all cases of the pack were asked: more of them have to be added to it"


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
    is_cut = until is not None and len(answers) < len(pack.cases) and not until.is_decided
    why = "the time for them was used up" if is_cut else "every quality limit was decided"
    told = f"stopped after {len(answers)} of {len(pack.cases)} cases, as {why}"
    stopped = told if len(answers) < len(pack.cases) else ""
    whole = _measurement(answers, source, pack, stopped)
    cut = frozenset(whole.estimates) - until.decided if is_cut and until is not None else frozenset[str]()
    return Measured(
        measurement=replace(whole, of_kinds=_of_kinds(answers, source, pack, stopped), cut=cut),
        samples={"answers": answers},
        details={
            "exact_match_by_kind": exact_by_kind(answers),
            "wrong_answers": asdict(wrong_answers(answers, source, pack)),
        },
    )


def _measurement(
    own: Sequence[GradedAnswer], source: Sequence[GradedAnswer], pack: DomainPack, stopped: str
) -> Measurement:
    """Estimates of some answers with what stands behind each; `stopped` says why not all cases were asked, if so."""
    estimates = {**quality_rates(own, pack), LOSS: exact_match_loss(source, own)}
    if stopped:
        estimates |= sequential_estimates(own, source, estimates)
    details = {name: describe_failures(counted(name, own), source, pack, counts_against(name)) for name in estimates}
    details[LOSS] = describe_losses(counted("exact_match_rate", own), source, pack)
    return Measurement(
        estimates=estimates,
        details={name: "\n".join(filter(None, [stopped, text])) for name, text in details.items()},
        more=dict.fromkeys(estimates, stopped or _ALL_ASKED),
    )


def _of_kinds(
    answers: Sequence[GradedAnswer], source: Sequence[GradedAnswer], pack: DomainPack, stopped: str
) -> dict[str, Measurement]:
    """The same of each kind's answers, of the metrics that count such cases."""
    found = {}
    for kind in dict.fromkeys(answer.kind for answer in answers):
        own = _measurement(
            [answer for answer in answers if answer.kind == kind],
            [answer for answer in source if answer.kind == kind],
            pack,
            stopped,
        )
        names = [name for name in own.estimates if kind in kinds_of(name, pack)]
        found[kind] = Measurement(
            estimates={name: own.estimates[name] for name in names},
            details={name: own.details[name] for name in names},
            more={name: own.more[name] for name in names},
        )
    return found


def measure_source_quality(
    answers: Sequence[GradedAnswer], length_answers: Sequence[GradedAnswer], pack: DomainPack
) -> Measured:
    """The source model's own quality: what a variant can at most be expected to reach."""
    estimates = {**quality_rates(answers, pack), "length_drop_points": length_drop(length_answers, pack)}
    return Measured(measurement=Measurement(estimates=estimates))


def quality_rates(answers: Sequence[GradedAnswer], pack: DomainPack) -> dict[str, Estimate]:
    """Right, declined, well-formed, cut answers and their like; what the pack does not ask for is missing, and why."""
    absent = not_asked(pack)
    return {name: Estimate.missing(absent[name]) if name in absent else share(name, answers) for name in RATES}


def exact_match_loss(source: Sequence[GradedAnswer], own: Sequence[GradedAnswer]) -> Estimate:
    """Percentage points of exact in-scope answers lost against the source model, paired by case."""
    was_right = {answer.case_id: answer.is_exact for answer in source}
    paired = [answer for answer in own if answer.kind != OUT_OF_SCOPE and answer.case_id in was_right]
    return paired_loss(
        [was_right[answer.case_id] for answer in paired],
        [answer.is_exact for answer in paired],
        [answer.cluster for answer in paired],
    ).map(lambda share: 100 * share)


def exact_by_kind(answers: Sequence[GradedAnswer]) -> Mapping[str, Any]:
    """The share of exact answers to each kind of case, as the fields of an estimate."""
    by_kind: dict[str, list[GradedAnswer]] = {}
    for answer in answers:
        by_kind.setdefault(answer.kind, []).append(answer)
    return {
        kind: asdict(proportion([one.is_exact for one in own], [one.cluster for one in own]))
        for kind, own in by_kind.items()
    }
