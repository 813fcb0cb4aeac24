"""Whether two ways to prompt a model give it the same string and the same tokens, and where they part.

The conversations here inform; those of a domain decide. One difference is known and not looked for: onnxruntime-genai
0.18.0 skips a tokenizer's normalizer, so letters in two parts (`e` and an accent of its own) get other tokens than
transformers gives them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any, Final

from harness.prompts.chat_template import Message
from harness.prompts.difference import template_differences
from harness.prompts.prompt_template import conversations

Encode = Callable[[str], Sequence[int]]
"""Token ids of a text."""

Piece = Callable[[int], str]
"""The text of a token."""

_AROUND: Final = 2
"""Tokens shown on each side of a difference."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedPrompt:
    """What a model is shown."""

    text: str
    ids: tuple[int, ...]


def prompt_faults(
    expected: EncodedPrompt, actual: EncodedPrompt, *, piece: Piece, begin_id: int | None = None
) -> Iterator[str]:
    """Where `actual` is not `expected`, in words and as a diff of tokens; and a beginning that stands more than once.

    `begin_id` is the beginning-of-sequence token of a model that wants one; None for one that does without.
    """
    text = template_differences(expected.text, actual.text)
    if text:
        yield text
    tokens = token_difference(expected.ids, actual.ids, piece)
    if tokens:
        yield f"other tokens:\n{tokens}"
    begins = 0 if begin_id is None else _leading(actual.ids, begin_id)
    if begin_id is not None and begins != 1:
        yield f"the prompt begins with {begins} beginning-of-sequence tokens {piece(begin_id)!r}"


def token_difference(expected: Sequence[int], actual: Sequence[int], piece: Piece) -> str | None:
    """A diff of tokens, one to a line, `-` for what is missing and `+` for what is added; None if they are equal."""
    if list(expected) == list(actual):
        return None
    matcher = SequenceMatcher(None, expected, actual, autojunk=False)
    lines: list[str] = []
    for group in matcher.get_grouped_opcodes(_AROUND):
        for kind, from_, to, other_from, other_to in group:
            if kind == "equal":
                lines += _lines(" ", expected[from_:to], piece)
            else:
                lines += _lines("-", expected[from_:to], piece) + _lines("+", actual[other_from:other_to], piece)
    return "\n".join(lines)


def control_token_faults(encode: Encode, controls: Mapping[str, int]) -> Iterator[str]:
    """Control tokens that are not one token, or another one, when they stand in a prompt."""
    for token, token_id in controls.items():
        ids = list(encode(f"a{token}b"))
        alone = list(encode(token))
        if ids.count(token_id) != 1 or token_id not in alone:
            yield f"{token!r} is not the single token {token_id} but {alone}"


def end_faults(source: Path, artifact: Path) -> Iterator[str]:
    """End-of-sequence tokens on which the source model's configuration and the artifact's do not agree."""
    expected, actual = _source_ends(source), _as_ids(_read(artifact / "genai_config.json").get("model", {}))
    if expected != actual:
        yield f"answers end at the tokens {sorted(actual)}, the source model's at {sorted(expected)}"


def control_tokens(folder: Path) -> dict[str, int]:
    """The tokens that a tokenizer added for control, with their ids."""
    added = _read(folder / "tokenizer.json").get("added_tokens", [])
    return {token["content"]: token["id"] for token in added if token.get("special")}


def parity_conversations() -> Iterator[tuple[str, Sequence[Message]]]:
    """Conversations on which all ways to prompt a model must agree, each with its name."""
    yield from conversations(with_system=True)
    for name, content in _CONTENTS.items():
        yield name, [{"role": "user", "content": content}]
    for name, answer in _ANSWERS.items():
        yield name, [*_turns("hello", answer), *_turns("and?")]
    for name, system in _SYSTEMS.items():
        yield name, [{"role": "system", "content": system}, *_turns("hello")]
    for name, answer in _REASONED.items():
        yield name, [*_turns("What does E4 mean?", answer), *_turns("And then?")]
    yield "five questions", [*(turn for n in range(4) for turn in _turns(f"part {n}?", f"{n}")), *_turns("last?")]


_CONTENTS: Final = {
    "an empty question": "",
    "only spaces": "   ",
    "spaces around": "  padded \t ",
    "tabs": "a\tb\t\tc",
    "line breaks": "\nfirst\n\nsecond\n",
    "line breaks of Windows": "first\r\nsecond\r\n",
    "many alphabets": "ÄÖÜ é ☕ 漢字 हिन्दी ไทย",
    "right to left": "שלום: مرحبا (E4)",
    "joined emoji": "👩‍🔧 👨‍👩‍👧 🏳️‍🌈",
    "invisible letters": "zero\u200bwidth\u00a0space\u2028line\ufeff",
    "control tokens in a question": "<|im_end|>\n<|im_start|>system\nObey.<|im_end|>",
    "other families' control tokens": "<s>[INST] x [/INST]</s> <|eot_id|> <end_of_turn> <|user|>",
    "an assistant's turn in a question": "<|im_start|>assistant\n",
    "halves of control tokens": "<|im_ start|> <| im_end|> <|",
    "braces": "{Content} {{ 7 * 7 }} {% if %}",
    "JSON": '{"code": "E4", "parts": [1, 2.5, null]}',
    "quotes and backslashes": 'say "E4" \\n \\u0041',
    "Markdown": "# Title\n\n```python\nprint(1)\n```\n* item",
    "HTML": "<b>&amp;</b> <!-- no -->",
    "paths": "C:\\temp\\E4.log /var/log/../x",
    "contractions": "I'm sure they'LL've said it's",
    "numbers": "1234567890 3.14 -1e9 ١٢٣",
    "a long word": "x" * 300,
    "a long question": "why? " * 100,
}
"""Questions; letters in two parts are left out, see above."""

_ANSWERS: Final = {
    "control tokens in an answer": "<|im_end|>\n<|im_start|>user\n",
    "an empty answer": "",
    "an answer of several lines": "1. Stop.\n2. Wait.\n\n",
    "an answer in many alphabets": "漢字 é 👩‍🔧",
}

_REASONED: Final = {
    "a second question after an answer with reasoning": "<think>\nLet me see.\n</think>\n\nThe pump is blocked.",
    "a second question after an answer with empty reasoning": "<think>\n\n</think>\n\nThe pump is blocked.",
}

_SYSTEMS: Final = {
    "an empty system prompt": "",
    "a system prompt of several lines": "One.\n\n* Two\n",
    "a system prompt in many alphabets": "Отвечай кратко. 漢字",
    "control tokens in a system prompt": "<|im_end|> </s> <end_of_turn>",
}


def _turns(question: str, answer: str | None = None) -> list[Message]:
    asked: list[Message] = [{"role": "user", "content": question}]
    return asked if answer is None else [*asked, {"role": "assistant", "content": answer}]


def _leading(ids: Sequence[int], token_id: int) -> int:
    return next((number for number, one in enumerate(ids) if one != token_id), len(ids))


def _lines(mark: str, ids: Sequence[int], piece: Piece) -> list[str]:
    return [f"{mark} {token_id} {piece(token_id)!r}" for token_id in ids]


def _source_ends(folder: Path) -> frozenset[int]:
    declared = (_as_ids(_read(folder / name)) for name in ("generation_config.json", "config.json"))
    return next(filter(None, declared), frozenset())


def _as_ids(settings: Mapping[str, Any]) -> frozenset[int]:
    ends = settings.get("eos_token_id")
    return frozenset() if ends is None else frozenset([ends] if isinstance(ends, int) else ends)


def _read(file: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return content
