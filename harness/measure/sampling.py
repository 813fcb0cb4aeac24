"""Asks no more cases than the quality limits need to be decided.

Cases come in a seeded order that is balanced over kinds, so that whatever was asked so far stands for the pack; those
of a cluster are asked together and count as one observation, as their answers may depend on each other. After each
batch a sequential test per limit says whether it is decided (`harness.stats.sequential`); one may look as often as one
likes. A broken variant is out after a few cases, a healthy one after a part of them, one near its limits is asked all.

A limit that judges the value is about the answers to this pack, and the source model has answered all of it: what is
tested is by how much the two differ, over as many cases as the pack has. A limit that judges the bound is about any
such questions: the variant's own answers are tested, as if there were no end of them.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from harness.config.limits import Limit
from harness.grading.grade import GradedAnswer, Grader
from harness.measure.asking import ask_all, graded
from harness.measure.outcomes import counted, outcomes, outcomes_by_case
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
    "partial_credit_rate",
    "json_valid_rate",
    "text_around_rate",
    "thinking_rate",
    "truncated_answer_rate",
    "repeating_answer_rate",
)
"""Metrics that are a share of the answers, or the mean of their scores."""

_BATCH = 8
"""Cases between two looks."""


class UntilDecided:
    """Sequential tests of the quality limits of one variant, those of single kinds among them."""

    def __init__(
        self,
        limits: Mapping[str, Limit],
        source: Sequence[GradedAnswer],
        *,
        seed: int = 0,
        is_over: Callable[[], bool] = lambda: False,
    ) -> None:
        """`source` has the source model's answers to every case, with which losses are paired; `is_over` ends it."""
        self.seed = seed
        self.is_over = is_over
        self._was_right = {answer.case_id: answer.is_exact for answer in source}
        self._largest = max(Counter(answer.cluster or answer.case_id for answer in source).values(), default=1)
        self._tests = {
            (name, kind): self._test(name, limit, [one for one in source if kind in (None, one.kind)])
            for name in (*RATES, LOSS)
            if name in limits
            for kind, limit in _by_kind(limits[name])
        }

    def _test(self, name: str, limit: Limit, source: Sequence[GradedAnswer]) -> _Limited:
        if name == LOSS:
            of_source: Mapping[str, float] = {one.case_id: 0.0 for one in counted("exact_match_rate", source)}
        else:
            of_source = outcomes_by_case(name, source)
        is_of_pack = limit.judge == "value" and bool(of_source)
        clusters = {one.cluster or one.case_id for one in source if one.case_id in of_source}
        population = len(clusters) if is_of_pack else None
        if name == LOSS:
            return _Limited(limit, limit.edge / 100, -1.0, 1.0, population)
        edge = limit.edge - sum(of_source.values()) / len(of_source) if is_of_pack else limit.edge
        if is_of_pack and 0 < limit.edge < 1 and -1 < edge < 1:
            return _Limited(limit, edge, -1.0, 1.0, population, of_source)
        return _Limited(limit, limit.edge, 0.0, 1.0)

    def see(self, answers: Sequence[GradedAnswer]) -> None:
        """Take the answers of one cluster into account, or one that stands alone."""
        for (name, kind), test in self._tests.items():
            values = self._values(name, [answer for answer in answers if kind in (None, answer.kind)], test.of_source)
            if values:
                test.see(values, max(self._largest, len(values)))

    def _values(self, name: str, answers: Sequence[GradedAnswer], of_source: Mapping[str, float] | None) -> list[float]:
        """What the answers add to a metric, or by how much more than the source's; none where it is not about them."""
        if name == LOSS:
            return [value for one in answers if (value := paired_value(one, self._was_right)) is not None]
        if of_source is None:
            return outcomes(name, answers)
        return _gaps(name, answers, of_source)

    @property
    def decided(self) -> frozenset[str]:
        """Metrics whose limits, those of single kinds among them, are kept or broken for good."""
        open_ones = {name for (name, _), test in self._tests.items() if not test.is_decided}
        return frozenset(name for name, _ in self._tests) - open_ones

    @property
    def is_out_of_time(self) -> bool:
        """Whether what is not decided yet will not be."""
        return self.is_over()

    @property
    def is_decided(self) -> bool:
        """Whether every limit is kept or broken for good; without a limit nothing ever is."""
        return bool(self._tests) and all(test.is_decided for test in self._tests.values())


class _Limited:
    """A sequential test of one limit."""

    def __init__(
        self,
        limit: Limit,
        edge: float,
        low: float,
        high: float,
        population: int | None = None,
        of_source: Mapping[str, float] | None = None,
    ) -> None:
        """`edge` is where the limit lies among values from `low` to `high`; these are differences from `of_source`."""
        # A limit at the end of the scale is broken by the first value that is not there, and never kept for sure.
        self._test = MeanTest(limit=edge, low=low, high=high, population=population) if low < edge < high else None
        self._limit, self._edge, self._is_broken = limit, edge, False
        self.of_source = of_source

    def see(self, values: Sequence[float], largest: int) -> None:
        if self._test is not None:
            self._test.see_cluster(values, largest)
        elif not all(value >= self._edge if self._limit.min is not None else value <= self._edge for value in values):
            self._is_broken = True

    @property
    def is_decided(self) -> bool:
        return self._is_broken if self._test is None else self._test.decision is not Decision.UNDECIDED


