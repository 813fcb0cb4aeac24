"""Compares the token ids of two tokenizers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import zip_longest


def token_difference(
    encode: Callable[[str], Sequence[int]], texts: Sequence[str], expected_ids: Sequence[Sequence[int]]
) -> str | None:
    """Where `encode` first gives other ids than the source's tokenizer, in words; None if it never does.

    `expected_ids` are the source's ids of each of `texts`.
    """
    for text, expected in zip(texts, expected_ids, strict=True):
        found = [int(token) for token in encode(text)]
        pairs = enumerate(zip_longest(found, expected))
        at = next((place for place, (one, other) in pairs if one != other), None)
        if at is not None:
            return (
                f"for {text!r} the source has {list(expected[at : at + 4])} at token {at}, "
                f"the artifact {found[at : at + 4]}"
            )
    return None
