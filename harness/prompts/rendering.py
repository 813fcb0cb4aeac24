"""Where the runtime renders a conversation otherwise than transformers, and why.

onnxruntime-genai and Foundry Local render chat templates with a small Jinja of their own in C++. It is silent where it
is wrong: in release 0.18.0 `'a' in 'abc'` is false, which templates ask to strip old reasoning from a conversation or
to find a tag.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from harness.errors import DeployError
from harness.prompts.chat_template import ChatTemplate, Message
from harness.prompts.difference import template_differences

CONTAINMENT: Final = "onnxruntime-genai answers `'x' in text` with false, and the template asks it"
ENGINE: Final = "onnxruntime-genai's template engine does something else than Jinja"
REFUSAL: Final = "onnxruntime-genai's template engine refuses what Jinja renders"
OWN_FILES: Final = "the folder's own template, or a token in its tokenizer_config.json, says so: the runtime obeys it"

_ADVICE = {
    True: "what the folder itself sets, such as an option in front of its template, is named in [prompt] "
    "template_options too, or the source's files put there",
    False: "converting again changes nothing: write the template without it, or avoid such conversations",
}
"""What to do, by whether the folder's own files are the cause."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptDeviation:
    """One conversation that the runtime renders otherwise."""

    conversation: str
    """Its name, or the id of its case."""

    what: str
    """The first difference, in words."""

    cause: str
    """Why."""


def prompt_deviation(
    name: str, expected: str | None, actual: str | None, messages: Sequence[Message], chat: ChatTemplate
) -> PromptDeviation | None:
    """How the runtime's prompt differs from transformers'; None where it does not, or transformers refuses as well.

    `actual` is None where the runtime refuses the conversation. `chat` is the artifact's template: rendered as it
    stands, and with the runtime's known fault, it tells which of the two is the cause.
    """
    if expected is None:
        return None
    if actual is None:
        return PromptDeviation(conversation=name, what="the runtime refuses it", cause=REFUSAL)
    difference = template_differences(expected, actual)
    if difference is None:
        return None
    return PromptDeviation(conversation=name, what=difference, cause=_cause(actual, messages, chat))


def describe_deviations(deviations: Sequence[PromptDeviation], *, most: int = 3) -> str:
    """The first deviations, a line each with its cause, and how many more there are."""
    lines = [f"{one.conversation}: {one.what} ({one.cause})" for one in deviations[:most]]
    more = len(deviations) - most
    endings = [_ADVICE[is_own] for is_own in sorted({one.cause == OWN_FILES for one in deviations}, reverse=True)]
    return "\n".join([*lines, *([f"and {more} more"] if more > 0 else []), *endings])


def _cause(actual: str, messages: Sequence[Message], chat: ChatTemplate) -> str:
    for cause, as_runtime in ((OWN_FILES, False), (CONTAINMENT, True)):
        try:
            if chat.render(messages, as_runtime=as_runtime) == actual:
                return cause
        except DeployError:
            continue
    return ENGINE
