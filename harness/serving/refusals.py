"""What the web service says to requests that it cannot serve: a 4xx with a reason, and the next one is served."""

from __future__ import annotations

import http.client
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from harness.errors import MeasureError
from harness.measure.failures import cut
from harness.metrics.measurement import Measured, Measurement
from harness.pack.choose import conversations_by_case
from harness.pack.long_text import over_any_context
from harness.pack.schema import DomainPack
from harness.runtime.session import Message
from harness.stats.proportions import proportion

_PROBE_TIMEOUT_S: Final = 120.0
_MAX_NEW_TOKENS: Final = 8
"""Of the ordinary question: whether it is answered as before shows after a few tokens."""


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


def measure_refusals(url: str, model_id: str, pack: DomainPack, *, context_length: int) -> Measured:
    """Send requests that cannot be served, each followed by an ordinary question of the pack.

    Raises:
        MeasureError: the ordinary question is not answered even before the first of them, or there is none.
    """
    (question,) = conversations_by_case(pack, 1).values()
    found = probe_refusals(
        url, model_id, context_length=context_length, question=question, max_new_tokens=_MAX_NEW_TOKENS
    )
    wrong = [
        f"{one.request}: status {one.status}, {cut(one.message)}{_after(one)}" for one in found if not one.is_proper
    ]
    details = "\n".join([f"{len(found) - len(wrong)} of {len(found)} are refused as they should be", *wrong])
    return Measured(
        measurement=Measurement(
            estimates={"foundry_refusal_rate": proportion([one.is_proper for one in found])},
            details={"foundry_refusal_rate": details},
        ),
        samples={"service_refusals": found},
    )


def _after(refusal: Refusal) -> str:
    return "" if refusal.lives_on else "; the next ordinary question was not answered as before"


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
