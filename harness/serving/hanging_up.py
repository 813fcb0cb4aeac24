"""What a client that hangs up in mid-stream does to the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from harness.measure.criteria import without_differences
from harness.measure.failures import cut
from harness.metrics.measurement import Measured
from harness.pack.choose import conversations_by_case
from harness.pack.schema import DomainPack
from harness.runtime.session import Message
from harness.serving.load import expected_answers

if TYPE_CHECKING:  # it brings openai, and the record reads what is measured here
    from harness.foundry.http_session import FoundryHttpSession

_HUNG_UP: Final = 4


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
