"""Unrelated prose in several languages, without end and without repetition."""

from __future__ import annotations

import itertools
import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple


class Language(NamedTuple):
    """Words of one language, from which prose and prompts are made."""

    marks: frozenset[str]
    """Frequent short words, by which the language is known."""

    subjects: Sequence[str]
    verbs: Sequence[str]
    places: Sequence[str]
    times: Sequence[str]
    sentence: str
    """How `{time}`, `{subject}`, `{verb}` and `{place}` make one sentence."""

    joint: str
    """What stands between two sentences."""

    shout: str
    """A prompt in anger."""

    distraction: str
    """A prompt that asks for something else than the domain's answer."""


def _languages() -> dict[str, Language]:
    file = Path(__file__).with_name("prose.toml")
    tables = tomllib.loads(file.read_text(encoding="utf-8"))
    return {name: Language(**{**table, "marks": frozenset(table["marks"].split())}) for name, table in tables.items()}


LANGUAGES = _languages()


def language_of(texts: Iterable[str]) -> str:
    """The language of most of some texts among those that are built in; English for any other."""
    counts: Counter[str] = Counter()
    for text in itertools.islice(texts, 200):
        counts["zh"] += len(re.findall(r"[\u4e00-\u9fff]", text))
        for word in re.findall(r"[^\W\d_]+", text.lower()):
            counts.update(name for name, language in LANGUAGES.items() if word in language.marks)
    found = counts.most_common(1)
    return found[0][0] if found and found[0][1] else "en"


def padding(language: str, tokens: int) -> str:
    """Unrelated prose of at least `tokens` tokens in any tokenizer; the first 30,030 sentences are different.

    Sentences are put together from lists of coprime lengths, so that each meets all combinations.
    """
    words = LANGUAGES[language]
    enough = tokens * (3 if language == "zh" else 8)
    sentences: list[str] = []
    length = 0
    while length <= enough or len(sentences) < 20:
        sentences.append(sentence(words, len(sentences)))
        length += len(sentences[-1])
    return words.joint.join(sentences)


def sentence(words: Language, at: int) -> str:
    """The sentence of a number."""
    return words.sentence.format(
        time=words.times[at % len(words.times)],
        subject=words.subjects[at % len(words.subjects)],
        verb=words.verbs[at % len(words.verbs)],
        place=words.places[at % len(words.places)],
    )
