"""Which answers a quality metric is about, and which of them count against it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from harness.grading.grade import GradedAnswer
from harness.pack.schema import OUT_OF_SCOPE


def outcomes(name: str, answers: Sequence[GradedAnswer]) -> list[bool]:
    """What the share is of, true where the answer counts for it."""
    of_metric = counted(name, answers)
    if name == "truncated_answer_rate":
        return [_is_cut(answer) for answer in of_metric]
    return [not counts_against(name)(answer) for answer in of_metric]


def counted(name: str, answers: Sequence[GradedAnswer]) -> list[GradedAnswer]:
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


def counts_against(name: str) -> Callable[[GradedAnswer], bool]:
    """When an answer counts against a metric."""
    return _FAILS.get(name, _is_wrong)


_FAILS = {"json_valid_rate": lambda answer: answer.is_valid is False, "truncated_answer_rate": _is_cut}
"""Where that is not being wrong."""
