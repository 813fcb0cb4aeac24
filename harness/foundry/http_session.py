"""Answers through Foundry Local's web service, asked as an application asks it: by the openai package."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, Literal

import httpx2
import openai

from harness.errors import InvalidPromptError, SessionError
from harness.foundry.sdk import reason
from harness.foundry.session import ServedAnswer, is_template_refusal, require_plain_request
from harness.runtime.session import Message, TokenTimeline

_OVER_CONTEXT: Final = re.compile(r"\((\d+) input \+ \d+ output\).* context length of (\d+)")
"""How the service says that it could only answer in part."""

_TIMEOUT_S: Final = 300.0
"""For one request; a small model on a busy machine is slow, a dead service is refused at once."""


class FoundryHttpSession:
    """A `Session` over a loaded model in Foundry Local's web service; many threads may ask it at once.

    With `streams`, times are those at which a piece of text came in; without, there is no time but the whole.
    The environment's proxies are not asked: the service is on loopback.
    """

    def __init__(
        self, url: str, model_id: str, *, context_length: int, streams: bool = True, name: str | None = None
    ) -> None:
        self.name = name or f"{model_id} in Foundry Local over HTTP"
        self.context_length = context_length
        self._model_id = model_id
        self._streams = streams
        self._client = openai.OpenAI(
            base_url=url,
            api_key="none",
            max_retries=0,
            timeout=_TIMEOUT_S,
            http_client=openai.DefaultHttpxClient(trust_env=False),
        )

    def answer(self, messages: Sequence[Message], *, max_new_tokens: int) -> ServedAnswer:
        """Answer greedily."""
        return self.request(messages, max_new_tokens=max_new_tokens)

    def request(
        self,
        messages: Sequence[Message],
        *,
        max_new_tokens: int,
        temperature: float = 0.0,
        seed: int | None = None,
        stop: str | None = None,
    ) -> ServedAnswer:
        """Answer with the client's own settings; what would not fit the context is cut there.

        Raises:
            InvalidPromptError: the service refused the request and goes on.
            SessionError: the service did not answer, or broke off.
        """
        require_plain_request(messages, max_new_tokens, where=self.name)
        options = {"temperature": temperature, "seed": seed, "stop": stop}
        options = {name: value for name, value in options.items() if value is not None}
        start_s = time.perf_counter()
        try:
            return self._ask(messages, max_new_tokens, options, start_s)
        except InvalidPromptError as refusal:
            room = _room(refusal.what)
            if not 0 < room < max_new_tokens:
                raise
            return self._ask(messages, room, options, start_s)

    def hang_up(self, messages: Sequence[Message], *, max_new_tokens: int, after_pieces: int) -> str:
        """Read the first pieces of an answer, then close the connection in mid-stream; return what was read.

        Raises:
            InvalidPromptError, SessionError: as `request`.
        """
        pieces: list[str] = []
        with self._raising(), self._stream(messages, max_new_tokens, {"temperature": 0.0}) as stream:
            for chunk in stream:
                pieces += [choice.delta.content for choice in chunk.choices if choice.delta.content]
                if len(pieces) >= after_pieces:
                    break
        return "".join(pieces)

    def close(self) -> None:
        """Close the connections; the model stays loaded."""
        self._client.close()

    def _ask(
        self, messages: Sequence[Message], max_new_tokens: int, options: dict[str, Any], start_s: float
    ) -> ServedAnswer:
        with self._raising():
            read = self._read_stream if self._streams else self._read_whole
            text, token_s, ending, usage = read(messages, max_new_tokens, options)
        if usage is None:
            raise SessionError("Foundry Local's answer broke off: no token counts came", where=self.name)
        return ServedAnswer(
            text=text,
            token_ids=None,
            finish_reason=self._finish_reason(ending),
            timeline=TokenTimeline(start_s=start_s, token_s=tuple(token_s), prompt_tokens=usage.prompt_tokens or None),
            completion_tokens=int(usage.completion_tokens),
        )

    def _read_stream(self, messages: Sequence[Message], max_new_tokens: int, options: dict[str, Any]) -> _Read:
        pieces: list[str] = []
        token_s: list[float] = []
        ending = usage = None
        with self._stream(messages, max_new_tokens, options) as stream:
            for chunk in stream:
                usage = chunk.usage or usage
                for choice in chunk.choices:
                    ending = choice.finish_reason or ending
                    if choice.delta.content:
                        token_s.append(time.perf_counter())
                        pieces.append(choice.delta.content)
        return "".join(pieces), token_s, ending, usage

    def _read_whole(self, messages: Sequence[Message], max_new_tokens: int, options: dict[str, Any]) -> _Read:
        given = self._create(messages, max_new_tokens, options)
        choice = given.choices[0]
        return choice.message.content or "", [], choice.finish_reason, given.usage

    def _stream(self, messages: Sequence[Message], max_new_tokens: int, options: dict[str, Any]) -> Any:
        options = {**options, "stream": True, "stream_options": {"include_usage": True}}
        return self._create(messages, max_new_tokens, options)

    def _create(self, messages: Sequence[Message], max_new_tokens: int, options: dict[str, Any]) -> Any:
        create: Any = self._client.chat.completions.create
        turns = [dict(message) for message in messages]
        return create(model=self._model_id, messages=turns, max_tokens=max_new_tokens, **options)

    @contextmanager
    def _raising(self) -> Iterator[None]:
        try:
            yield
        except (openai.OpenAIError, httpx2.HTTPError, ValueError, IndexError) as error:
            if _is_refusal(error):
                what = f"Foundry Local refused the prompt: {_words(error)}"
                raise InvalidPromptError(what, where=self.name) from error
            raise SessionError(f"Foundry Local did not answer: {_words(error)}", where=self.name) from error

    def _finish_reason(self, ending: str | None) -> Literal["stop", "length"]:
        if ending == "length":
            return "length"
        if ending in ("stop", "tool_calls"):
            return "stop"
        raise SessionError(f"Foundry Local ended the answer with {ending!r}", where=self.name)


_Read = tuple[str, list[float], str | None, Any]
"""Text, a time for each piece, finish reason, token counts."""


def _is_refusal(error: Exception) -> bool:
    """The request was wrong, not the service; in a stream the service says so after a status of 200."""
    if isinstance(error, openai.BadRequestError):
        return "not loaded" not in str(error)
    if isinstance(error, openai.APIError) and is_template_refusal(str(error)):
        return True  # the service says 500 to these
    in_stream = isinstance(error, openai.APIError) and not isinstance(error, openai.APIStatusError)
    body = getattr(error, "body", None)
    is_named = isinstance(body, dict) and body.get("type") == "invalid_request_error"
    return isinstance(error, UnicodeError) or (in_stream and is_named)


def _words(error: Exception) -> str:
    """What the service said, or the first line of what happened."""
    body = getattr(error, "body", None)
    said = body.get("message") if isinstance(body, dict) else None
    return reason(RuntimeError(said)) if said else reason(error)


def _room(refusal: str) -> int:
    """How many tokens of the context the prompt leaves free; 0 when the refusal is about something else."""
    found = _OVER_CONTEXT.search(refusal)
    return max(0, int(found[2]) - int(found[1])) if found else 0
