"""Whether every way to prompt a model gives it what transformers does: bare runtime, PromptTemplate, Foundry Local.

The domain's own conversations decide. The built-in ones go further than most domains, and so do releases of Foundry
Local that nobody deploys with: what differs there informs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

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
from harness.prompts.rendering import prompt_deviation
from harness.prompts.token_causes import TokenizerFile, compare_ids
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
    """The ways that are compared with transformers."""

    source: Path
    """Folder of the source model."""

    artifact: Path
    """Folder of the converted model."""

    bare: BarePrompter
    served: ServedPrompter
    prompt_template: Mapping[str, str] | None
    """`PromptTemplate` of inference_model.json; None where there is none."""

    is_template_read: bool = False
    """Whether the release that the model is deployed with reads `PromptTemplate`: 0.x and 1.x do."""

    template_options: Mapping[str, Any] | None = None
    """Options that every rendering of the chat template gets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainPrompt:
    """A conversation of the domain and what transformers makes of it."""

    messages: Sequence[Message]
    prompt: EncodedPrompt


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptParity:
    """What differs between the ways to prompt a model."""

    faults: tuple[str, ...]
    """What decides: the domain's conversations, ends, control tokens of the template."""

    remarks: tuple[str, ...]
    """What informs: the built-in conversations, and PromptTemplate where nobody reads it."""


def prompt_parity(
    ways: PromptWays, domain: Mapping[str, DomainPrompt], builtin: Mapping[str, EncodedPrompt | None]
) -> PromptParity:
    """Every difference, with the way, the conversation and what is likely to cause it.

    `builtin` is what transformers makes of the built-in conversations, by name; None where it refuses one.
    """
    compared = _Compared.of(ways)
    faults: list[str] = []
    remarks: list[str] = []
    for name, one in domain.items():
        faults += compared.runtime_faults(name, one.messages, one.prompt)
        told = compared.template_fault(name, one.messages, one.prompt)
        (faults if ways.is_template_read else remarks).extend(told)
    for name, messages in parity_conversations():
        prompt = builtin.get(name)
        if prompt is not None:  # else the source's own template refuses it
            remarks += compared.runtime_faults(name, messages, prompt)
            remarks += compared.template_fault(name, messages, prompt)
    controls = control_tokens(ways.artifact)
    used = {token: index for token, index in controls.items() if token in compared.chat.source}
    faults += [*control_token_faults(ways.bare.encode, used), *end_faults(ways.source, ways.artifact)]
    unused = {token: index for token, index in controls.items() if token not in used}
    remarks += control_token_faults(ways.bare.encode, unused)
    return PromptParity(faults=tuple(faults), remarks=tuple(remarks))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Compared:
    """The ways, with what is read from the artifact's files once."""

    ways: PromptWays
    chat: ChatTemplate
    tokenizer: TokenizerFile
    begin_id: int | None

    @classmethod
    def of(cls, ways: PromptWays) -> _Compared:
        """Read the artifact's files.

        Raises:
            DeployError: it has no chat template, or a broken one.
        """
        chat = ChatTemplate(ways.artifact, ways.template_options)
        file = TokenizerFile.read(ways.artifact / "tokenizer.json")
        return cls(ways=ways, chat=chat, tokenizer=file, begin_id=_begin_id(chat))

    def runtime_faults(self, name: str, messages: Sequence[Message], prompt: EncodedPrompt) -> Iterator[str]:
        """What the bare runtime and Foundry Local make of a conversation otherwise than transformers."""
        actual = _bare(self.ways.bare, messages)
        if isinstance(actual, str):
            yield f"onnxruntime-genai, {name}: {actual}"
        else:
            causes = "; ".join(self._causes(name, messages, prompt, actual))
            found = prompt_faults(prompt, actual, piece=self._piece, begin_id=self.begin_id)
            yield from (f"onnxruntime-genai, {name}: {fault}{f' ({causes})' if causes else ''}" for fault in found)
        served = _served(self.ways.served, messages, prompt)
        if served:
            yield f"Foundry Local, {name}: {served}"

    def template_fault(self, name: str, messages: Sequence[Message], prompt: EncodedPrompt) -> list[str]:
        """What the four strings of `PromptTemplate` say otherwise; nothing where there are none."""
        template = self.ways.prompt_template
        if template is None or any(turn["role"] not in template for turn in messages):
            return []
        leading = self.chat.leading_token
        try:
            text = render_prompt(template, messages)
        except DeployError:
            return []  # it can only end a conversation with the user's turn
        found = template_differences(prompt.text.removeprefix(leading), text.removeprefix(leading))
        return [f"PromptTemplate (read by Foundry Local 0.x and 1.x), {name}: {found}"] if found else []

    def _causes(
        self, name: str, messages: Sequence[Message], prompt: EncodedPrompt, actual: EncodedPrompt
    ) -> Iterator[str]:
        deviation = prompt_deviation(name, prompt.text, actual.text, messages, self.chat)
        if deviation is not None:
            yield deviation.cause
            return
        difference = compare_ids(prompt.text, prompt.ids, actual.ids, self.tokenizer)
        if difference is not None:
            yield difference.cause

    def _piece(self, token: int) -> str:
        return self.tokenizer.pieces.get(token, "?")


def _bare(bare: BarePrompter, messages: Sequence[Message]) -> EncodedPrompt | str:
    try:
        text = bare.render(messages)
        return EncodedPrompt(text=text, ids=tuple(bare.encode(text)))
    except InvalidPromptError as error:
        return error.what


def _served(served: ServedPrompter, messages: Sequence[Message], prompt: EncodedPrompt) -> str | None:
    try:
        count = served.prompt_tokens(messages)
    except InvalidPromptError as error:
        is_empty = any(not turn["content"] for turn in messages)
        return None if is_empty else error.what  # Foundry refuses turns without a word, by its own rule
    return None if count == len(prompt.ids) else f"{count} prompt tokens in place of {len(prompt.ids)}"


def _begin_id(chat: ChatTemplate) -> int | None:
    """The id of the beginning that prompts of this model have; None for a model without."""
    begin = chat.special_tokens.get("bos_token", "")
    try:
        opens = bool(begin) and chat.render([{"role": "user", "content": "x"}]).startswith(begin)
    except DeployError:
        return None
    return control_tokens(chat.folder).get(begin) if opens else None
