"""What only the model's own tokenizer shows of a pack."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from harness.errors import PackError
from harness.pack.places import Places, rounded_up, shortest_text
from harness.pack.remarks import repeated_padding
from harness.pack.schema import DomainPack, Remark


def diagnose_tokens(
    pack: DomainPack, encode: Callable[[str], Sequence[int]], context_length: int
) -> tuple[Remark, ...]:
    """What only a tokenizer shows: answers that are cut, questions that do not fit, padding that comes again.

    Raises:
        PackError: no model with this tokenizer could answer a case.
    """
    places = Places(files={})
    room = pack.domain.max_new_tokens
    for case in pack.cases:
        answers = [len(encode(shortest_text(answer))) + 1 for answer in case.right_answers]
        if answers and min(answers) > room:
            raise PackError(
                f"expected: has {min(answers)} tokens with its end, and max_new_tokens = {room} cuts it off",
                where=f"{pack.folder}, case {case.id!r}",
                next_step=f"say max_new_tokens = {rounded_up(1.25 * min(answers))} or more in domain.toml",
            )
        prompt = sum(len(encode(turn["content"])) for turn in pack.conversation(case.messages))
        if prompt + max([1, *answers]) > context_length:
            raise PackError(
                f"the question has {prompt} tokens, and the context of {context_length} has no room for its answer",
                where=f"{pack.folder}, case {case.id!r}",
                next_step="delete the case, or shorten its question",
            )
    steps = [tokens for tokens in pack.domain.length.padding_tokens if tokens + room + 64 > context_length]
    left_out = Remark(
        what=f"length.padding_tokens: {', '.join(map(str, steps))} leave no room in the context of {context_length}",
        where="domain.toml",
        next_step="they are left out; shorten them to see the model's longest prompts",
    )
    return (*([left_out] if steps else []), *repeated_padding(pack, places, len(encode(pack.padding)), ""))
