"""Whether Foundry Local serves what was tested: the same answers by every way in, and 4xx for what no answer fits."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from harness.errors import InvalidPromptError, MeasureError
from harness.foundry.http_session import FoundryHttpSession
from harness.foundry.session import ServedAnswer
from harness.pack.long_text import over_any_context
from harness.runtime.session import Answer, Message, Session
from harness.system.progress import Step, silent_step

Conversations = Mapping[str, Sequence[Message]]
"""Conversations by the id of their case."""

_PROBE_TIMEOUT_S: Final = 120.0


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """What the web service said to one request that it cannot serve."""

    request: str
    """What is wrong with it: `unknown model`."""

    status: int
    """HTTP status."""

    message: str
    """`error.message` of the body; empty when the body is no error of the OpenAI dialect."""

    lives_on: bool
    """The next ordinary question was answered as before."""

    @property
    def is_proper(self) -> bool:
        """A 4xx with a message, and the service lives on."""
        return 400 <= self.status < 500 and bool(self.message) and self.lives_on


def bare_answers(
    session: Session, conversations: Conversations, *, max_new_tokens: int, step: Step = silent_step
) -> dict[str, Answer | None]:
    """The runtime's own answers by case; None where it refused the prompt."""
    answers: dict[str, Answer | None] = {}
    for done, (case_id, messages) in enumerate(conversations.items(), start=1):
        try:
            answers[case_id] = session.answer(messages, max_new_tokens=max_new_tokens)
        except InvalidPromptError:
            answers[case_id] = None
        step(done, len(conversations))
    return answers


def compare_served(
    expected: Mapping[str, Answer | None],
    session: Session,
    conversations: Conversations,
    *,
    max_new_tokens: int,
    step: Step = silent_step,
) -> tuple[ServedComparison, ...]:
    """Ask Foundry Local what the bare runtime was asked, and hold the answers against each other.

    Raises:
        SessionError: Foundry Local stopped answering.
    """
    answers = bare_answers(session, conversations, max_new_tokens=max_new_tokens, step=step)
    return tuple(_comparison(case_id, expected[case_id], answers[case_id]) for case_id in conversations)


def _comparison(case_id: str, expected: Answer | None, served: Answer | None) -> ServedComparison:
    return ServedComparison(
        case_id=case_id,
        expected=expected.text if expected else "",
        served=served.text if served else "",
        differences=tuple(_differences(expected, served)),
    )


def _differences(expected: Answer | None, served: Answer | None) -> list[str]:
    if expected is None or served is None:
        words = {True: "refused", False: "answered"}
        return [] if expected is served else [f"{words[expected is None]} became {words[served is None]}"]
    pairs = {
        "text": (expected.text, served.text),
        "finish reason": (expected.finish_reason, served.finish_reason),
        "prompt tokens": (expected.timeline.prompt_tokens, served.timeline.prompt_tokens),
        "completion tokens": (_tokens(expected), _tokens(served)),
    }
    return [f"{what}: {one!r} became {other!r}" for what, (one, other) in pairs.items() if one != other]


def _tokens(answer: Answer) -> int | None:
    if isinstance(answer, ServedAnswer):
        return answer.completion_tokens
    return len(answer.token_ids) if answer.token_ids is not None else None


def stop_difference(session: FoundryHttpSession, messages: Sequence[Message], *, max_new_tokens: int) -> str | None:
    """What a stop string from the middle of the answer does otherwise than end the answer before it; None if nothing.

    Raises:
        MeasureError: the answer is too short to have a middle.
        SessionError: the service did not answer.
    """
    whole = session.request(messages, max_new_tokens=max_new_tokens).text
    if len(whole) < 4:
        raise MeasureError(f"no stop string can be taken from an answer of {len(whole)} characters")
    stop = whole[len(whole) // 2 :][:2]
    cut = session.request(messages, max_new_tokens=max_new_tokens, stop=stop)
    expected = whole[: whole.index(stop)]
    if (cut.text, cut.finish_reason) == (expected, "stop"):
        return None
    return f"with the stop string {stop!r}, {expected!r} (stop) became {cut.text!r} ({cut.finish_reason})"


def seed_difference(session: FoundryHttpSession, messages: Sequence[Message], *, max_new_tokens: int) -> str | None:
    """Whether a seed fails to repeat a sampled answer, or temperature 0 to ignore it; None when neither.

    Raises:
        SessionError: the service did not answer.
    """
    for temperature, seeds in ((1.5, (7, 7)), (0.0, (7, 8))):
        one, other = (
            session.request(messages, max_new_tokens=max_new_tokens, temperature=temperature, seed=seed).text
            for seed in seeds
        )
        if one != other:
            return f"temperature {temperature}, seeds {seeds}: {one!r} became {other!r}"
    return None


def probe_refusals(
    url: str, model_id: str, *, context_length: int, question: Sequence[Message], max_new_tokens: int
) -> tuple[Refusal, ...]:
    """Send requests that cannot be served, each followed by an ordinary question.

    Raises:
        MeasureError: the ordinary question is not answered even before the first of them.
    """
    good = {"model": model_id, "messages": list(question), "max_tokens": max_new_tokens, "temperature": 0}
    before = _post(url, good)
    if before[0] != 200:
        raise MeasureError(f"the web service answers an ordinary question with {before[0]}: {before[1]}", where=url)
    return tuple(
        _refusal(name, _post(url, request), _post(url, good) == before)
        for name, request in _bad_requests(good, context_length).items()
    )


def _bad_requests(good: dict[str, Any], context_length: int) -> dict[str, dict[str, Any] | bytes]:
    def user(content: object) -> dict[str, object]:
        return {**good, "messages": [{"role": "user", "content": content}]}

    return {
        "unknown model": {**good, "model": "nobody:1"},
        "broken JSON": b'{"model": ',
        "empty body": b"",
        "a list for a body": b"[1]",
        "lone surrogate": b'{"messages": [{"role": "user", "content": "\\ud800"}]}',
        "no messages": {**good, "messages": []},
        "empty content": user(""),
        "null content": user(None),
        "prompt over the context": user(over_any_context(context_length)),
        "negative max_tokens": {**good, "max_tokens": -1},
        "max_tokens 0": {**good, "max_tokens": 0},
        "max_tokens over the context": {**good, "max_tokens": 10 * context_length},
        "temperature 9": {**good, "temperature": 9},
        "top_p 7": {**good, "top_p": 7},
        "empty stop string": {**good, "stop": [""]},
    }


def _refusal(name: str, said: tuple[int, object], lives_on: bool) -> Refusal:
    status, body = said
    error = body.get("error") if isinstance(body, dict) else None
    message = error.get("message") if isinstance(error, dict) else None
    return Refusal(request=name, status=status, message=str(message or ""), lives_on=lives_on)


def _post(url: str, request: dict[str, Any] | bytes) -> tuple[int, object]:
    """Status and what matters of the body: the choices, or the error."""
    parts = urlsplit(url)
    body = request if isinstance(request, bytes) else json.dumps(request).encode()
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=_PROBE_TIMEOUT_S)
    try:
        connection.request("POST", f"{parts.path}/chat/completions", body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        said = json.loads(response.read() or b"null")
    except (OSError, http.client.HTTPException) as error:
        return 0, str(error)
    except ValueError:
        return response.status, None
    finally:
        connection.close()
    return response.status, said.get("choices", said) if isinstance(said, dict) else said
