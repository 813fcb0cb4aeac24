"""Quality on the domain's questions: is the answer right, has it the right form, at every prompt length."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from harness.errors import GateError, InvalidPromptError, MeasureError
from harness.grading.grade import GradedAnswer, Grader, grade
from harness.pack.choose import length_cases
from harness.pack.long_text import over_context_text
from harness.pack.pack import OUT_OF_SCOPE, Case, DomainPack, EdgeCase
from harness.runtime.session import BatchSession, Message, ScoringSession, Session
from harness.stats.estimate import Estimate
from harness.stats.paired import paired_loss
from harness.stats.proportions import proportion
from harness.system.progress import Step, silent_step


def ask_cases(session: Session, pack: DomainPack, step: Step = silent_step) -> tuple[GradedAnswer, ...]:
    """Ask every case once and grade the answers; a refused prompt counts as a wrong answer."""
    grader = Grader.of(pack)
    conversations = [pack.conversation(case.messages) for case in pack.cases]
    texts = _ask_all(session, conversations, pack.domain.max_new_tokens, step)
    return tuple(grade(grader, case, text) for case, text in zip(pack.cases, texts, strict=True))


def padded_conversations(
    pack: DomainPack, encode: Callable[[str], Sequence[int]], context_length: int
) -> list[tuple[int, Case, list[dict[str, str]]]]:
    """(padding tokens, case, conversation) for every rung that leaves room for question and answer in the context."""
    ladder = pack.domain.length
    result = []
    for tokens in ladder.padding_tokens:
        padding = cut_to_tokens(pack.padding, tokens, encode)
        for case in length_cases(pack):
            turn = case.messages[-1]
            content = ladder.template.format(padding=padding, question=turn.content) if tokens else turn.content
            conversation = pack.conversation([turn.model_copy(update={"content": content})])
            used = len(encode(content)) + pack.domain.max_new_tokens + 64
            if used <= context_length:
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


def ask_lengths(session: ScoringSession, pack: DomainPack, step: Step = silent_step) -> tuple[GradedAnswer, ...]:
    """Ask the same questions on every rung of the length ladder."""
    grader = Grader.of(pack)
    rungs = padded_conversations(pack, session.encode, session.context_length)
    texts = _ask_all(session, [conversation for *_, conversation in rungs], pack.domain.max_new_tokens, step)
    return tuple(
        grade(grader, case, text, padding_tokens=tokens) for (tokens, case, _), text in zip(rungs, texts, strict=True)
    )


def _ask_all(
    session: Session, conversations: Sequence[Sequence[Message]], max_new_tokens: int, step: Step
) -> list[str]:
    if isinstance(session, BatchSession):
        answers = session.answer_many(conversations, max_new_tokens=max_new_tokens, step=step)
        return [answer.text for answer in answers]
    texts = []
    for done, conversation in enumerate(conversations, 1):
        try:
            texts.append(session.answer(conversation, max_new_tokens=max_new_tokens).text)
        except InvalidPromptError:
            texts.append("")
        step(done, len(conversations))
    return texts


def quality_rates(graded: Sequence[GradedAnswer]) -> dict[str, Estimate]:
    """`exact_match_rate` (in scope, all and per split), `out_of_scope_rate`, `json_valid_rate`."""
    in_scope = [answer for answer in graded if answer.kind != OUT_OF_SCOPE]
    declined = [answer for answer in graded if answer.kind == OUT_OF_SCOPE]
    return {
        "exact_match_rate": proportion([answer.is_exact for answer in in_scope]),
        "exact_match_dev_rate": proportion([a.is_exact for a in in_scope if a.split == "dev"]),
        "exact_match_final_rate": proportion([a.is_exact for a in in_scope if a.split == "final"]),
        "out_of_scope_rate": proportion([answer.is_exact for answer in declined]),
        "json_valid_rate": proportion([answer.is_valid for answer in graded if answer.is_valid is not None]),
    }


def exact_match_loss(source: Sequence[GradedAnswer], own: Sequence[GradedAnswer]) -> Estimate:
    """Percentage points of exact in-scope answers lost against the source model, paired by case."""
    was_right = {answer.case_id: answer.is_exact for answer in source}
    pairs = [(was_right[a.case_id], a.is_exact) for a in own if a.kind != OUT_OF_SCOPE and a.case_id in was_right]
    return paired_loss([before for before, _ in pairs], [after for _, after in pairs]).map(lambda share: 100 * share)


def rates_by_length(graded: Sequence[GradedAnswer]) -> dict[int, Estimate]:
    """Share of exact answers per rung, in tokens of padding."""
    rungs = sorted({answer.padding_tokens for answer in graded})
    return {rung: proportion([a.is_exact for a in graded if a.padding_tokens == rung]) for rung in rungs}


def length_drop_points(graded: Sequence[GradedAnswer]) -> float | None:
    """Largest loss of exact answers against the shortest rung, in percentage points; the questions are the same.

    None with fewer than two rungs: a ladder of one rung shows nothing.
    """
    rates = [rate.value for rate in rates_by_length(graded).values()]
    if len(rates) < 2 or rates[0] is None:
        return None
    return max(100 * (rates[0] - (value or 0.0)) for value in rates[1:])


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeResult:
    """What came back for one unfriendly prompt."""

    case_id: str
    kind: str
    is_handled: bool
    """The expected thing came back, and the next ordinary question was answered as before."""

    explanation: str
    """What came back instead; empty when handled."""


def ask_edge_cases(session: ScoringSession, pack: DomainPack, step: Step = silent_step) -> tuple[EdgeResult, ...]:
    """Send every edge case, each followed by the same ordinary question, whose answer must not change."""
    grader = Grader.of(pack)
    canary = pack.conversation(pack.cases[0].messages)
    healthy = session.answer(canary, max_new_tokens=pack.domain.max_new_tokens).text
    results = []
    for done, case in enumerate(pack.edge_cases, 1):
        finding = _edge_finding(session, pack, grader, case)
        after = session.answer(canary, max_new_tokens=pack.domain.max_new_tokens).text
        if after != healthy:
            finding = f"the next ordinary question got another answer: {after!r}"
        results.append(EdgeResult(case_id=case.id, kind=case.kind, is_handled=not finding, explanation=finding))
        step(done, len(pack.edge_cases))
    return tuple(results)


def edge_conversation(session: ScoringSession, pack: DomainPack, case: EdgeCase) -> list[dict[str, str]]:
    """The conversation of an edge case, its last content repeated as it asks."""
    conversation = pack.conversation(case.messages)
    if conversation:
        content = conversation[-1]["content"] * case.repeat
        if case.over_context:
            content = over_context_text(content, session.encode, session.context_length)
        conversation[-1]["content"] = content
    return conversation


def _edge_finding(session: ScoringSession, pack: DomainPack, grader: Grader, case: EdgeCase) -> str:
    conversation = edge_conversation(session, pack, case)
    try:
        answer = session.answer(conversation, max_new_tokens=pack.domain.max_new_tokens)
    except InvalidPromptError as error:
        return "" if case.expect == "error" else f"the runtime refused it: {error.what}"
    except GateError as error:
        return f"the runtime failed: {error.what}"
    if case.expect == "error":
        return f"must be refused, but was answered: {answer.text!r}"
    form = grader.form_error(answer.text)
    return f"{form}; the answer was {answer.text!r}" if form else ""
