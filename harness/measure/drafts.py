"""Likely answers of the source model, from what the pack expects."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from harness.errors import InvalidPromptError
from harness.measure.verified_session import Tokens, VerifiedSession
from harness.pack.choose import spread
from harness.pack.schema import Case, DomainPack

_LEARNED_FROM = 6
"""Cases whose answers show how the model writes JSON."""

_STYLES: Final[tuple[Callable[[Any], str], ...]] = (
    lambda value: json.dumps(value, ensure_ascii=False, separators=(",", ":")),
    lambda value: json.dumps(value, ensure_ascii=False),
    lambda value: json.dumps(value, ensure_ascii=False, indent=2),
    lambda value: json.dumps(value, ensure_ascii=False, indent=4),
    lambda value: json.dumps(value, separators=(",", ":")),
    lambda value: json.dumps(value),
)


def source_drafts(session: VerifiedSession, pack: DomainPack) -> Mapping[Tokens, Tokens]:
    """For each case with an expected answer, that answer as the model would write it; in token ids, by prompt.

    A few answers are asked to learn how the model writes JSON. A draft that it would not write costs time and changes
    nothing.
    """
    cases = [case for case in pack.cases if case.expected is not None]
    write = _style(session, pack, spread([case for case in cases if not isinstance(case.expected, str)], _LEARNED_FROM))
    drafts = {}
    for case in cases:
        text = case.expected if isinstance(case.expected, str) else write(case.expected)
        try:
            prompt = session.encode(session.render(pack.conversation(case.messages)))
        except InvalidPromptError:
            continue
        drafts[tuple(prompt)] = tuple(session.encode(text))
    return drafts


def _style(session: VerifiedSession, pack: DomainPack, cases: Sequence[Case]) -> Callable[[Any], str]:
    """The way to write JSON that most of the model's answers have."""
    conversations = [pack.conversation(case.messages) for case in cases]
    answers = session.answer_many(conversations, max_new_tokens=pack.domain.max_new_tokens)
    said = [None if isinstance(answer, InvalidPromptError) else answer.text.strip() for answer in answers]
    return max(
        _STYLES, key=lambda style: sum(style(case.expected) == text for case, text in zip(cases, said, strict=True))
    )
