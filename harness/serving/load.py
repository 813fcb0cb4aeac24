"""The web service under load: many clients at once, and requests that come at random."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from harness.config.settings import FoundrySettings
from harness.errors import MeasureError, SessionError
from harness.machine.disturbance import Disturbance, MachineWatch
from harness.metrics.measurement import Measured, Measurement
from harness.pack.choose import conversations_by_case
from harness.pack.schema import DomainPack
from harness.runtime.session import Answer, Message, Session
from harness.serving.arrival import run_open
from harness.serving.load_level import LoadLevel, LoadRequest, Objective
from harness.stats.estimate import Estimate
from harness.stats.proportions import proportion, proportion_of
from harness.stats.quantiles import quantile
from harness.system.progress import SILENT, Progress, Step, silent_step

QUESTIONS: Final = 16
"""Questions of the pack, spread over its cases, that are asked again and again."""

_SHOWN: Final = 3


def watch_crowd() -> MachineWatch:
    """A watch over the machine while this process has more to do than processors."""
    return MachineWatch(is_crowd=True)


def measure_load(
    session: Session,
    pack: DomainPack,
    settings: FoundrySettings,
    *,
    is_invalid_if_disturbed: bool = True,
    progress: Progress = SILENT,
    watch: Callable[[], MachineWatch] = watch_crowd,
) -> Measured:
    """The web service with each of the configured numbers of clients at once; limits apply to the last of them.

    Raises:
        MeasureError: the pack has no case, or a client died.
        SessionError: a question was not answered even without load.
    """
    questions, limit = conversations_by_case(pack, QUESTIONS), pack.domain.max_new_tokens
    expected = expected_answers(session, questions, max_new_tokens=limit)
    alone = alone_ttft_s(session, questions, max_new_tokens=limit)
    with watch() as watched:
        levels = [
            run_load(
                session,
                questions,
                expected,
                clients=clients,
                requests=max(clients, settings.load_requests),
                max_new_tokens=limit,
                alone=alone,
                step=progress.step(f"{clients} clients"),
            )
            for clients in settings.clients
        ]
        opened = _measure_open(session, questions, expected, alone, settings, levels[-1], limit, progress)
    objective = Objective(ttft_s=settings.objective_ttft_s, tpot_s=settings.objective_tpot_s)
    estimates = load_estimates(levels, opened, objective)
    if watched.found and is_invalid_if_disturbed:
        estimates = only_answers(estimates, watched.found)
    told = "\n".join([_describe([*levels, *opened]), *map(str, watched.found)])
    return Measured(
        measurement=Measurement(estimates=estimates, details=dict.fromkeys(estimates, told)),
        samples={"load": [request for level in [*levels, *opened] for request in level.requests]},
        details={"load": [level.summary(objective) for level in [*levels, *opened]]},
    )


def only_answers(estimates: Mapping[str, Estimate], found: Sequence[Disturbance]) -> dict[str, Estimate]:
    """What of them stands on a disturbed machine: whether answers were right; times and rates are no data."""
    why = Estimate.missing(f"invalid: {'; '.join(map(str, found))}")
    return {name: one if name == "load_same_answer_rate" else why for name, one in estimates.items()}


def _measure_open(
    session: Session,
    questions: Mapping[str, Sequence[Message]],
    expected: Mapping[str, str],
    alone: Mapping[str, float],
    settings: FoundrySettings,
    closed: LoadLevel,
    limit: int,
    progress: Progress,
) -> list[LoadLevel]:
    """Arrival at random, at shares of the rate that waiting clients reached; none where they reached none."""
    capacity = closed.requests_per_second
    if capacity is None:
        return []

    def send(case_id: str, messages: Sequence[Message]) -> LoadRequest:
        return _send(session, case_id, messages, expected[case_id], 0, limit, alone.get(case_id))

    return [
        run_open(
            send,
            questions,
            rate_per_second=share * capacity,
            requests=settings.load_requests,
            step=progress.step(f"arrival at {share:.0%} of {capacity:.3g} a second"),
        )
        for share in settings.arrival_shares
    ]


def alone_ttft_s(
    session: Session, conversations: Mapping[str, Sequence[Message]], *, max_new_tokens: int
) -> dict[str, float]:
    """Time to first piece of each question when nobody else asks, the better of two tries; without those never seen.

    Raises:
        SessionError: a question was not answered.
    """
    found: dict[str, float] = {}
    for case_id, messages in conversations.items():
        for _ in range(2):
            ttft_s = session.answer(messages, max_new_tokens=max_new_tokens).timeline.ttft_s
            if ttft_s is not None:
                found[case_id] = min(ttft_s, found.get(case_id, ttft_s))
    return found


def load_estimates(
    levels: Sequence[LoadLevel], opened: Sequence[LoadLevel] = (), objective: Objective | None = None
) -> dict[str, Estimate]:
    """The share of all requests that got a single client's answer; rates and times of the last level.

    Of arrival at random, the last rate's: its share of good requests, its goodput, its queue and time to first piece.
    """
    last = levels[-1]
    ttft = [request.ttft_s for request in last.requests if request.ttft_s is not None]
    every = [request.is_same for level in [*levels, *opened] for request in level.requests]
    found = {
        "load_same_answer_rate": proportion(every),
        "load_requests_per_second": Estimate.exact(last.requests_per_second, n=last.answered),
        "load_ttft_p95_s": quantile(ttft, 95),
    }
    if not opened or objective is None:
        return found
    busiest = opened[-1]
    waits = [request.queue_s for request in busiest.requests if request.queue_s is not None]
    first = [request.ttft_s for request in busiest.requests if request.ttft_s is not None]
    good = busiest.good(objective)
    return {
        **found,
        "arrival_good_rate": proportion_of(good, len(busiest.requests)),
        "arrival_goodput_per_second": Estimate.exact(good / busiest.duration_s, n=len(busiest.requests)),
        "arrival_queue_p95_s": quantile(waits, 95),
        "arrival_ttft_p95_s": quantile(first, 95),
    }


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
    alone: Mapping[str, float] | None = None,
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
            alone_s = (alone or {}).get(case_id)
            result = _send(session, case_id, messages, expected[case_id], clients, max_new_tokens, alone_s)
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
    session: Session,
    case_id: str,
    messages: Sequence[Message],
    expected: str,
    clients: int,
    max_new_tokens: int,
    alone_s: float | None,
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
        alone_ttft_s=alone_s,
    )
