"""The web service under load: many clients at once, clients that hang up, many requests in a row."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from harness.errors import MeasureError, SessionError
from harness.foundry.http_session import FoundryHttpSession
from harness.runtime.session import Answer, Message, Session
from harness.stats.quantiles import percentile
from harness.system.progress import Step, silent_step


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadRequest:
    """One request under load."""

    case_id: str
    clients: int
    """How many clients were asking."""

    error: str = ""
    """What the client was told instead of an answer."""

    is_same: bool = False
    """The answer is the one that a single client gets."""

    pieces: int = 0
    """Pieces of text that came: one per token, but none for one that ends inside a character."""

    ttft_s: float | None = None
    """Request sent -> first piece; the wait for other clients' requests included."""

    e2e_s: float | None = None
    """Request sent -> last piece."""

    itl_s: tuple[float, ...] = ()
    """Gaps between neighbouring pieces."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadLevel:
    """What a number of clients got; every number derives from the requests and the time they took together."""

    clients: int
    duration_s: float
    """First request sent -> last answer whole."""

    requests: tuple[LoadRequest, ...]

    @property
    def errors(self) -> int:
        """Requests without an answer."""
        return sum(1 for request in self.requests if request.error)

    @property
    def same(self) -> int:
        """Answers equal to a single client's."""
        return sum(1 for request in self.requests if request.is_same)

    def summary(self) -> dict[str, float | None]:
        """The row of the load table; None for what no request shows."""
        ttft = [request.ttft_s for request in self.requests if request.ttft_s is not None]
        itl = [gap for request in self.requests for gap in request.itl_s]
        answered = len(self.requests) - self.errors
        pieces = sum(request.pieces for request in self.requests)
        return {
            "clients": self.clients,
            "requests": len(self.requests),
            "errors": self.errors,
            "same": self.same,
            "requests_per_second": answered / self.duration_s if answered else None,
            "tokens_per_second": pieces / self.duration_s if pieces else None,
            "ttft_p50_s": percentile(ttft, 50),
            "ttft_p95_s": percentile(ttft, 95),
            "itl_p50_s": percentile(itl, 50),
            "itl_p95_s": percentile(itl, 95),
        }


def expected_answers(
    session: Session, conversations: Mapping[str, Sequence[Message]], *, max_new_tokens: int
) -> dict[str, str]:
    """What a single client gets, by case.

    Raises:
        MeasureError: there is nothing to ask.
        SessionError: a question was not answered even without load.
    """
    if not conversations:
        raise MeasureError("load cannot be measured without a conversation", next_step="give the pack cases")
    return {
        case_id: session.answer(messages, max_new_tokens=max_new_tokens).text
        for case_id, messages in conversations.items()
    }


def run_load(
    session: Session,
    conversations: Mapping[str, Sequence[Message]],
    expected: Mapping[str, str],
    *,
    clients: int,
    requests: int,
    max_new_tokens: int,
    step: Step = silent_step,
) -> LoadLevel:
    """Let `clients` threads send `requests` requests between them, each its next one when its last is answered.

    `session` must take several threads at once. An error is kept as a result; load goes on.

    Raises:
        MeasureError: no client, no request for each, or a client that died.
    """
    if not 0 < clients <= requests:
        raise MeasureError(f"{clients} clients cannot share {requests} requests", where="gate.toml, [foundry]")
    numbers = iter(range(requests))
    lock, done = threading.Lock(), []
    start = threading.Barrier(clients + 1)

    def work() -> None:
        start.wait()
        for case_id, messages in _drawn(numbers, lock, conversations):
            result = _send(session, case_id, messages, expected[case_id], clients, max_new_tokens)
            with lock:
                done.append(result)
                step(len(done), requests)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(clients)]
    for thread in threads:
        thread.start()
    start.wait()
    began_s = time.perf_counter()
    for thread in threads:
        thread.join()
    duration_s = time.perf_counter() - began_s
    if len(done) != requests:
        raise MeasureError(f"only {len(done)} of {requests} requests of {clients} clients came to an end")
    return LoadLevel(clients=clients, duration_s=duration_s, requests=tuple(done))


def hung_up_differences(
    session: FoundryHttpSession,
    conversations: Mapping[str, Sequence[Message]],
    expected: Mapping[str, str],
    *,
    max_new_tokens: int,
) -> tuple[str, ...]:
    """Hang up in mid-stream on each conversation, ask it again, and tell where the answer was another one.

    Raises:
        SessionError: the service did not answer.
    """
    differences = []
    for case_id, messages in conversations.items():
        begun = session.hang_up(messages, max_new_tokens=max_new_tokens, after_pieces=2)
        again = session.answer(messages, max_new_tokens=max_new_tokens).text
        if not expected[case_id].startswith(begun):
            differences.append(f"{case_id}: {expected[case_id]!r} began with {begun!r}")
        if again != expected[case_id]:
            differences.append(f"{case_id}: after hanging up, {expected[case_id]!r} became {again!r}")
    return tuple(differences)


def same_rate(levels: Sequence[LoadLevel]) -> float | None:
    """Share of all requests that got a single client's answer; None without a request."""
    total = sum(len(level.requests) for level in levels)
    return sum(level.same for level in levels) / total if total else None


def worst(levels: Sequence[LoadLevel]) -> list[str]:
    """Up to three requests that went wrong, for a person."""
    wrong = [request for level in levels for request in level.requests if not request.is_same]
    return [f"{r.case_id} with {r.clients} clients: {r.error or 'another answer'}" for r in wrong[:_SHOWN]]


_SHOWN: Final = 3


def _drawn(
    numbers: Iterator[int], lock: threading.Lock, conversations: Mapping[str, Sequence[Message]]
) -> Iterator[tuple[str, Sequence[Message]]]:
    """Conversations in turn, until the numbers run out; safe between threads."""
    ordered = list(conversations.items())
    while True:
        with lock:
            number = next(numbers, None)
        if number is None:
            return
        yield ordered[number % len(ordered)]


def _send(
    session: Session, case_id: str, messages: Sequence[Message], expected: str, clients: int, max_new_tokens: int
) -> LoadRequest:
    try:
        answer: Answer = session.answer(messages, max_new_tokens=max_new_tokens)
    except SessionError as error:
        return LoadRequest(case_id=case_id, clients=clients, error=error.what)
    line = answer.timeline
    return LoadRequest(
        case_id=case_id,
        clients=clients,
        is_same=answer.text == expected,
        pieces=len(line.token_s),
        ttft_s=line.ttft_s,
        e2e_s=line.e2e_s,
        itl_s=line.itl_s,
    )
