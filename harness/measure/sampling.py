"""Asks no more cases than the quality limits need to be decided.

Cases come in a seeded order that is balanced over kinds, so that whatever was asked so far stands for the pack. After
each batch a sequential test per limit says whether it is decided (`harness.stats.sequential`); one may look as often as
one likes. A broken variant is out after a few cases, a healthy one after a part of them, and one near its limits is
asked everything.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from harness.config.limits import Limit
from harness.grading.grade import GradedAnswer, Grader
from harness.measure.asking import ask_all, graded
from harness.measure.outcomes import counted, outcomes
from harness.pack.schema import OUT_OF_SCOPE, Case, DomainPack
from harness.runtime.session import Session
from harness.stats.estimate import Estimate
from harness.stats.sequential import Decision, MeanTest, confidence_sequence
from harness.system.progress import Step, silent_step

LOSS = "exact_match_loss_points"
RATES = (
    "exact_match_rate",
    "exact_match_dev_rate",
    "exact_match_final_rate",
    "out_of_scope_rate",
    "json_valid_rate",
    "truncated_answer_rate",
)
_BATCH = 8
"""Cases between two looks."""


class UntilDecided:
    """Sequential tests of the quality limits of one variant."""

    def __init__(self, limits: Mapping[str, Limit], source: Sequence[GradedAnswer], *, seed: int = 0) -> None:
        """`source` holds the source model's answers, with which losses are paired."""
        self.seed = seed
        self._was_right = {answer.case_id: answer.is_exact for answer in source}
        self._tests = {name: _Limited(limits[name], *_bounds(name)) for name in (*RATES, LOSS) if name in limits}

    def see(self, answer: GradedAnswer) -> None:
        """Take one answer into account."""
        for name, test in self._tests.items():
            value = self._value(name, answer)
            if value is not None:
                test.see(value)

    def _value(self, name: str, answer: GradedAnswer) -> float | None:
        """What the answer adds to a metric; None where the metric is not about it."""
        if name == LOSS:
            return paired_value(answer, self._was_right)
        found = outcomes(name, [answer])
        return float(found[0]) if found else None

    @property
    def is_decided(self) -> bool:
        """Whether every limit is kept or broken for good; without a limit nothing ever is."""
        return bool(self._tests) and all(test.is_decided for test in self._tests.values())


class _Limited:
    """A sequential test of one limit."""

    def __init__(self, limit: Limit, low: float, high: float, scale: float) -> None:
        edge = limit.edge / scale
        # A limit at the end of the scale is broken by the first value that is not there, and never kept for sure.
        self._test = MeanTest(limit=edge, low=low, high=high) if low < edge < high else None
        self._limit, self._edge, self._is_broken = limit, edge, False

    def see(self, value: float) -> None:
        if self._test is not None:
            self._test.see(value)
        elif not (value >= self._edge if self._limit.min is not None else value <= self._edge):
            self._is_broken = True

    @property
    def is_decided(self) -> bool:
        return self._is_broken if self._test is None else self._test.decision is not Decision.UNDECIDED


def _bounds(name: str) -> tuple[float, float, float]:
    """(smallest, largest, scale) of the values whose mean a metric is, in shares."""
    return (-1.0, 1.0, 100.0) if name == LOSS else (0.0, 1.0, 1.0)


def paired_value(answer: GradedAnswer, was_right: Mapping[str, bool]) -> float | None:
    """1 for an in-scope answer that was lost, -1 for one that was won, 0 for the same; None for any other."""
    if answer.kind == OUT_OF_SCOPE or answer.case_id not in was_right:
        return None
    return float(was_right[answer.case_id]) - float(answer.is_exact)


def balanced(cases: Sequence[Case], seed: int) -> list[Case]:
    """The cases in a seeded order in which the kinds take turns, in proportion to how many cases they have."""
    by_kind: dict[str, list[Case]] = {}
    for case in cases:
        by_kind.setdefault(case.kind, []).append(case)
    generator, placed = random.Random(seed), []
    for kind, of_kind in by_kind.items():
        generator.shuffle(of_kind)
        offset = generator.random()
        placed += [((place + offset) / len(of_kind), kind, case) for place, case in enumerate(of_kind)]
    return [case for _, _, case in sorted(placed, key=lambda one: one[:2])]


def ask_until_decided(
    session: Session, pack: DomainPack, until: UntilDecided, step: Step = silent_step
) -> tuple[GradedAnswer, ...]:
    """Ask cases in batches until every limit is decided, or all are asked; answers in the order of the pack."""
    grader, order, answers = Grader.of(pack), balanced(pack.cases, until.seed), {}
    for start in range(0, len(order), _BATCH):
        batch = order[start : start + _BATCH]
        said = ask_all(
            session,
            [pack.conversation(case.messages) for case in batch],
            max_new_tokens=pack.domain.max_new_tokens,
        )
        for case, answer in zip(batch, said, strict=True):
            answers[case.id] = graded(grader, case, answer)
            until.see(answers[case.id])
        step(len(answers), len(order))
        if until.is_decided:
            break
    return tuple(answers[case.id] for case in pack.cases if case.id in answers)


def sequential_estimates(
    answers: Sequence[GradedAnswer], source: Sequence[GradedAnswer], estimates: Mapping[str, Estimate]
) -> dict[str, Estimate]:
    """The same metrics with intervals that hold although the run stopped when it knew enough."""
    was_right = {answer.case_id: answer.is_exact for answer in source}
    losses = [value for answer in answers if (value := paired_value(answer, was_right)) is not None]
    found = {
        name: confidence_sequence([float(one) for one in outcomes(name, counted(name, answers))])
        for name in RATES
        if not estimates[name].is_missing
    }
    return {**found, LOSS: confidence_sequence(losses, low=-1.0, high=1.0).map(lambda share: 100 * share)}
