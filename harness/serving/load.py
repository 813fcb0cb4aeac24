"""The web service under load: many clients at once, clients that hang up, many requests in a row."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from harness.config.settings import FoundrySettings
from harness.errors import MeasureError, SessionError
from harness.measure.criteria import without_differences
from harness.measure.failures import cut
from harness.metrics.measurement import Measured, Measurement
from harness.pack.choose import conversations_by_case
from harness.pack.schema import DomainPack
from harness.runtime.session import Answer, Message, Session
from harness.stats.estimate import Estimate
from harness.stats.proportions import proportion
from harness.stats.quantiles import percentile, quantile
from harness.system.progress import SILENT, Progress, Step, silent_step

if TYPE_CHECKING:  # it brings openai, and the record reads what is measured here
    from harness.foundry.http_session import FoundryHttpSession

QUESTIONS: Final = 16
"""Questions of the pack, spread over its cases, that are asked again and again."""

_HUNG_UP: Final = 4
_SHOWN: Final = 3


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

    @property
    def answered(self) -> int:
        """Requests with an answer, right or wrong."""
        return len(self.requests) - self.errors

    @property
    def requests_per_second(self) -> float | None:
        """Answered requests by the time that all took together; None without one."""
        return self.answered / self.duration_s if self.answered else None

    def summary(self) -> dict[str, float | None]:
        """The row of the load table; None for what no request shows."""
        ttft = [request.ttft_s for request in self.requests if request.ttft_s is not None]
        itl = [gap for request in self.requests for gap in request.itl_s]
        pieces = sum(request.pieces for request in self.requests)
        return {
            "clients": self.clients,
            "requests": len(self.requests),
            "errors": self.errors,
            "same": self.same,
            "requests_per_second": self.requests_per_second,
            "tokens_per_second": pieces / self.duration_s if pieces else None,
            "ttft_p50_s": percentile(ttft, 50),
            "ttft_p95_s": percentile(ttft, 95),
            "itl_p50_s": percentile(itl, 50),
            "itl_p95_s": percentile(itl, 95),
        }


def measure_load(
    session: Session, pack: DomainPack, settings: FoundrySettings, *, progress: Progress = SILENT
) -> Measured:
    """The web service with each of the configured numbers of clients at once; limits apply to the last of them.

    Raises:
        MeasureError: the pack has no case, or a client died.
        SessionError: a question was not answered even without load.
    """
    questions, limit = conversations_by_case(pack, QUESTIONS), pack.domain.max_new_tokens
    expected = expected_answers(session, questions, max_new_tokens=limit)
    levels = [
        run_load(
            session,
            questions,
            expected,
            clients=clients,
            requests=max(clients, settings.load_requests),
            max_new_tokens=limit,
            step=progress.step(f"{clients} clients"),
        )
        for clients in settings.clients
    ]
    estimates = load_estimates(levels)
    return Measured(
        measurement=Measurement(estimates=estimates, details=dict.fromkeys(estimates, _describe(levels))),
        samples={"load": [request for level in levels for request in level.requests]},
        details={"load": [level.summary() for level in levels]},
    )


def load_estimates(levels: Sequence[LoadLevel]) -> dict[str, Estimate]:
    """The share of all requests that got a single client's answer; rate and time to first token of the last level."""
    last = levels[-1]
    ttft = [request.ttft_s for request in last.requests if request.ttft_s is not None]
    return {
        "load_same_answer_rate": proportion([request.is_same for level in levels for request in level.requests]),
        "load_requests_per_second": Estimate.exact(last.requests_per_second, n=last.answered),
        "load_ttft_p95_s": quantile(ttft, 95),
    }


def measure_hanging_up(session: FoundryHttpSession, pack: DomainPack) -> Measured:
    """Whether answers stay the same after a client hung up in mid-stream.

    Raises:
        MeasureError: the pack has no case.
        SessionError: the service did not answer.
    """
    questions, limit = conversations_by_case(pack, _HUNG_UP), pack.domain.max_new_tokens
    expected = expected_answers(session, questions, max_new_tokens=limit)
    differences = hung_up_differences(session, questions, expected, max_new_tokens=limit)
    return Measured(measurement=without_differences("hung_up_client_harms_nobody", differences))


def _describe(levels: Sequence[LoadLevel]) -> str:
    total, most = sum(len(level.requests) for level in levels), max(level.clients for level in levels)
    wrong = [request for level in levels for request in level.requests if not request.is_same]
    examples = [f"{one.case_id} with {one.clients} clients: {one.error or 'another answer'}" for one in wrong[:_SHOWN]]
    return "\n".join([f"{total} requests, up to {most} clients, {len(wrong)} without the right answer", *examples])


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
            differences.append(f"{case_id}: {cut(expected[case_id])} began with {cut(begun)}")
        if again != expected[case_id]:
            differences.append(f"{case_id}: after hanging up, {cut(expected[case_id])} became {cut(again)}")
    return tuple(differences)


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
