"""A session that checks drafts instead of writing answers, and asks nothing twice.

It wraps a session whose model can be read step by step. Answers are the model's own (`harness.runtime.verified`);
drafts only make them cheap. Whatever was asked before, of the same model and runtime, is taken from the kept rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from harness.errors import InvalidPromptError
from harness.runtime.session import Answer, Message, TokenTimeline
from harness.runtime.smoke_test import runtime_version
from harness.runtime.verified import Cursor, Rows, SteppingSession, calibrate, verify
from harness.system.cpu import instruction_set
from harness.system.hashing import digest_of
from harness.system.progress import Step, silent_step
from harness.system.rows import KeptRows

Tokens = tuple[int, ...]

CALIBRATED = 6
"""Answers that are also generated, to see how far a prefill and single steps differ."""

_SAFETY = 2.0
"""Times the largest difference that was seen; what lies nearer than that is decided by a single step."""

_FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """A model's answer to one prompt, in tokens."""

    token_ids: Tokens
    """Without the token that ended it."""

    finish_reason: Literal["stop", "length"]
    end_id: int | None
    """The token that ended it; None where it was cut."""

    @property
    def draft(self) -> Tokens:
        """The answer as a draft for another model."""
        return self.token_ids if self.end_id is None else (*self.token_ids, self.end_id)


S = TypeVar("S", bound=SteppingSession)


def verified_session(
    session: S, digest: str, drafts: Mapping[Tokens, Tokens], *, cache: Path, fresh: bool = False
) -> VerifiedSession | S:
    """The session with drafts and kept answers; itself where stepping would not give its own answers.

    Args:
        session: an artifact's.
        digest: of the artifact.
        drafts: likely answers by prompt.
        cache: the gate's cache folder.
        fresh: ask again what was kept.
    """
    if not session.is_steppable:
        return session
    model = digest_of([digest, runtime_version(), instruction_set()])
    rows = KeptRows(cache / "answers" / f"{model[:32]}.db", fresh=fresh)
    return VerifiedSession(inner=session, drafts=drafts, rows=rows, model=model)


