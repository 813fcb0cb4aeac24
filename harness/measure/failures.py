"""Why a rate is not whole: failing cases with their question, what was expected and what the model said."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from harness.grading.grade import GradedAnswer
from harness.grading.repetition import repeated_end
from harness.measure.leniency import lenient_settings
from harness.pack.schema import Case, DomainPack, Turn

_SHOWN: Final = 3
_TUNING: Final = "tuning, not conversion"
_TRAIN: Final = (
    "next:     train on more examples like these; all of them stand in samples/<variant>/{samples}.jsonl of the record"
)
_LONGEST: Final = 160
"""Characters of a question or an answer that are shown; the middle of a longer one is left out."""


def describe_failures(
    own: Sequence[GradedAnswer],
    source: Sequence[GradedAnswer],
    pack: DomainPack,
    fails: Callable[[GradedAnswer], bool],
    *,
    samples: str = "answers",
) -> str:
    """How many of a variant's answers fail, how many of these the source model fails too, and up to three of them.

    Args:
        own: the variant's answers that the metric is about.
        source: the source model's; those to other questions or prompt lengths are left out.
        pack: where the questions stand.
        fails: whether an answer counts against the metric.
        samples: the raw samples that hold all of them.
    """
    failed = [answer for answer in own if fails(answer)]
    if not failed:
        return f"none of {len(own)} fails"
    cases = {case.id: case for case in pack.cases}
    blame = _blame(failed, source, fails)
    lines = [f"{len(failed)} of {len(own)} fail{blame}"]
    lines += [_TRAIN.format(samples=samples)] if blame.endswith(_TUNING) else []
    lines += lenient_settings(failed, pack, fails)
    for answer in failed[:_SHOWN]:
        case = cases[answer.case_id]
        lines += show_case(f"{case.id} ({case.kind})", case.messages, expectation(case), said_by(answer))
        lines += [f"  because:  {escaped(answer.explanation)}"] if answer.explanation else []
    return "\n".join(lines)


def describe_losses(own: Sequence[GradedAnswer], source: Sequence[GradedAnswer], pack: DomainPack) -> str:
    """Exact answers that the source model gives and the variant does not, and the other way round; up to three lost."""
    theirs = {answer.case_id: answer for answer in source}
    pairs = [(theirs[answer.case_id], answer) for answer in own if answer.case_id in theirs]
    lost = [(before, after) for before, after in pairs if before.is_exact and not after.is_exact]
    won = sum(after.is_exact and not before.is_exact for before, after in pairs)
    cases = {case.id: case for case in pack.cases}
    lines = [f"of {len(pairs)} answers, {len(lost)} exact ones of the source model are lost and {won} are won"]
    for before, after in lost[:_SHOWN]:
        case = cases[after.case_id]
        lines += show_case(
            f"{case.id} ({case.kind})", case.messages, f"{said_by(before)} (source model)", said_by(after)
        )
    return "\n".join(lines)


def show_case(name: str, asked: Sequence[Turn], expected: str, said: str) -> list[str]:
    """A case in four lines; everything that a model or a user wrote is escaped and cut."""
    return [name, f"  asked:    {asked_of(asked)}", f"  expected: {expected}", f"  said:     {said}"]


def asked_of(asked: Sequence[Turn]) -> str:
    """The question of a conversation, and how many turns stand before it."""
    before = f" (after {len(asked) - 1} earlier turns)" if len(asked) > 1 else ""
    question = cut(asked[-1].content) if asked else "nothing: the conversation is empty"
    return f"{question}{before}"


def said_by(answer: GradedAnswer) -> str:
    """What the model said, or why it said nothing."""
    if answer.refusal:
        return f"nothing: the runtime refused the prompt ({cut(answer.refusal)})"
    if answer.finish_reason != "length":
        return cut(answer.text)
    repeated = repeated_end(answer.text)
    over_and_over = "" if repeated is None else f", saying {cut(repeated)} over and over"
    return f"{cut(answer.text)} and was cut there{over_and_over}"


def expectation(case: Case) -> str:
    """What makes an answer to a case right, in words."""
    if case.pattern is not None:
        return f"a match of {cut(case.pattern)}"
    if case.keywords is not None:
        return f"all of {', '.join(cut(word) for word in case.keywords)}"
    answers = [json.dumps(one, ensure_ascii=False) for one in case.right_answers]
    return " or ".join(cut(answer) for answer in answers[:_SHOWN])


def cut(text: str) -> str:
    """A text in quotes as Python would write it, without its middle where it is long: control characters cannot act."""
    return repr(_without_middle(text))


def escaped(text: str) -> str:
    """A sentence of ours about what a model wrote: the same without quotes around it."""
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in _without_middle(text))


def _without_middle(text: str) -> str:
    half = _LONGEST // 2
    return text if len(text) <= _LONGEST else f"{text[:half]} ... {text[-half:]}"


def _blame(
    failed: Sequence[GradedAnswer], source: Sequence[GradedAnswer], fails: Callable[[GradedAnswer], bool]
) -> str:
    theirs: Mapping[tuple[str, int], GradedAnswer] = {(one.case_id, one.padding_tokens): one for one in source}
    known = [theirs[key] for one in failed if (key := (one.case_id, one.padding_tokens)) in theirs]
    if not known:
        return ""
    both, count = sum(fails(one) for one in known), len(known)
    if both == count:
        return f"; the source model fails {'it' if count == 1 else f'all {count}'} too: {_TUNING}"
    if both == 0:
        return (
            f"; the source model {'does not' if count == 1 else f'fails none of these {count}'}: conversion, not tuning"
        )
    what = f"mostly {_TUNING}" if 2 * both >= count else "mostly conversion, not tuning"
    return f"; the source model fails {both} of these {count} too: {what}"
