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


_ARTICLES = frozenset({
    "a", "an", "the", "der", "die", "das", "den", "dem", "des", "ein", "eine", "einen", "einem", "einer", "eines",
    "le", "la", "les", "l", "un", "une", "el", "los", "las", "una", "lo", "il", "gli", "i",
})  # fmt: skip
"""Articles of the languages that have most of them: two texts have them in common whatever they say."""


def _telling(text: str) -> Counter[str]:
    """The words of a text and how often each occurs, without articles unless it has nothing else."""
    found = words(text)
    return Counter([word for word in found if word not in _ARTICLES] or found)


def word_f1(expected: str, text: str) -> float:
    """F1 of the words that two texts share, 0 to 1, each counted as often as it occurs, without articles.

    As in SQuAD (Rajpurkar et al., EMNLP 2016), for more languages than English. A text without a word has 0.
    """
    first, second = _telling(expected), _telling(text)
    shared = sum((first & second).values())
    return 2 * shared / (first.total() + second.total()) if shared else 0.0
