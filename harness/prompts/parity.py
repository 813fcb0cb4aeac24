"""Whether every way to prompt a model gives it what transformers does: bare runtime, PromptTemplate, Foundry Local."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from harness.errors import DeployError, InvalidPromptError
from harness.prompts.chat_template import ChatTemplate
from harness.prompts.conversations import (
    EncodedPrompt,
    control_token_faults,
    control_tokens,
    end_faults,
    parity_conversations,
    prompt_faults,
)
from harness.prompts.difference import template_differences
from harness.prompts.prompt_template import render_prompt
from harness.runtime.session import Message


class BarePrompter(Protocol):
    """The runtime itself, which shows its prompts."""

    def render(self, messages: Sequence[Message]) -> str:
        """The prompt's text."""
        ...

    def encode(self, text: str) -> Sequence[int]:
        """Its tokens."""
        ...


class ServedPrompter(Protocol):
    """Foundry Local, which tells how many tokens it makes of a conversation, and not which."""

    def prompt_tokens(self, messages: Sequence[Message]) -> int:
        """How many."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptWays:
    """The ways that are held against transformers."""

    source: Path
    """Folder of the source model."""

    artifact: Path
    """Folder of the converted model."""

    bare: BarePrompter
    served: ServedPrompter
    prompt_template: Mapping[str, str] | None
    """`PromptTemplate` of inference_model.json; None where there is none."""


def parity_faults(ways: PromptWays, expected: Mapping[str, EncodedPrompt | None]) -> Iterator[str]:
    """Every difference, with the way and the conversation; `expected` is what transformers makes of them."""
    pieces = _pieces(ways.artifact)
    begin_id = _begin_id(ways.artifact)
    for name, messages in parity_conversations():
        prompt = expected.get(name)
        if prompt is None:
            continue  # the source's own template refuses it
        actual = _bare(ways.bare, messages)
        if isinstance(actual, str):
            yield f"onnxruntime-genai, {name}: {actual}"
        else:
            for fault in prompt_faults(prompt, actual, piece=lambda i: pieces.get(i, "?"), begin_id=begin_id):
                yield f"onnxruntime-genai, {name}: {fault}"
        others = {
            "PromptTemplate": _by_template(ways, messages, prompt),
            "Foundry Local": _served(ways.served, messages, prompt),
        }
        yield from (f"{way}, {name}: {other}" for way, other in others.items() if other)
    yield from control_token_faults(ways.bare.encode, control_tokens(ways.artifact))
    yield from end_faults(ways.source, ways.artifact)


def _bare(bare: BarePrompter, messages: Sequence[Message]) -> EncodedPrompt | str:
    try:
        text = bare.render(messages)
        return EncodedPrompt(text=text, ids=tuple(bare.encode(text)))
    except InvalidPromptError as error:
        return error.what


def _by_template(ways: PromptWays, messages: Sequence[Message], prompt: EncodedPrompt) -> str | None:
    if ways.prompt_template is None or not _is_expressible(ways.prompt_template, messages):
        return None
    leading = ChatTemplate(ways.artifact).leading_token
    text = render_prompt(ways.prompt_template, messages)
    return template_differences(prompt.text.removeprefix(leading), text.removeprefix(leading))


def _is_expressible(template: Mapping[str, str], messages: Sequence[Message]) -> bool:
    return all(turn["role"] in template for turn in messages)


def _served(served: ServedPrompter, messages: Sequence[Message], prompt: EncodedPrompt) -> str | None:
    try:
        count = served.prompt_tokens(messages)
    except InvalidPromptError as error:
        is_empty = any(not turn["content"] for turn in messages)
        return None if is_empty else error.what  # Foundry refuses turns without a word, by its own rule
    return None if count == len(prompt.ids) else f"{count} prompt tokens in place of {len(prompt.ids)}"


def _begin_id(folder: Path) -> int | None:
    """The id of the beginning that prompts of this model have; None for a model without."""
    chat = ChatTemplate(folder)
    begin = chat.special_tokens.get("bos_token", "")
    try:
        opens = bool(begin) and chat.render([{"role": "user", "content": "x"}]).startswith(begin)
    except DeployError:
        return None
    return control_tokens(folder).get(begin) if opens else None


def _pieces(folder: Path) -> dict[int, str]:
    """Texts of tokens, as the tokenizer's file has them."""
    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary = tokenizer.get("model", {}).get("vocab", {})
    known = {index: piece for piece, index in vocabulary.items()} if isinstance(vocabulary, dict) else {}
    return known | {index: token for token, index in control_tokens(folder).items()}
