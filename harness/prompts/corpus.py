"""Texts on which tokenizers differ when they differ, by category; made here, the same ones every time.

They inform: what a domain asks decides. Each category holds texts written for it and texts put together from its
pieces by a seeded generator, so that indentations, runs and marks meet in ways that nobody thinks of.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Final

from harness.prompts.corpus_pieces import (
    CODE,
    EMOJI,
    LANGUAGES,
    NAMES,
    NUMBERS,
    PROSE,
    RUNS,
    SCRIPTS,
    STATEMENTS,
    WORDS,
)

CONTROL: Final = "control tokens"
"""The category of a model's own control tokens, of which this corpus knows none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusText:
    """One text and what it is."""

    category: str
    text: str


@cache
def corpus() -> tuple[CorpusText, ...]:
    """Some 300 texts, no two alike."""
    found = {text: category for category, make in _CATEGORIES.items() for text in make(random.Random(category))}
    return tuple(CorpusText(category=category, text=text) for text, category in found.items())


def control_texts(tokens: list[str]) -> tuple[CorpusText, ...]:
    """A model's control tokens alone, between words, and with spaces and line breaks around them."""
    shapes = ("{}", "a{}b {} \n{}", "{} x", "x{}\n")
    texts = dict.fromkeys(shape.replace("{}", token) for token in tokens for shape in shapes)
    return tuple(CorpusText(category=CONTROL, text=text) for text in texts)


def _code(chance: random.Random) -> Iterator[str]:
    yield from CODE
    for _ in range(34):
        step = chance.choice(["    ", "  ", "\t", "        "])
        depth, lines = 0, []
        for _ in range(chance.randint(3, 9)):
            statement = chance.choice(STATEMENTS).format(a=chance.choice(NAMES), b=chance.choice(NAMES))
            lines.append(step * depth + statement)
            opens = statement.endswith((":", "{"))
            depth = max(0, depth + (1 if opens else chance.choice([0, 0, -1])))
            lines += chance.choice([[], [], [], [""], [step * depth], ["", ""]])
        yield "\n".join(lines) + chance.choice(["", "\n", "\n\n"])
    for width in (24, 36, 48):
        names = [f"{chance.choice(NAMES)};" for _ in range(3)]
        yield "\n".join(f"{name:<{width}}// {chance.choice(WORDS)}" for name in names)
        yield f"{' ' * width}return {names[0]}\n"


def _prose(chance: random.Random) -> Iterator[str]:
    yield from PROSE
    for language in LANGUAGES.values():
        words = language.split()
        for _ in range(3):
            sentence = [chance.choice(words) for _ in range(chance.randint(5, 14))]
            marks = chance.choice([".", "!", "?", "...", ".)", ";"])
            at = chance.randrange(1, len(sentence))
            yield " ".join(sentence[:at]).capitalize() + ", " + " ".join(sentence[at:]) + marks
    yield "  ".join(PROSE[:3])
    yield "\n\n".join(PROSE[3:6])


def _markdown(chance: random.Random) -> Iterator[str]:
    for _ in range(40):
        blocks = [_block(chance) for _ in range(chance.randint(2, 4))]
        yield chance.choice(["\n\n", "\n", "\n\n\n", "\n \n"]).join(blocks)


def _block(chance: random.Random) -> str:
    words = [chance.choice(WORDS) for _ in range(6)]
    return chance.choice(
        [
            f"{'#' * chance.randint(1, 4)} {words[0].title()} {words[1]}",
            "\n".join(f"{'  ' * chance.randint(0, 3)}{chance.choice('*-+')} {word}" for word in words[:4]),
            "\n".join(f"{number}.  **{word}**: {words[0]}  " for number, word in enumerate(words[:3], 1)),
            f"```python\nfor {words[0]} in {words[1]}:\n    print({words[0]!r})\n```",
            f"| {words[0]:<40} | {words[1]:>36} |\n|{'-' * 42}|{'-' * 38}|\n| {words[2]:<40} | {words[3]:>36} |",
            f"| {words[0]:<10} | {words[1]:>8} |\n|:-----------|---------:|\n| {words[2]:<10} | {words[3]:>8} |",
            f"> {words[0]} *{words[1]}* `{words[2]}` [{words[3]}](https://example.org/{words[4]}?a=1&b=2)",
            f"{words[0]}\n{'=' * len(words[0])}",
            f"- [ ] {words[0]}\n- [x] ~~{words[1]}~~\n\n    {words[2]} = {words[3]}",
            "---",
        ]
    )


def _whitespace(chance: random.Random) -> Iterator[str]:
    yield from RUNS
    for count in (5, 8, 12, 16, 24, 31, 32, 40, 64):
        yield f"a{' ' * count}b"
        yield f"a\n{' ' * count}b\n"
    for count in (6, 12, 32):
        yield f"a{chr(10) * count}b"
        yield f"a\n{chr(9) * count}b"
    for _ in range(36):
        parts = []
        for _ in range(chance.randint(2, 5)):
            parts.append("".join(chance.choices([" ", "\n", "\t", "\r\n"], [6, 4, 1, 1], k=chance.randint(1, 6))))
            parts.append(chance.choice(WORDS))
        yield "".join(parts[chance.randint(0, 1) :])


def _numbers(chance: random.Random) -> Iterator[str]:
    yield from NUMBERS
    for digits in range(1, 20):
        number = chance.randrange(10 ** (digits - 1), 10**digits)
        yield chance.choice(["{}", "{:,}", "-{}", "${}.50", "{}%", "0x{:X}", "E{}", "{:e}", "({})"]).format(number)


def _scripts(chance: random.Random) -> Iterator[str]:
    yield from SCRIPTS
    for _ in range(12):
        yield " ".join(chance.sample(SCRIPTS, 3))


def _emoji(chance: random.Random) -> Iterator[str]:
    yield from EMOJI
    for _ in range(12):
        yield chance.choice([" ", "", "\n"]).join([*chance.sample(EMOJI, 3), chance.choice(WORDS)])


def _repeats(_chance: random.Random) -> Iterator[str]:
    for character in "xX.-=_#*!0/\u4e2d":
        yield character * 40
    for count in (7, 17, 33, 100):
        yield f"a{'o' * count}h"
    yield "ha" * 50
    yield "why? " * 40


_CATEGORIES: Final[dict[str, Callable[[random.Random], Iterator[str]]]] = {
    "prose": _prose,
    "code": _code,
    "Markdown": _markdown,
    "whitespace": _whitespace,
    "numbers": _numbers,
    "scripts": _scripts,
    "emoji": _emoji,
    "repetition": _repeats,
}
