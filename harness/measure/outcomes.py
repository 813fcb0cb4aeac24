"""Which answers a quality metric is about, and which of them count against it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from harness.grading.grade import GradedAnswer
from harness.grading.repetition import repeated_end
from harness.pack.schema import OUT_OF_SCOPE
from harness.stats.estimate import Estimate
from harness.stats.proportions import proportion


def share(name: str, answers: Sequence[GradedAnswer]) -> Estimate:
    """A metric that is a share of answers or the mean of their scores; clusters count as what they are worth."""
    of_metric = counted(name, answers)
    return proportion(outcomes(name, answers), [answer.cluster for answer in of_metric])


def outcomes(name: str, answers: Sequence[GradedAnswer]) -> list[float]:
    """What the share is the mean of: 1 where the answer counts for it, else 0, or its score."""
    of_metric = counted(name, answers)
    if name == "partial_credit_rate":
        return [answer.score for answer in of_metric]
    fails, is_against = counts_against(name), name not in _COUNTED
    return [float(fails(answer) != is_against) for answer in of_metric]


def outcomes_by_case(name: str, answers: Sequence[GradedAnswer]) -> dict[str, float]:
    """The same by case id."""
    ids = [answer.case_id for answer in counted(name, answers)]
    return dict(zip(ids, outcomes(name, answers), strict=True))


def counted(name: str, answers: Sequence[GradedAnswer]) -> list[GradedAnswer]:
    """The answers that a metric is about."""
    if name == "json_valid_rate":
        return [answer for answer in answers if answer.is_valid is not None]
    if name in _COUNTED:
        return [answer for answer in answers if answer.finish_reason is not None]
    if name == "out_of_scope_rate":
        return [answer for answer in answers if answer.kind == OUT_OF_SCOPE]
    split = {"exact_match_dev_rate": "dev", "exact_match_final_rate": "final"}.get(name)
    return [a for a in answers if a.kind != OUT_OF_SCOPE and split in (None, a.split)]


def _is_wrong(answer: GradedAnswer) -> bool:
    return not answer.is_exact


def _is_cut(answer: GradedAnswer) -> bool:
    return answer.finish_reason == "length"


def _is_endless(answer: GradedAnswer) -> bool:
    return _is_cut(answer) and repeated_end(answer.text) is not None


def counts_against(name: str) -> Callable[[GradedAnswer], bool]:
    """When an answer counts against a metric."""
    return _FAILS.get(name, _is_wrong)


_COUNTED: Mapping[str, Callable[[GradedAnswer], bool]] = {
    "truncated_answer_rate": _is_cut,
    "repeating_answer_rate": _is_endless,
    "text_around_rate": lambda answer: answer.around_characters > 0,
    "thinking_rate": lambda answer: answer.thinking_characters > 0,
}
"""Shares of answered cases with something about them that nobody asks for."""

_FAILS: Mapping[str, Callable[[GradedAnswer], bool]] = {
    **_COUNTED,
    "json_valid_rate": lambda answer: answer.is_valid is False,
    "partial_credit_rate": lambda answer: answer.score < 1,
}
"""Where counting against a metric is not being wrong."""
