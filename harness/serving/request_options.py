"""Whether an application's request options are obeyed over HTTP: stop strings, seeds, temperature."""

from __future__ import annotations

from collections.abc import Sequence

from harness.errors import MeasureError
from harness.foundry.http_session import FoundryHttpSession
from harness.measure.criteria import without_differences
from harness.metrics.measurement import Measured
from harness.pack.choose import conversations_by_case
from harness.pack.schema import DomainPack
from harness.runtime.session import Message


def measure_request_options(session: FoundryHttpSession, pack: DomainPack) -> Measured:
    """Whether stop strings, seeds and temperature 0 do over HTTP what they say, on a question of the pack.

    Raises:
        MeasureError: the answer is too short to have a middle.
        SessionError: the service did not answer.
    """
    (question,) = conversations_by_case(pack, 1).values()
    limit = pack.domain.max_new_tokens
    found = (
        stop_difference(session, question, max_new_tokens=limit),
        seed_difference(session, question, max_new_tokens=limit),
    )
    differences = [f"over HTTP, {one}" for one in found if one]
    return Measured(measurement=without_differences("request_options_obeyed", differences))


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
