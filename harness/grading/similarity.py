"""How much two texts have in common."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

_WORD = re.compile(r"[\u2e80-\u9fff\uf900-\ufaff\u3040-\u30ff\u0e00-\u0eff]|[^\W_]+")
"""A word, or one sign of a script that does not put blanks between words (Han, Kana, Thai, Lao)."""


def words(text: str) -> list[str]:
    """The words of a text for comparison, without regard to case, width and punctuation."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def word_f1(expected: str, text: str) -> float:
    """F1 of the words that two texts share, 0 to 1, each counted as often as it occurs.

    As in SQuAD (Rajpurkar et al., EMNLP 2016), without its English articles. A text without a word has 0.
    """
    first, second = Counter(words(expected)), Counter(words(text))
    shared = sum((first & second).values())
    return 2 * shared / (first.total() + second.total()) if shared else 0.0
