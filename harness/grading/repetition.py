"""Whether a text says the same over and over to its end, as models do that have lost their way."""

from __future__ import annotations

from typing import Final

_TIMES: Final = 4
_CHARACTERS: Final = 24
"""What counts: four times at least, over so many characters; a number's zeros and a ruled line do not reach that."""


def repeated_end(text: str) -> str | None:
    """What a text repeats up to its end, the last time perhaps in part; None where it does not.

    The shortest such piece, in time linear in the text: with the Z-function of the reversed text (D. Gusfield,
    Algorithms on Strings, Trees and Sequences, section 1.3), a piece of p characters repeats over p + z[p].
    """
    backwards = text.rstrip()[::-1]
    matches = _z_function(backwards)
    for period in range(1, len(backwards) // _TIMES + 1):
        if period + matches[period] >= max(_TIMES * period, _CHARACTERS):
            return backwards[:period][::-1]
    return None


def _z_function(text: str) -> list[int]:
    """For each place, how many characters from there on are those that the text begins with."""
    matches = [0] * len(text)
    start = end = 0
    for place in range(1, len(text)):
        length = min(end - place, matches[place - start]) if place < end else 0
        while place + length < len(text) and text[length] == text[place + length]:
            length += 1
        matches[place] = length
        if place + length > end:
            start, end = place, place + length
    return matches