def _by_kind(limit: Limit) -> list[tuple[str | None, Limit]]:
    return [(None, limit), *((kind, limit.of_kind(kind)) for kind in limit.kinds)]


def paired_value(answer: GradedAnswer, was_right: Mapping[str, bool]) -> float | None:
    """1 for an in-scope answer that was lost, -1 for one that was won, 0 for the same; None for any other."""
    if answer.kind == OUT_OF_SCOPE or answer.case_id not in was_right:
        return None
    return float(was_right[answer.case_id]) - float(answer.is_exact)


def balanced(cases: Sequence[Case], seed: int) -> list[list[Case]]:
    """The cases, those of a cluster together, in a seeded order in which the kinds take turns.

    Kinds come in proportion to how many cases they have; a cluster is of the kind that most of its cases are of.
    """
    clusters: dict[str, list[Case]] = {}
    for case in cases:
        clusters.setdefault(f"of {case.cluster}" if case.cluster else f"case {case.id}", []).append(case)
    by_kind: dict[str, list[list[Case]]] = {}
    for together in clusters.values():
        kind = Counter(case.kind for case in together).most_common(1)[0][0]
        by_kind.setdefault(kind, []).append(together)
    generator, placed = random.Random(seed), []
    for kind, of_kind in by_kind.items():
        generator.shuffle(of_kind)
        offset = generator.random()
        placed += [((place + offset) / len(of_kind), kind, together) for place, together in enumerate(of_kind)]
    return [together for _, _, together in sorted(placed, key=lambda one: one[:2])]


def ask_until_decided(
    session: Session, pack: DomainPack, until: UntilDecided, step: Step = silent_step
) -> tuple[GradedAnswer, ...]:
    """Ask cases in batches of whole clusters until every limit is decided, or all are asked; in the pack's order."""
    grader, answers = Grader.of(pack), {}
    for batch in _batches(balanced(pack.cases, until.seed)):
        cases = [case for together in batch for case in together]
        said = ask_all(
            session,
            [pack.conversation(case.messages) for case in cases],
            max_new_tokens=pack.domain.max_new_tokens,
        )
        for case, answer in zip(cases, said, strict=True):
            answers[case.id] = graded(grader, case, answer)
        for together in batch:
            until.see([answers[case.id] for case in together])
        step(len(answers), len(pack.cases))
        if until.is_decided or until.is_out_of_time:
            break
    return tuple(answers[case.id] for case in pack.cases if case.id in answers)


def _batches(clusters: Sequence[list[Case]]) -> Iterator[list[list[Case]]]:
    """Clusters in batches of at least `_BATCH` cases; the last may have fewer."""
    batch: list[list[Case]] = []
    for together in clusters:
        batch.append(together)
        if sum(map(len, batch)) >= _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def sequential_estimates(
    answers: Sequence[GradedAnswer], source: Sequence[GradedAnswer], estimates: Mapping[str, Estimate]
) -> dict[str, Estimate]:
    """The same metrics, of some cases, with intervals that hold although the run stopped when it knew enough.

    The value is the source's on all cases and by how much the two differ on those that both were asked (the difference
    estimator of survey sampling; W. G. Cochran, "Sampling Techniques", 1977, chapter 7).
    """
    was_right = {answer.case_id: answer.is_exact for answer in source}
    paired = [(one.cluster, value) for one in answers if (value := paired_value(one, was_right)) is not None]
    losses = confidence_sequence([value for _, value in paired], [cluster for cluster, _ in paired], low=-1.0, high=1.0)
    found = {
        name: _about(
            of_pack(name, answers, source),
            confidence_sequence(outcomes(name, answers), [one.cluster for one in counted(name, answers)]),
        )
        for name in RATES
        if name in estimates and not estimates[name].is_missing
    }
    return {**found, LOSS: losses.map(lambda share: 100 * share)}


def of_pack(name: str, answers: Sequence[GradedAnswer], source: Sequence[GradedAnswer]) -> float | None:
    """What a rate would be over all cases of the source, estimated from some; None where the two share none."""
    of_source = outcomes_by_case(name, source)
    gaps = _gaps(name, answers, of_source)
    if not gaps:
        return None
    whole = sum(of_source.values()) / len(of_source) + sum(gaps) / len(gaps)
    return min(max(whole, 0.0), 1.0)


def _gaps(name: str, answers: Sequence[GradedAnswer], of_source: Mapping[str, float]) -> list[float]:
    """How much more than the source's each answer counts, of the cases that both were asked."""
    own = outcomes_by_case(name, answers)
    return [value - of_source[case_id] for case_id, value in own.items() if case_id in of_source]


def _about(value: float | None, found: Estimate) -> Estimate:
    """The estimate with another value, its interval wide enough for it."""
    if value is None or found.low is None or found.high is None:
        return found
    return replace(found, value=value, low=min(found.low, value), high=max(found.high, value))
