"""Whether the runtime renders the chat template as its authors' own Jinja would.

onnxruntime-genai and Foundry Local render it with a small Jinja of their own in C++. It is silent where it is wrong: in
release 0.18.0 `'a' in 'abc'` is false, which templates ask to strip old reasoning from a conversation or to find a tag.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from harness.errors import DeployError, SessionError
from harness.prompts.chat_template import ChatTemplate, Message
from harness.prompts.difference import template_differences
from harness.prompts.prompt_template import conversations

Render = Callable[[Sequence[Message]], str]
"""The prompt that a runtime makes of a conversation; a `SessionError` where it refuses."""


def served_prompt_difference(folder: Path, render: Render) -> str | None:
    """Where the runtime's prompt first parts from the chat template's, in words; None if nowhere.

    Conversations that the chat template refuses are left out.

    Raises:
        DeployError: the folder has no chat template, or a broken one.
    """
    chat = ChatTemplate(folder)
    for what, messages in _conversations():
        try:
            expected = chat.render(messages)
        except DeployError:
            continue
        difference = _difference(expected, render, messages)
        if difference:
            return f"{what}: {difference}"
    return None


def _difference(expected: str, render: Render, messages: Sequence[Message]) -> str | None:
    try:
        actual = render(messages)
    except SessionError as error:
        return error.what
    return template_differences(expected, actual)


def _conversations() -> Iterator[tuple[str, Sequence[Message]]]:
    yield from conversations(with_system=True)
    reasoned = "<think>\nLet me see.\n</think>\n\nThe pump is blocked."
    yield (
        "a second question after an answer with reasoning",
        [
            {"role": "user", "content": "What does E4 mean?"},
            {"role": "assistant", "content": reasoned},
            {"role": "user", "content": "And then?"},
        ],
    )
