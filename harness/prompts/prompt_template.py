"""`inference_model.json`: how Foundry Local 0.x and 1.x are told to prompt a model, derived from its chat template.

Foundry Local 2.x renders prompts with the tokenizer's chat template. Before it, four strings did: `system`, `user` and
`assistant` for the turns of a conversation and `prompt` for the last one, each with `{Content}` in place of the words,
put one after the other. One folder then gives two different prompts unless both say the same, which is proved here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any, Final

from harness.errors import DeployError
from harness.prompts.chat_template import ChatTemplate, Message, render_chat_template
from harness.prompts.difference import template_differences

__all__ = [
    "check_prompt_template",
    "choose_prompt_template",
    "derive_prompt_template",
    "is_comparable",
    "render_chat_template",
    "render_prompt",
    "shipped_prompt_template",
    "template_differences",
    "write_inference_model",
]

FILE_NAME: Final = "inference_model.json"
CONTENT: Final = "{Content}"

_SYSTEM, _ASK, _REPLY, _NEXT = "Qsystemq", "Qaskq", "Qreplyq", "Qnextq"
"""Contents that no chat template contains."""

_MODEL_CONFIG: Final = (
    "max_length",
    "do_sample",
    "temperature",
    "top_p",
    "top_k",
    "repetition_penalty",
)


def derive_prompt_template(folder: Path) -> dict[str, str]:
    """The `PromptTemplate` that says what the folder's chat template says.

    There is no `system` in it where the chat template takes none.

    Raises:
        DeployError: there is no such four strings, and why.
    """
    chat = ChatTemplate(folder)
    prompt = _derive_turn(chat, _render(chat, ("user", _ASK)), _ASK, "user's words")
    system = _derive_system(chat, prompt)
    template = {"prompt": prompt, **_derive_history(chat, prompt)}
    if system is not None:
        template["system"] = system
    _require_same(chat, template, blame="the chat template")
    return {role: template[role] for role in ("system", "user", "assistant", "prompt") if role in template}


def check_prompt_template(folder: Path, template: Mapping[str, str]) -> None:
    """Hold a `PromptTemplate` of the user's against the folder's chat template, on several conversations.

    Raises:
        DeployError: a part is missing or malformed, or a conversation gives another prompt; it says which and how.
    """
    for role, text in template.items():
        if not isinstance(text, str) or text.count(CONTENT) != 1:
            raise DeployError(
                f"the PromptTemplate's {role!r} must contain {CONTENT} exactly once",
                where=repr(text),
                next_step=f"put {CONTENT} where the words of the turn belong",
            )
    _require_same(ChatTemplate(folder), template, blame="the PromptTemplate")


def is_comparable(folder: Path) -> bool:
    """Whether a `PromptTemplate` could say what the folder's chat template says of a single question.

    One that prints the date, or puts a beginning in front that the tokenizer does not, cannot be said.
    """
    try:
        _render(ChatTemplate(folder), ("user", _ASK))
    except DeployError:
        return False
    return True


def render_prompt(template: Mapping[str, str], messages: Sequence[Message]) -> str:
    """What Foundry Local 0.x or 1.x makes of a conversation that ends with the user.

    Raises:
        DeployError: the last turn is not the user's, or the template has no string for a role.
    """
    if not messages or messages[-1]["role"] != "user":
        raise DeployError("a PromptTemplate can only end a conversation with the user's turn")
    roles = [*(message["role"] for message in messages[:-1]), "prompt"]
    missing = [role for role in roles if role not in template]
    if missing:
        raise DeployError(f"the PromptTemplate has no {missing[0]!r}", next_step="add it, or leave such turns out")
    turns = zip(roles, messages, strict=True)
    return "".join(template[role].replace(CONTENT, message["content"]) for role, message in turns)


def write_inference_model(
    folder: Path,
    name: str,
    *,
    prompt_template: Mapping[str, str] | None,
    description: str = "Registered by slm-gate",
    version: str = "1",
) -> Path:
    """Write `inference_model.json` into the folder, whole or not at all, and return its path.

    Raises:
        DeployError: genai_config.json cannot be read.
    """
    content: dict[str, Any] = {"Name": name, "Description": description, "Version": version}
    if prompt_template is not None:
        content["PromptTemplate"] = dict(prompt_template)
    content["ModelConfig"] = _model_config(folder)
    target = folder / FILE_NAME
    aside = folder / f".{FILE_NAME}.incomplete"
    aside.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    aside.replace(target)  # a new file: the old one may be a hard link
    return target


def shipped_prompt_template(folder: Path) -> Mapping[str, str] | None:
    """The `PromptTemplate` of an `inference_model.json` that came with the model; None without one.

    Raises:
        DeployError: the file is there and is not valid.
    """
    file = folder / FILE_NAME
    if not file.is_file():
        return None
    try:
        template = json.loads(file.read_text(encoding="utf-8")).get("PromptTemplate")
    except (OSError, ValueError, AttributeError) as error:
        raise DeployError(f"{FILE_NAME} cannot be read: {error}", where=str(file)) from error
    if template is not None and not isinstance(template, dict):
        raise DeployError(f"PromptTemplate in {FILE_NAME} is not an object", where=str(file))
    return template


def choose_prompt_template(
    folder: Path, given: Mapping[str, str] | None
) -> tuple[Mapping[str, str] | None, str | None]:
    """The template to write, or why there is none: the user's, the folder's own, or one derived.

    Raises:
        DeployError: the user's own says something else than the chat template.
    """
    if given is not None:
        check_prompt_template(folder, given)
        return given, None
    try:
        shipped = shipped_prompt_template(folder)
        if shipped is None:
            return derive_prompt_template(folder), None
        check_prompt_template(folder, shipped)
    except DeployError as error:
        return None, error.what
    return shipped, None


def _derive_history(chat: ChatTemplate, prompt: str) -> dict[str, str]:
    """`user` and `assistant`, from a conversation of two questions with the last one taken away."""
    last = prompt.replace(CONTENT, _NEXT)
    whole = _render(chat, ("user", _ASK), ("assistant", _REPLY), ("user", _NEXT))
    if not whole.endswith(last):
        raise _inexpressible(chat, "it writes a question differently when others went before it")
    history = whole.removesuffix(last)
    asked = _prompt(chat, _messages(("user", _ASK)), add_generation_prompt=False)
    if not history.startswith(asked):
        raise _inexpressible(chat, "it writes a question differently when an answer follows it")
    return {
        "user": _derive_turn(chat, asked, _ASK, "user's words"),
        "assistant": _derive_turn(chat, history.removeprefix(asked), _REPLY, "assistant's words"),
    }


def _derive_system(chat: ChatTemplate, prompt: str) -> str | None:
    question = prompt.replace(CONTENT, _ASK)
    try:
        whole = _render(chat, ("system", _SYSTEM), ("user", _ASK))
    except DeployError:
        return None  # the chat template refuses system prompts, so a PromptTemplate needs none
    if whole.endswith(question):
        return _derive_turn(chat, whole.removesuffix(question), _SYSTEM, "system prompt")
    shared = _common_ending(whole, question)
    own, opening = question[: len(question) - shared], whole.partition(_SYSTEM)[0]
    if own != opening and own.startswith(opening):
        raise _inexpressible(chat, f"it puts a system prompt of its own before a conversation that has none: {own!r}")
    if own == opening:
        raise _inexpressible(chat, "it writes the system prompt inside the user's turn")
    raise _inexpressible(chat, "it writes a question differently when a system prompt goes before it")


def _common_ending(one: str, other: str) -> int:
    pairs = zip(reversed(one), reversed(other), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _derive_turn(chat: ChatTemplate, text: str, marker: str, what: str) -> str:
    if text.count(marker) != 1:
        raise _inexpressible(chat, f"it writes the {what} {text.count(marker)} times")
    if CONTENT in text:
        raise _inexpressible(chat, f"it contains {CONTENT} itself")
    return text.replace(marker, CONTENT)


def _require_same(chat: ChatTemplate, template: Mapping[str, str], *, blame: str) -> None:
    for what, messages in conversations(with_system="system" in template or _takes_system(chat)):
        difference = template_differences(
            _prompt(chat, messages),
            render_prompt(template, messages).removeprefix(chat.leading_token),
        )
        if difference is None:
            continue
        if blame == "the chat template":
            raise _inexpressible(chat, f"{what} comes out otherwise: {difference}")
        raise DeployError(
            f"the PromptTemplate does not say what the chat template says: {what}: {difference}",
            where=str(chat.folder),
            next_step="mend the PromptTemplate, or leave it out and let it be derived",
        )


def conversations(*, with_system: bool) -> Iterator[tuple[str, list[Message]]]:
    """Conversations on which two ways to prompt must agree, each with its name, the simplest first."""
    one = ("user", "What does E4 mean?")
    more = (one, ("assistant", "The pump is blocked."), ("user", "And then?"))
    system = ("system", "You answer in JSON.")
    yield "a single question", _messages(one)
    if with_system:
        yield "a question with a system prompt", _messages(system, one)
    yield "a second question", _messages(*more)
    if with_system:
        yield "a second question with a system prompt", _messages(system, *more)
    yield "a third question", _messages(*more, ("assistant", "Clean the filter.\nWait."), ("user", "Done?"))


def _takes_system(chat: ChatTemplate) -> bool:
    try:
        return _SYSTEM in _render(chat, ("system", _SYSTEM), ("user", _ASK))
    except DeployError:
        return False


def _messages(*turns: tuple[str, str]) -> list[Message]:
    return [{"role": role, "content": content} for role, content in turns]


def _render(chat: ChatTemplate, *turns: tuple[str, str]) -> str:
    return _prompt(chat, _messages(*turns))


def _prompt(chat: ChatTemplate, messages: Sequence[Message], *, add_generation_prompt: bool = True) -> str:
    """What the chat template says, without the token that the tokenizer puts in front of every prompt itself."""
    text = chat.render(messages, add_generation_prompt=add_generation_prompt)
    if chat.uses_date:
        raise _inexpressible(chat, "it prints today's date, and a PromptTemplate stays as it is")
    begin = chat.special_tokens.get("bos_token", "")
    if begin and text.startswith(begin) and not chat.leading_token:
        raise _inexpressible(
            chat, f"it begins every conversation with {begin!r}, which the tokenizer does not do by itself"
        )
    return text.removeprefix(chat.leading_token)


def _model_config(folder: Path) -> dict[str, Any]:
    try:
        search = json.loads((folder / "genai_config.json").read_text(encoding="utf-8")).get("search", {})
    except (OSError, ValueError, AttributeError) as error:
        raise DeployError(f"genai_config.json cannot be read: {error}", where=str(folder)) from error
    return {key: search[key] for key in _MODEL_CONFIG if key in search}


def _inexpressible(chat: ChatTemplate, why: str) -> DeployError:
    return DeployError(
        f"the chat template cannot be written as a PromptTemplate: {why}",
        where=str(chat.folder),
        next_step="serve it with Foundry Local 2.x, which uses the chat template itself",
    )
