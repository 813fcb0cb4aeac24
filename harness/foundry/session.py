"""Answers through Foundry Local in this process, the way an application on the device would get them."""

from __future__ import annotations

import re
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from harness.config.target import target_of
from harness.errors import GateError, InvalidPromptError, SessionError
from harness.foundry.host import FoundryHost, RegisteredModel
from harness.foundry.sdk import INVALID_ARGUMENT, load_sdk, raising, reason
from harness.runtime.session import Answer, Message, Session, TokenTimeline

_ROLES: Final = frozenset({"system", "user", "assistant", "developer"})
"""Roles that a plain conversation can have; Foundry wants a call id for `tool`."""

_BROKEN_OFF_TOKENS: Final = 16
"""Tokens asked for where only the first piece is read."""

_AT_TEMPLATE: Final = re.compile(r" at row \d+, column \d+:")
"""How its Jinja points at the place of a template that raised an exception."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedAnswer(Answer):
    """What Foundry Local said to one conversation; it tells how many tokens, but not which."""

    completion_tokens: int
    """Tokens of the answer by Foundry's own count, end-of-sequence left out."""


class FoundrySession:
    """A `Session` over a model registered in Foundry Local.

    Times are those at which Foundry handed a piece of text over: one per token, but none for a token that ends
    inside a character, and under load several at once.

    Raises:
        DeployError: Foundry does not load the model, or does not know its context length.
    """

    def __init__(
        self,
        host: FoundryHost,
        model: RegisteredModel,
        *,
        name: str | None = None,
        on_close: Callable[[], None] | None = None,
    ) -> None:
        self.name = name or f"{model.alias} in Foundry Local"
        self._host = host
        self._model = model
        self._on_close = on_close
        self._sdk = load_sdk()
        self._open = True
        host.load(model)
        self.context_length = host.context_length(model)

    def answer(self, messages: Sequence[Message], *, max_new_tokens: int) -> ServedAnswer:
        """Answer greedily in a chat session of its own: a used one remembers what was said in it."""
        if not self._open:
            raise SessionError("the session is closed", where=self.name)
        require_plain_request(messages, max_new_tokens, where=self.name)
        start_s = time.perf_counter()
        try:
            return self._answer(messages, max_new_tokens, start_s)
        except InvalidPromptError:
            room = self._room(messages)
            if not 0 < room < max_new_tokens:
                raise
            return self._answer(messages, room, start_s)  # Foundry refuses what it could only answer in part

    def reload(self) -> None:
        """Unload the model and load it again; it stays registered."""
        self._host.unload(self._model)
        self._host.load(self._model)

    def open_and_drop(self) -> None:
        """Begin a chat session and a request, and give both back unused."""
        with self._sdk.ChatSession(self._model.handle), self._sdk.Request():
            pass

    def break_off(self, messages: Sequence[Message]) -> None:
        """Read the first piece of a streamed answer, and leave."""
        with (
            raising(self._refusal),
            self._sdk.ChatSession(self._model.handle) as chat,
            self._request(messages, _BROKEN_OFF_TOKENS) as request,
        ):
            chat.set_streaming(True)
            with chat.process_streaming_request(request) as stream:
                next(iter(stream), None)

    def fail(self) -> None:
        """Send a request that says nothing, which Foundry refuses.

        Raises:
            SessionError: it does not.
        """
        with self._sdk.ChatSession(self._model.handle) as chat, self._request([], 1) as request:
            try:
                chat.process_request(request)
            except self._sdk.FoundryLocalException:
                return
        raise SessionError("Foundry Local answered a request that says nothing", where=self.name)

    def close(self) -> None:
        """Unload the model; it stays registered. A second call does nothing."""
        if not self._open:
            return
        self._open = False
        try:
            self._host.unload(self._model)
        finally:
            if self._on_close is not None:
                self._on_close()

    def _answer(self, messages: Sequence[Message], max_new_tokens: int, start_s: float) -> ServedAnswer:
        sdk = self._sdk
        with (
            raising(self._refusal),
            sdk.ChatSession(self._model.handle) as chat,
            self._request(messages, max_new_tokens) as request,
        ):
            chat.set_streaming(True)
            with chat.process_streaming_request(request) as stream:
                text, token_s = _collect(stream)
                with stream.final_response as final:
                    ending, usage = final.finish_reason, final.get_usage()
        return ServedAnswer(
            text=text,
            token_ids=None,
            finish_reason=self._finish_reason(ending),
            timeline=TokenTimeline(start_s=start_s, token_s=tuple(token_s), prompt_tokens=usage.prompt_tokens or None),
            completion_tokens=int(usage.completion_tokens),
        )

    def _request(self, messages: Sequence[Message], max_new_tokens: int) -> Any:
        sdk = self._sdk
        request = sdk.Request()
        for message in messages:
            role = sdk.MessageRole[message["role"].upper()]
            request.add_item(sdk.MessageItem(role, message["content"]))
        # Without these Foundry samples, even where genai_config.json says `do_sample: false`.
        search = sdk.SearchOptions(max_output_tokens=max_new_tokens, temperature=0.0, do_sample=False)
        return request.set_options(sdk.RequestOptions(search=search))

    def prompt_tokens(self, messages: Sequence[Message]) -> int:
        """How many tokens Foundry makes of a conversation, the assistant's turn opened.

        Raises:
            InvalidPromptError: Foundry refuses the conversation.
            SessionError: Foundry does not answer.
        """
        return int(self._budget(messages).prompt_tokens)

    def _room(self, messages: Sequence[Message]) -> int:
        """How many tokens of the context the prompt leaves free; below 1 when there is none, or no telling."""
        try:
            budget = self._budget(messages)
        except SessionError:
            return 0
        return int(budget.context_limit_tokens - budget.prompt_tokens)

    def _budget(self, messages: Sequence[Message]) -> Any:
        with (
            raising(self._refusal),
            self._sdk.ChatSession(self._model.handle) as chat,
            self._request(messages, 1) as request,
        ):
            return chat.preflight_request(request)

    def _refusal(self, error: BaseException) -> GateError:
        refused = getattr(error, "error_code", None) == INVALID_ARGUMENT or is_template_refusal(str(error))
        if refused or isinstance(error, UnicodeError):
            return InvalidPromptError(f"Foundry Local refused the prompt: {reason(error)}", where=self.name)
        return SessionError(f"Foundry Local did not answer: {reason(error)}", where=self.name)

    def _finish_reason(self, ending: Any) -> Literal["stop", "length"]:
        reasons = self._sdk.FinishReason
        if ending == reasons.LENGTH:
            return "length"
        if ending in (reasons.STOP, reasons.TOOL_CALLS):
            return "stop"
        raise SessionError(f"Foundry Local ended the answer with {ending!r}", where=self.name)


