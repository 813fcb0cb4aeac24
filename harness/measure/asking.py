"""Puts questions to a session, grades the answers, and keeps the facts of each of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from harness.errors import InvalidPromptError
from harness.grading.grade import GradedAnswer, Grader
from harness.pack.schema import Case, DomainPack
from harness.runtime.session import Answer, BatchSession, Message, Session
from harness.system.progress import Step, silent_step


def ask_cases(session: Session, pack: DomainPack, step: Step = silent_step) -> tuple[GradedAnswer, ...]:
    """Ask every case once and grade the answers; a refused prompt is a wrong answer that says why."""
    grader = Grader.of(pack)
    conversations = [pack.conversation(case.messages) for case in pack.cases]
    answers = ask_all(session, conversations, max_new_tokens=pack.domain.max_new_tokens, step=step)
    return tuple(graded(grader, case, answer) for case, answer in zip(pack.cases, answers, strict=True))


def ask_all(
    session: Session,
    conversations: Sequence[Sequence[Message]],
    *,
    max_new_tokens: int,
    step: Step = silent_step,
) -> list[Answer | InvalidPromptError]:
    """Answers in the order of the conversations, in batches where the session can; the error of a refused one."""
    if isinstance(session, BatchSession):
        return session.answer_many(conversations, max_new_tokens=max_new_tokens, step=step)
    answers: list[Answer | InvalidPromptError] = []
    for done, conversation in enumerate(conversations, 1):
        try:
            answers.append(session.answer(conversation, max_new_tokens=max_new_tokens))
        except InvalidPromptError as error:
            answers.append(error)
        step(done, len(conversations))
    return answers


def graded(grader: Grader, case: Case, answer: Answer | InvalidPromptError, *, padding_tokens: int = 0) -> GradedAnswer:
    """Grade what came back, and keep how it came."""
    if isinstance(answer, InvalidPromptError):
        refused = grader.grade(case, "", padding_tokens=padding_tokens)
        return replace(
            refused,
            is_exact=False,
            score=0.0,
            refusal=answer.what,
            explanation=f"the runtime refused the prompt: {answer.what}",
        )
    return replace(
        grader.grade(case, answer.text, padding_tokens=padding_tokens),
        finish_reason=answer.finish_reason,
        prompt_tokens=answer.timeline.prompt_tokens,
        answer_tokens=len(answer.token_ids) if answer.token_ids is not None else None,
        answer_s=answer.timeline.e2e_s,
    )


def graded_again(answers: Sequence[GradedAnswer], pack: DomainPack) -> tuple[GradedAnswer, ...]:
    """Kept answers as today's grader judges them: it may know more than the one that saw them first."""
    grader, cases = Grader.of(pack), {case.id: case for case in pack.cases}
    return tuple(one if one.refusal else _graded_again(grader, cases[one.case_id], one) for one in answers)


def _graded_again(grader: Grader, case: Case, kept: GradedAnswer) -> GradedAnswer:
    return replace(
        grader.grade(case, kept.text, padding_tokens=kept.padding_tokens),
        finish_reason=kept.finish_reason,
        prompt_tokens=kept.prompt_tokens,
        answer_tokens=kept.answer_tokens,
        answer_s=kept.answer_s,
    )
