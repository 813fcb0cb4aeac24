"""Whether Foundry Local serves what was tested: the bare runtime's own answers, by every way in."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from harness.errors import InvalidPromptError
from harness.foundry.session import ServedAnswer
from harness.measure.asking import ask_all
from harness.measure.failures import cut
from harness.metrics.measurement import Measured, Measurement
from harness.pack.choose import conversations_by_case
from harness.pack.schema import DomainPack
from harness.runtime.session import Answer, Message, Session
from harness.stats.proportions import proportion
from harness.system.progress import SILENT, Progress, Step, silent_step

Conversations = Mapping[str, Sequence[Message]]
"""Conversations by the id of their case."""

Said = Answer | InvalidPromptError
"""An answer, or why the prompt was refused."""

_SHOWN: Final = 3

LEAST: Final = 8
"""Cases that every way is asked, however slow the model is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedComparison:
    """One conversation, answered by the bare runtime and as it is served."""

    case_id: str
    expected: str
    """The bare runtime's text; empty where it refused."""

    served: str
    """Foundry Local's text; empty where it refused."""

    differences: tuple[str, ...]
    """In words: text, finish reason, prompt tokens, completion tokens, refusal; empty when all is the same."""

    @property
    def is_same(self) -> bool:
        """Nothing differs."""
        return not self.differences


def measure_same_answers(
    bare: Session,
    ways: Mapping[str, Session],
    pack: DomainPack,
    *,
    cases: int,
    enough_s: float = math.inf,
    progress: Progress = SILENT,
) -> Measured:
    """Ask the bare runtime and every way to be served the same questions, and compare what they say.

    Args:
        bare: the variant in onnxruntime-genai.
        ways: sessions in Foundry Local, each by the metric that it is judged by.
        pack: where the questions are.
        cases: how many of them are asked, spread over the pack.
        enough_s: a way that has taken so long is asked no more, from the eighth case on.
        progress: hears how far it is.

    Raises:
        MeasureError: the pack has no case.
        SessionError: Foundry Local stopped answering.
    """
    questions, limit = _by_lot(conversations_by_case(pack, cases)), pack.domain.max_new_tokens
    expected = ask_all(bare, list(questions.values()), max_new_tokens=limit)
    found = {
        metric: compare_served(
            expected, way, questions, max_new_tokens=limit, enough_s=enough_s,
            step=progress.step(f"questions to {way.name}"),
        )
        for metric, way in ways.items()
    }  # fmt: skip
    return Measured(
        measurement=Measurement(
            estimates={metric: proportion([one.is_same for one in compared]) for metric, compared in found.items()},
            details={metric: _describe(compared, len(questions)) for metric, compared in found.items()},
        ),
        samples=found,
    )


def compare_served(
    expected: Sequence[Said],
    session: Session,
    conversations: Conversations,
    *,
    max_new_tokens: int,
    enough_s: float = math.inf,
    step: Step = silent_step,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[ServedComparison, ...]:
    """Ask Foundry Local what the bare runtime was asked, and compare the answers; as many as fit into the time.

    Raises:
        SessionError: Foundry Local stopped answering.
    """
    served: list[Said] = []
    started_s = clock()
    for conversation in conversations.values():
        served += ask_all(session, [conversation], max_new_tokens=max_new_tokens)
        step(len(served), len(conversations))
        if len(served) >= LEAST and clock() - started_s >= enough_s:
            break
    return tuple(
        ServedComparison(
            case_id=case_id, expected=text_of(one), served=text_of(other), differences=tuple(_differences(one, other))
        )
        for case_id, one, other in zip(conversations, expected, served, strict=False)
    )


def text_of(said: Said) -> str:
    """The answer's text; empty for a refusal."""
    return said.text if isinstance(said, Answer) else ""


def _differences(expected: Said, served: Said) -> list[str]:
    if isinstance(expected, InvalidPromptError) or isinstance(served, InvalidPromptError):
        words = {True: "answered", False: "refused"}
        was, came = isinstance(expected, Answer), isinstance(served, Answer)
        return [] if was is came else [f"{words[was]} became {words[came]}"]
    pairs = {
        "text": (expected.text, served.text),
        "finish reason": (expected.finish_reason, served.finish_reason),
        "prompt tokens": (expected.timeline.prompt_tokens, served.timeline.prompt_tokens),
        "completion tokens": (_tokens(expected), _tokens(served)),
    }
    return [f"{what}: {_shown(one)} became {_shown(other)}" for what, (one, other) in pairs.items() if one != other]


def _shown(value: str | int | None) -> str:
    return cut(value) if isinstance(value, str) else repr(value)


def _tokens(answer: Answer) -> int | None:
    if isinstance(answer, ServedAnswer):
        return answer.completion_tokens
    return len(answer.token_ids) if answer.token_ids is not None else None


def _by_lot(conversations: Conversations) -> dict[str, Sequence[Message]]:
    """In an order whose beginning is spread over the pack too, the same in every run."""
    ids = list(conversations)
    random.Random(0).shuffle(ids)
    return {case_id: conversations[case_id] for case_id in ids}


def _describe(compared: Sequence[ServedComparison], wanted: int) -> str:
    other = [f"{one.case_id}: {'; '.join(one.differences)}" for one in compared if not one.is_same]
    told = f"{len(compared) - len(other)} of {len(compared)} answers are the same"
    if len(compared) < wanted:
        told += f"; {wanted} were to be asked, and their time was over: `[foundry] cases_s`"
    return "\n".join([told, *other[:_SHOWN]])
