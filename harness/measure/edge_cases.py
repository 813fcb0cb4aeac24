"""Unfriendly prompts: each gets an answer in the pack's form or a clean refusal, and harms nobody after it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from harness.errors import GateError, InvalidPromptError
from harness.grading.grade import Grader
from harness.measure.applicable import NO_CONTRACT, not_asked
from harness.measure.failures import cut, escaped, show_case
from harness.measure.verified_session import VerifiedSession
from harness.metrics.measurement import Measured, Measurement
from harness.pack.long_text import over_context_text
from harness.pack.schema import DomainPack, EdgeCase
from harness.runtime.verified import SteppingSession
from harness.stats.estimate import Estimate
from harness.stats.proportions import proportion
from harness.system.progress import SILENT, Progress, Step, silent_step

_SHOWN: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeResult:
    """What came back for one unfriendly prompt."""

    case_id: str
    kind: str
    is_handled: bool | None
    """The expected thing came back, and the next ordinary question was answered as before.

    None where an answer came back and the pack has no form that it could break.
    """

    said: str
    """The answer; empty where there was none."""

    explanation: str
    """What came back instead of the expected thing; empty when handled."""


def measure_edge_cases(session: SteppingSession, pack: DomainPack, *, progress: Progress = SILENT) -> Measured:
    """Send every edge case and see what comes back, and whether the next question is answered as before."""
    results = ask_edge_cases(session, pack, progress.step("edge cases"))
    outcomes = [result.is_handled for result in results if result.is_handled is not None]
    absent = not_asked(pack).get("edge_case_rate", "the pack has no edge case")
    rate = proportion(outcomes) if outcomes else Estimate.missing(absent)
    details = _describe(results, pack)
    return Measured(
        measurement=Measurement(estimates={"edge_case_rate": rate}, details={"edge_case_rate": details}),
        samples={"edge_cases": results},
    )


def ask_edge_cases(session: SteppingSession, pack: DomainPack, step: Step = silent_step) -> tuple[EdgeResult, ...]:
    """Send every edge case, each followed by the same ordinary question, whose answer must not change."""
    grader, ordinary = Grader.of(pack), _ordinary_question(session, pack)
    healthy = ordinary()
    results = []
    for done, case in enumerate(pack.edge_cases, 1):
        is_handled, said, explanation = _outcome(session, pack, grader, case)
        after = ordinary()
        if after != healthy:
            is_handled, explanation = False, f"the next ordinary question got another answer: {cut(after)}"
        results.append(
            EdgeResult(case_id=case.id, kind=case.kind, is_handled=is_handled, said=said, explanation=explanation)
        )
        step(done, len(pack.edge_cases))
    return tuple(results)


def _ordinary_question(session: SteppingSession, pack: DomainPack) -> Callable[[], str]:
    """Asks the pack's first question anew and gives the answer.

    Where the session can be stepped only the first answer is written token by token. Later ones are checked against it
    in one pass, which sees a changed model at every token and takes a fraction of the time.
    """
    conversation, limit = pack.conversation(pack.cases[0].messages), pack.domain.max_new_tokens
    if not session.is_steppable:
        return lambda: session.answer(conversation, max_new_tokens=limit).text
    asking = VerifiedSession(inner=session, calibrations=1)

    def ask() -> str:
        text = asking.answer(conversation, max_new_tokens=limit).text
        asking.drafts = {prompt: said.draft for prompt, said in asking.said.items()}
        return text

    return ask


def edge_conversation(session: SteppingSession, pack: DomainPack, case: EdgeCase) -> list[dict[str, str]]:
    """The conversation of an edge case, its last content repeated as it asks."""
    conversation = pack.conversation(case.messages)
    if conversation:
        content = conversation[-1]["content"] * case.repeat
        if case.over_context:
            content = over_context_text(content, session.encode, session.context_length)
        conversation[-1]["content"] = content
    return conversation


def _outcome(
    session: SteppingSession, pack: DomainPack, grader: Grader, case: EdgeCase
) -> tuple[bool | None, str, str]:
    """(whether it is handled, the answer, what is wrong with it)."""
    conversation = edge_conversation(session, pack, case)
    try:
        said = session.answer(conversation, max_new_tokens=pack.domain.max_new_tokens).text
    except InvalidPromptError as error:
        is_expected = case.expect == "error"
        return is_expected, "", "" if is_expected else f"the runtime refused it: {error.what}"
    except GateError as error:
        return False, "", f"the runtime failed: {error.what}"
    if case.expect == "error":
        return False, said, "must be refused, but was answered"
    if not grader.has_contract:
        return None, said, ""
    form = grader.form_error(said)
    return not form, said, form


def _describe(results: Sequence[EdgeResult], pack: DomainPack) -> str:
    cases = {case.id: case for case in pack.edge_cases}
    failed = [result for result in results if result.is_handled is False]
    unjudged = sum(result.is_handled is None for result in results)
    lines = [f"{len(failed)} of {len(results) - unjudged} are not handled"]
    if unjudged:
        lines.append(f"{unjudged} more were answered and are not counted: {NO_CONTRACT}")
    for result in failed[:_SHOWN]:
        case = cases[result.case_id]
        expected = "a clean refusal" if case.expect == "error" else "an answer in the pack's form"
        said = cut(result.said) if result.said else "nothing"
        lines += show_case(f"{case.id} ({case.kind})", case.messages, expected, said)
        lines.append(f"  because:  {escaped(result.explanation)}")
    return "\n".join(lines)