def is_template_refusal(message: str) -> bool:
    """Whether Foundry tells that the chat template refused a conversation; it counts that as an error of its own."""
    return _AT_TEMPLATE.search(message) is not None


def require_plain_request(messages: Sequence[Message], max_new_tokens: int, *, where: str) -> None:
    """Raise if Foundry would take the request and understand it otherwise than it was meant.

    Raises:
        InvalidPromptError: a turn that the model would not see as it is.
        SessionError: no tokens were asked for.
    """
    if max_new_tokens < 1:
        raise SessionError(f"an answer of {max_new_tokens} tokens was asked for", where=where)
    for message in messages:
        problem = _problem(message)
        if problem:
            raise InvalidPromptError(problem, where=where)


def open_foundry_session(spec: Mapping[str, Any]) -> Session:
    """Register and load `spec["path"]` as `spec["alias"]` in a Foundry Local of its own under `spec["home"]`.

    Closing the session takes everything back. Without `home`, a temporary folder is used.

    Raises:
        DeployError: Foundry Local does not start, or does not take the model.
    """
    temporary = None if spec.get("home") else Path(tempfile.mkdtemp(prefix="slm-gate-foundry-"))
    host: FoundryHost | None = None

    def close() -> None:
        if host is not None:
            host.close()
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)

    try:
        host = FoundryHost(temporary or Path(spec["home"]))
        model = host.register(Path(spec["path"]), str(spec.get("alias") or "model"), target=target_of(spec))
        return FoundrySession(host, model, name=spec.get("name"), on_close=close)
    except BaseException:
        close()
        raise


def _collect(stream: Any) -> tuple[str, list[float]]:
    pieces: list[str] = []
    token_s: list[float] = []
    for item in stream:
        token_s.append(time.perf_counter())
        pieces.append(getattr(item, "text", ""))
    return "".join(pieces), token_s


def _problem(message: Message) -> str | None:
    """Why Foundry would not see this turn as it was meant; None if it will."""
    role, content = message.get("role"), message.get("content")
    if role not in _ROLES:
        return f"a plain conversation has no role {role!r}"
    if not isinstance(content, str):
        return f"a turn of {role!r} has no text"
    if "\0" in content:
        return "the text contains a NUL character, at which Foundry Local would cut it off"
    return None