@dataclass(kw_only=True)
class VerifiedSession:
    """A `BatchSession` around a `SteppingSession`."""

    inner: SteppingSession
    drafts: Mapping[Tokens, Tokens] = field(default_factory=dict)
    """Likely answers by prompt, both in token ids; a prompt without one is answered by generation."""

    rows: KeptRows | None = None
    """Where answers are kept."""

    model: str = ""
    """What the kept answers depend on beside the prompt: artifact, runtime, instruction set."""

    calibrations: int = CALIBRATED
    """Answers that are also generated, before drafts are believed."""

    on_draft: Callable[[Tokens, Tokens, Rows], None] | None = None
    """Hears of every draft that is checked: prompt, draft up to its end, and the logits that its tokens were compared
    with, shape [draft tokens, vocabulary]."""

    name: str = field(init=False)
    context_length: int = field(init=False)
    end_ids: frozenset[int] = field(init=False)
    is_steppable: bool = field(init=False)
    said: dict[Tokens, Said] = field(default_factory=dict, init=False)
    """Every answer that was given, by prompt."""

    asked: int = field(default=0, init=False)
    """Answers that the model was asked for in this run; all others were kept."""

    _drift: float = field(default=0.0, init=False)
    """In logits."""

    _calibrated: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.name, self.context_length = self.inner.name, self.inner.context_length
        self.end_ids, self.is_steppable = self.inner.end_ids, self.inner.is_steppable

    def render(self, messages: Sequence[Message]) -> str:
        """The prompt text."""
        return self.inner.render(messages)

    def encode(self, text: str) -> list[int]:
        """Token ids."""
        return self.inner.encode(text)

    def close(self) -> None:
        """Leave the wrapped session open: who opened it closes it."""

    def logits(self, token_ids: Sequence[int]) -> npt.NDArray[np.float32]:
        """Of the wrapped session."""
        return self.inner.logits(token_ids)

    def answer(self, messages: Sequence[Message], *, max_new_tokens: int, min_new_tokens: int = 0) -> Answer:
        """Answer one conversation; one of a given length is not the model's own and is left to the wrapped session."""
        if min_new_tokens:
            return self.inner.answer(messages, max_new_tokens=max_new_tokens, min_new_tokens=min_new_tokens)
        found = self.answer_many([messages], max_new_tokens=max_new_tokens)[0]
        if isinstance(found, InvalidPromptError):
            raise found
        return found

    def answer_many(
        self, conversations: Sequence[Sequence[Message]], *, max_new_tokens: int, step: Step = silent_step
    ) -> list[Answer | InvalidPromptError]:
        """Answers in the order of the conversations; those that begin alike are read one after the other."""
        prompts = [self._prompt(conversation) for conversation in conversations]
        usable = sorted({prompt for prompt in prompts if isinstance(prompt, tuple)})
        self._answer_missing(usable, max_new_tokens, step)
        return [
            prompt if isinstance(prompt, InvalidPromptError) else self._as_answer(prompt, max_new_tokens)
            for prompt in prompts
        ]

    def keep(self, what: Any, compute: Callable[[], Any]) -> Any:
        """A JSON value that depends on the model and on `what`: kept, or computed now and kept."""
        if self.rows is None:
            return compute()
        key = digest_of([_FORMAT, self.model, what])
        kept = self.rows.get(key)
        if kept is None:
            kept = compute()
            self.rows.put(key, kept)
        return kept

    def cursor(self, max_length: int) -> Cursor:
        """Of the wrapped session."""
        return self.inner.cursor(max_length)

    def decode(self, token_ids: Sequence[int]) -> str:
        """Of the wrapped session."""
        return self.inner.decode(token_ids)

    def _prompt(self, messages: Sequence[Message]) -> Tokens | InvalidPromptError:
        try:
            prompt = tuple(self.inner.encode(self.inner.render(messages)))
            if not prompt:
                raise InvalidPromptError("the prompt has no tokens", where=self.name)
            if len(prompt) >= self.context_length:
                raise InvalidPromptError(
                    f"the prompt has {len(prompt)} tokens and the context {self.context_length}",
                    where=self.name,
                    next_step="shorten the prompt",
                )
        except InvalidPromptError as error:
            return error
        return prompt

    def _answer_missing(self, prompts: Sequence[Tokens], max_new_tokens: int, step: Step) -> None:
        missing = []
        for prompt in prompts:
            kept = self.rows.get(self._key(prompt, max_new_tokens)) if self.rows else None
            if kept is None:
                missing.append(prompt)
            else:
                self.said[prompt] = _read(kept)
        if not missing:
            return
        cursor = self.inner.cursor(max(map(len, missing)) + max_new_tokens)
        for done, prompt in enumerate(missing, len(prompts) - len(missing) + 1):
            room = min(max_new_tokens, self.context_length - len(prompt))
            self.said[prompt] = self._ask(cursor, prompt, room)
            self.asked += 1
            if self.rows:
                self.rows.put(self._key(prompt, max_new_tokens), _written(self.said[prompt]))
            step(done, len(prompts))

    def _ask(self, cursor: Cursor, prompt: Tokens, room: int) -> Said:
        """The first answers are written token by token, and show how far a prefill and single steps differ."""
        is_calibrating = self._calibrated < self.calibrations
        draft = () if is_calibrating else self.drafts.get(prompt, ())
        drift = _SAFETY * self._drift
        found = verify(cursor, prompt, draft, max_new_tokens=room, end_ids=self.inner.end_ids, drift=drift)
        said = Said(token_ids=found.token_ids, finish_reason=found.finish_reason, end_id=found.end_id)
        if self.on_draft is not None and len(found.draft_rows):
            self.on_draft(prompt, tuple(draft[: len(found.draft_rows)]), found.draft_rows)
        if is_calibrating and len(said.draft) > 1:
            self._drift = max(self._drift, calibrate(cursor, prompt, said.draft))
            self._calibrated += 1
        return said

    @property
    def drift(self) -> float:
        """How far, in logits, a prefill and single steps were seen to differ."""
        return self._drift

    def _key(self, prompt: Tokens, max_new_tokens: int) -> str:
        return digest_of([_FORMAT, self.model, list(prompt), max_new_tokens])

    def _as_answer(self, prompt: Tokens, max_new_tokens: int) -> Answer:
        said = self.said[prompt]
        return Answer(
            text=self.inner.decode(said.token_ids),
            token_ids=said.token_ids,
            finish_reason=said.finish_reason,
            timeline=TokenTimeline(start_s=0.0, token_s=(), prompt_tokens=len(prompt)),
        )


def _written(said: Said) -> dict[str, Any]:
    return {"token_ids": list(said.token_ids), "finish_reason": said.finish_reason, "end_id": said.end_id}


def _read(kept: Mapping[str, Any]) -> Said:
    return Said(token_ids=tuple(kept["token_ids"]), finish_reason=kept["finish_reason"], end_id=kept["end_id"])
