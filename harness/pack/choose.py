"""Every way to choose some of a pack's cases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from harness.errors import MeasureError
from harness.pack.schema import OUT_OF_SCOPE, Case, DomainPack

_Item = TypeVar("_Item")


def spread(items: Sequence[_Item], count: int) -> tuple[_Item, ...]:
    """Up to `count` of the items, evenly spread over them and in their order; none twice."""
    count = min(max(count, 0), len(items))
    return tuple(items[i * len(items) // count] for i in range(count))


def cycled(items: Sequence[_Item], count: int) -> tuple[_Item, ...]:
    """Exactly `count` items, evenly spread over them; where there are fewer, they come again.

    Raises:
        MeasureError: there is none.
    """
    if not items:
        raise MeasureError("there is nothing to choose from", next_step="give the pack cases")
    return tuple(items[i * len(items) // count] for i in range(count))


def conversations(pack: DomainPack, count: int) -> list[list[dict[str, str]]]:
    """Exactly `count` conversations spread over the pack; a small pack's come again."""
    return [pack.conversation(case.messages) for case in cycled(pack.cases, count)]


def conversations_by_case(pack: DomainPack, count: int) -> dict[str, list[dict[str, str]]]:
    """Up to `count` conversations spread over the pack, by the id of their case.

    Raises:
        MeasureError: that is none.
    """
    chosen = spread(pack.cases, count)
    if not chosen:
        raise MeasureError("nothing can be compared without a conversation", next_step="give the pack cases")
    return {case.id: pack.conversation(case.messages) for case in chosen}


def length_cases(pack: DomainPack) -> tuple[Case, ...]:
    """The in-scope cases of a single question that are asked at every prompt length, spread evenly over the pack."""
    return spread(usable_at_lengths(pack), pack.domain.length.cases)


def usable_at_lengths(pack: DomainPack) -> list[Case]:
    """All cases that could be asked at every prompt length."""
    return [case for case in pack.cases if case.kind != OUT_OF_SCOPE and case.is_single_turn]
