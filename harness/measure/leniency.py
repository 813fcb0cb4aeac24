"""Which setting of `[answer]` would let failing answers pass: a hint where the pack, and not the model, is to blame."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from harness.grading.grade import GradedAnswer, Grader
from harness.pack.schema import DomainPack

_SETTINGS: Final[Mapping[str, Mapping[str, Any]]] = {
    "code_fence = true": {"code_fence": True},
    "thinking = true": {"thinking": True},
    "thinking = true and code_fence = true": {"thinking": True, "code_fence": True},
    "ignore_case = true": {"ignore_case": True},
}
"""Each as domain.toml has it, the narrowest first."""


def lenient_settings(
    failed: Sequence[GradedAnswer], pack: DomainPack, fails: Callable[[GradedAnswer], bool]
) -> list[str]:
    """One line for the setting of `[answer]` under which most of the failing answers would not fail; none without one.

    Args:
        failed: answers that count against a metric.
        pack: what they were graded by.
        fails: whether an answer counts against the metric.
    """
    counts = {name: _saved(failed, pack, fails, changes) for name, changes in _SETTINGS.items()}
    most = max(counts.values(), default=0)
    if not most:
        return []
    best = next(name for name, count in counts.items() if count == most)
    return [f"{most} of these would not with [answer] {best} in domain.toml, if your program reads such answers"]


def _saved(
    failed: Sequence[GradedAnswer],
    pack: DomainPack,
    fails: Callable[[GradedAnswer], bool],
    changes: Mapping[str, Any],
) -> int:
    known = {name: getattr(pack.answer_settings, name) for name in changes}
    if all(known.values()):
        return 0
    grader = Grader(pack.response_schema, pack.answer_settings.model_copy(update=dict(changes)))
    cases = {case.id: case for case in pack.cases}
    again = [
        replace(grader.grade(cases[one.case_id], one.text), finish_reason=one.finish_reason)
        for one in failed
        if not one.refusal
    ]
    return sum(not fails(one) for one in again)
