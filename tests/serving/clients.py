"""A stand-in for a client of the web service, which breaks one promise at a time."""

from __future__ import annotations

from collections.abc import Sequence

from harness.foundry.session import ServedAnswer
from harness.runtime.session import Message, TokenTimeline

QUESTION: list[Message] = [{"role": "user", "content": "E4?"}]
WHOLE = "the pump is blocked"


def said(text: str, finish: str = "stop") -> ServedAnswer:
    timeline = TokenTimeline(start_s=0.0, token_s=(), prompt_tokens=1)
    return ServedAnswer(text=text, token_ids=None, finish_reason=finish, timeline=timeline, completion_tokens=1)


class Client:
    """A client of a service that keeps its promises, but for the planted one."""

    def __init__(self, broken: str = "", text: str = WHOLE) -> None:
        self._broken, self._text, self._asked, self._hung_up = broken, text, 0, False

    def request(
        self,
        messages: Sequence[Message],
        *,
        max_new_tokens: int,
        temperature: float = 0.0,
        seed: int | None = None,
        stop: str | None = None,
    ) -> ServedAnswer:
        self._asked += 1
        if stop and self._broken != "stop":
            with_stop = len(stop) if self._broken == "keeps the stop string" else 0
            return said(
                self._text[: self._text.index(stop) + with_stop], "length" if "finish" in self._broken else "stop"
            )
        if temperature:
            return said(f"sampled {self._asked if self._broken == 'seed' else seed}")
        return said(f"{self._text} {seed}" if self._broken == "greedy" else self._text)

    def answer(self, messages: Sequence[Message], *, max_new_tokens: int) -> ServedAnswer:
        return said("left over" if self._hung_up and self._broken == "after" else self._text)

    def hang_up(self, messages: Sequence[Message], *, max_new_tokens: int, after_pieces: int) -> str:
        self._hung_up = True
        return "other" if self._broken == "before" else self._text[:3]
