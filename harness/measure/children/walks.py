"""What the leak check asks of a session: one unit of each path on which a runtime can lose memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Final

from harness.errors import InvalidPromptError, MeasureError
from harness.runtime.session import Answer, LeakSession, Message, Session

BASE_UNITS: Final[Mapping[str, int]] = {"request": 4, "token": 1, "session": 4, "stream": 2, "error": 2}
"""How often each path is walked in the smallest round; of `token`, the long answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Walker:
    """Walks the paths of one session, always in the same order, and keeps nothing."""

    session: Session

    conversations: Sequence[Sequence[Message]]
    """Asked in turn; what never came before always grows some cache."""

    invalid: Sequence[Message]
    """Must be refused."""

    max_new_tokens: int
    """Of a short answer: what a request costs is what counts."""

    long_new_tokens: int
    """Of a long one, for what a token costs."""

    @property
    def paths(self) -> tuple[str, ...]:
        """Those that this session has, in the order of a round."""
        return tuple(BASE_UNITS) if isinstance(self.session, LeakSession) else ("request", "token", "error")

    def walk(self, path: str, times: int) -> int:
        """Walk a path; return the units that this was: the tokens of `token`, else `times`.

        Raises:
            MeasureError: what must be refused was answered.
        """
        steps: Mapping[str, Callable[[Sequence[Message]], int]] = {
            "request": self._request,
            "token": self._token,
            "session": self._open,
            "stream": self._stream,
            "error": self._error,
            "load": self._load,
        }
        turns, step = cycle(self.conversations), steps[path]
        return sum(step(next(turns)) for _ in range(times))

    def round(self, factor: int) -> dict[str, int]:
        """Walk every path, `factor` times as often as in the smallest round; the units of each."""
        return {path: self.walk(path, factor * BASE_UNITS[path]) for path in self.paths}

    def _request(self, messages: Sequence[Message]) -> int:
        self.session.answer(messages, max_new_tokens=self.max_new_tokens)
        return 1

    def _token(self, messages: Sequence[Message]) -> int:
        return max(1, tokens_of(self.session.answer(messages, max_new_tokens=self.long_new_tokens)))

    def _open(self, _: Sequence[Message]) -> int:
        if isinstance(self.session, LeakSession):
            self.session.open_and_drop()
        return 1

    def _stream(self, messages: Sequence[Message]) -> int:
        if isinstance(self.session, LeakSession):
            self.session.break_off(messages)
        return 1

    def _load(self, messages: Sequence[Message]) -> int:
        if isinstance(self.session, LeakSession):
            self.session.reload()
        return self._request(messages)

    def _error(self, _: Sequence[Message]) -> int:
        if isinstance(self.session, LeakSession):
            self.session.fail()
        try:
            self.session.answer(self.invalid, max_new_tokens=self.max_new_tokens)
        except InvalidPromptError:
            return 1
        raise MeasureError(
            "the runtime answered the request that should walk its error path",
            where=self.session.name,
            next_step="give a request that this runtime refuses, for example one over its context",
        )


def tokens_of(answer: Answer) -> int:
    """Tokens of an answer; pieces of text where a runtime hides its ids."""
    return max(len(answer.timeline.token_s), len(answer.token_ids or ()))
