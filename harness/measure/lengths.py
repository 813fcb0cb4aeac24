"""The prompt-length sweep: the same questions behind more and more unrelated text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from harness.errors import MeasureError
from harness.grading.grade import GradedAnswer, Grader
from harness.measure.applicable import not_asked
from harness.measure.asking import ask_all, graded
from harness.measure.failures import describe_failures
from harness.metrics.measurement import Measured, Measurement
from harness.metrics.units import Unit, format_value
from harness.pack.choose import length_cases, usable_at_lengths
from harness.pack.schema import Case, DomainPack
from harness.runtime.session import ScoringSession
from harness.stats.estimate import CONFIDENCE, Estimate
from harness.stats.paired import paired_loss
from harness.stats.proportions import proportion
from harness.system.progress import SILENT, Progress, Step, silent_step

Padded = tuple[int, Case, list[dict[str, str]]]
"""Tokens of padding, the case, and the conversation."""

_TEMPLATE_TOKENS = 64
"""Room for what the chat template puts around a conversation."""


def measure_length_consistency(
    session: ScoringSession,
    pack: DomainPack,
    source: Sequence[GradedAnswer],
    *,
    is_over: Callable[[], bool] | None = None,
    progress: Progress = SILENT,
) -> Measured:
    """Ask the same questions at every step of the sweep and see whether answers get lost.

    Args:
        session: the variant.
        pack: questions, padding and steps.
        source: the source model's answers at the same steps.
        is_over: ends it after a question that was asked at every step; None where there is time for all.
        progress: hears how far it is.
    """
    asked = padded_conversations(pack, session.encode, session.context_length)
    answers = _ask_padded(session, pack, asked, progress.step("long questions"), is_over)
    rates = rates_by_length(answers)
    shares = [f"{format_value(Unit.SHARE, rate.value)} of {rate.n} at {tokens}" for tokens, rate in rates.items()]
    worst = [answer for answer in answers if answer.padding_tokens == _worst_step(answers)]
    details = [
        f"exact answers by tokens of padding: {', '.join(shares) or 'none'}",
        *describe_course(_losses(answers)),
        describe_failures(worst, source, pack, lambda answer: not answer.is_exact, samples="length_answers"),
    ]
    is_cut = len(answers) < len(asked)
    return Measured(
        measurement=Measurement(
            estimates={"length_drop_points": length_drop(answers, pack)},
            details={"length_drop_points": "\n".join(details)},
            more={"length_drop_points": _more(answers, pack, is_cut=is_cut)},
            cut=frozenset({"length_drop_points"} if is_cut else ()),
        ),
        samples={"length_answers": answers},
        details={
            "exact_match_by_padding_tokens": _by_step(rates),
            "source_exact_match_by_padding_tokens": _by_step(rates_by_length(source)),
        },
    )


def _by_step(rates: Mapping[int, Estimate]) -> dict[str, Any]:
    return {str(tokens): asdict(rate) for tokens, rate in rates.items()}


def _more(answers: Sequence[GradedAnswer], pack: DomainPack, *, is_cut: bool) -> str:
    """How many questions could be asked, and how."""
    asked, usable = len({answer.case_id for answer in answers}), len(usable_at_lengths(pack))
    if is_cut:
        return f"{asked} of {usable} questions were asked, as the time was used up: give a longer --budget, or none"
    if asked < usable:
        return f"{asked} of {usable} questions were asked: `[length] cases = {usable}` in domain.toml asks all"
    return f"all {usable} questions were asked that can be: more of them have to be added to the pack"


def describe_course(losses: Mapping[int, Estimate]) -> list[str]:
    """At which prompt length the loss is, and what becomes of it at longer ones; nothing where nothing is lost.

    Args:
        losses: against the shortest prompts, as shares, by tokens of padding.
    """
    points = {tokens: 100 * (loss.value or 0.0) for tokens, loss in losses.items()}
    if not points or max(points.values()) <= 0:
        return []
    at = max(points, key=lambda tokens: (points[tokens], tokens))
    said = f"the loss is largest at {at} tokens"
    longer = {tokens: loss for tokens, loss in points.items() if tokens > at}
    if not longer:
        return [f"{said}, the longest prompts that were asked"]
    where = " to ".join(dict.fromkeys(str(tokens) for tokens in (min(longer), max(longer))))
    most = max(longer.values())
    if most > points[at] / 2:
        return [f"{said}; longer ones lose up to {format_value(Unit.POINTS, most)} (at {where})"]
    again = "none" if most <= 0 else f"at most {format_value(Unit.POINTS, most)}"
    return [f"{said}; longer ones are fine again: {again} is lost at {where}, so length alone is not the cause"]


def ask_lengths(session: ScoringSession, pack: DomainPack, step: Step = silent_step) -> tuple[GradedAnswer, ...]:
    """Ask the same questions at every step of the sweep."""
    return _ask_padded(session, pack, padded_conversations(pack, session.encode, session.context_length), step)


def _ask_padded(
    session: ScoringSession,
    pack: DomainPack,
    padded: Sequence[Padded],
    step: Step,
    is_over: Callable[[], bool] | None = None,
) -> tuple[GradedAnswer, ...]:
    """Ask all at once or, where time may run out, case by case at every step; answers in the order of the sweep."""
    grader, limit = Grader.of(pack), pack.domain.max_new_tokens
    said: dict[tuple[int, str], GradedAnswer] = {}
    cases = list(dict.fromkeys(case.id for _, case, _ in padded))
    for group in [cases] if is_over is None else [[case] for case in cases]:
        chosen = [one for one in padded if one[1].id in group]
        heard = step if is_over is None else silent_step
        answers = ask_all(session, [turns for *_, turns in chosen], max_new_tokens=limit, step=heard)
        for (tokens, case, _), answer in zip(chosen, answers, strict=True):
            said[tokens, case.id] = graded(grader, case, answer, padding_tokens=tokens)
        if is_over is not None:
            step(len(said), len(padded))
            if is_over():
                break
    return tuple(said[tokens, case.id] for tokens, case, _ in padded if (tokens, case.id) in said)


def padded_conversations(pack: DomainPack, encode: Callable[[str], Sequence[int]], context_length: int) -> list[Padded]:
    """(tokens of padding, case, conversation) for every step at which question and answer fit into the context."""
    sweep = pack.domain.length
    result = []
    for tokens in sweep.padding_tokens:
        padding = cut_to_tokens(pack.padding, tokens, encode)
        for case in length_cases(pack):
            turn = case.messages[-1]
            content = sweep.template.format(padding=padding, question=turn.content) if tokens else turn.content
            turns = [*case.messages[:-1], turn.model_copy(update={"content": content})]
            conversation = pack.conversation(turns)
            used = sum(len(encode(message["content"])) for message in conversation)
            if used + pack.domain.max_new_tokens + _TEMPLATE_TOKENS <= context_length:
                result.append((tokens, case, conversation))
    return result


def cut_to_tokens(text: str, tokens: int, encode: Callable[[str], Sequence[int]]) -> str:
    """The longest word prefix of `text` with at most `tokens` tokens, `text` repeated as often as needed."""
    if tokens == 0:
        return ""
    words = text.split(" ")
    per_text = len(encode(text))
    if per_text == 0:
        raise MeasureError("padding.txt has no tokens", next_step="put unrelated prose into it")
    words = words * (tokens // per_text + 1)
    low, high = 0, len(words)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if len(encode(" ".join(words[:middle]))) <= tokens else (low, middle - 1)
    return " ".join(words[:low]).rstrip()


def rates_by_length(answers: Sequence[GradedAnswer]) -> dict[int, Estimate]:
    """Share of exact answers at each step, by its tokens of padding."""
    clusters = _clusters(answers)
    return {
        tokens: proportion(list(exact.values()), [clusters[case_id] for case_id in exact])
        for tokens, exact in _exact_by_step(answers).items()
    }


def length_drop(answers: Sequence[GradedAnswer], pack: DomainPack) -> Estimate:
    """Largest loss of exact answers against the shortest step, in percentage points; the questions are the same.

    The interval is that of the largest loss among the steps: each step's own has the confidence that makes all of
    them hold together (Bonferroni), and the largest of their ends bound the largest loss.
    """
    absent = not_asked(pack).get("length_drop_points")
    if absent is not None:
        return Estimate.missing(absent)
    losses = list(_losses(answers).values())
    if not losses:
        return Estimate.missing("fewer than two prompt lengths fit into the context")
    worst = max(losses, key=lambda loss: loss.value or 0.0)
    return Estimate(
        value=worst.value,
        low=max(loss.low for loss in losses if loss.low is not None),
        high=max(loss.high for loss in losses if loss.high is not None),
        confidence=CONFIDENCE,
        n=worst.n,
        method=f"{worst.method}, Bonferroni over {len(losses)} lengths",
    ).map(lambda share: 100 * share)


def _losses(answers: Sequence[GradedAnswer]) -> dict[int, Estimate]:
    """Of every step against the shortest one, on the questions that both were asked; shares, by tokens of padding."""
    clusters, steps = _clusters(answers), _exact_by_step(answers)
    shortest, *longer = steps.values() or [{}]
    found = {}
    for tokens, exact in list(steps.items())[1:]:
        asked = [case_id for case_id in exact if case_id in shortest]
        before, after = [shortest[one] for one in asked], [exact[one] for one in asked]
        together = [clusters[one] for one in asked]
        found[tokens] = paired_loss(before, after, together, confidence=1 - (1 - CONFIDENCE) / len(longer))
    return {tokens: loss for tokens, loss in found.items() if not loss.is_missing}


def _clusters(answers: Sequence[GradedAnswer]) -> Mapping[str, str | None]:
    """What each case has in common with others."""
    return {answer.case_id: answer.cluster for answer in answers}


def _worst_step(answers: Sequence[GradedAnswer]) -> int | None:
    """The step with the largest loss, the longest of several; the shortest one where there is no other."""
    losses = _losses(answers)
    shortest = next(iter(_exact_by_step(answers)), None)
    return max(losses, key=lambda tokens: (losses[tokens].value or 0.0, tokens), default=shortest)


def _exact_by_step(answers: Sequence[GradedAnswer]) -> Mapping[int, dict[str, bool]]:
    """By tokens of padding, ascending: whether each case's answer is exact."""
    steps: dict[int, dict[str, bool]] = {tokens: {} for tokens in sorted({one.padding_tokens for one in answers})}
    for answer in answers:
        steps[answer.padding_tokens][answer.case_id] = answer.is_exact
    return steps
