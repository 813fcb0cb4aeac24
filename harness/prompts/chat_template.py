"""Renders a folder's own chat template, as the tokenizer's authors meant it, without running anything of theirs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Final, NoReturn

from jinja2 import Template, TemplateError, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension
from jinja2.meta import find_undeclared_variables
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from harness.errors import DeployError
from harness.prompts.template_files import chat_templates

Message = Mapping[str, str]
"""One turn of a conversation: `{"role": "user", "content": "..."}`."""

_CONTAINMENT: Final = ("in", "notin")
_SPECIAL_TOKENS: Final = ("bos_token", "eos_token", "pad_token", "unk_token", "sep_token", "cls_token", "mask_token")
_GIVEN: Final = frozenset((*_SPECIAL_TOKENS, "messages", "add_generation_prompt", "tools", "documents"))
"""What a template is always given; everything else that it asks for is an option."""


class ChatTemplate:
    """The chat template of a model folder, wherever in it that is kept.

    Raises:
        DeployError: the folder has no chat template, or one that is not valid Jinja.
        ArtifactError: a file that may hold one cannot be read.
    """

    def __init__(self, folder: Path, options: Mapping[str, Any] | None = None) -> None:
        """`options` are handed to every rendering: `{"enable_thinking": False}`."""
        self.folder = folder
        self.options = dict(options or {})
        self.special_tokens = special_tokens(folder)
        self.source = _source(folder)
        self.uses_date = False
        try:
            self._environment = _environment(self._now)
            self._template = self._environment.from_string(self.source)
        except TemplateError as error:
            raise DeployError(
                f"the chat template is not valid Jinja: {error}", where=str(folder), next_step=_MEND
            ) from error

    @property
    def leading_token(self) -> str:
        """The beginning-of-sequence token if the tokenizer itself puts it before every prompt, else ``."""
        token = self.special_tokens.get("bos_token", "")
        return token if token and _adds_token(self.folder, token) else ""

    def render(
        self, messages: Sequence[Message], *, add_generation_prompt: bool = True, as_runtime: bool = False
    ) -> str:
        """The text that the model is shown for a conversation.

        `as_runtime` renders it with the known fault of onnxruntime-genai 0.18.0: `'x' in text` is false.

        Raises:
            DeployError: the template refuses the conversation, or fails on it.
        """
        try:
            return (self._faulty if as_runtime else self._template).render(
                messages=[dict(message) for message in messages],
                add_generation_prompt=add_generation_prompt,
                tools=None,
                documents=None,
                **{**self.special_tokens, **self.options},
            )
        except (TemplateError, SecurityError, TypeError, ValueError, KeyError, IndexError) as error:
            raise DeployError(f"the chat template refused the conversation: {error}", where=str(self.folder)) from error

    @cached_property
    def _faulty(self) -> Template:
        """The template with every `in` asked of onnxruntime-genai's kind of containment."""
        tree = self._environment.parse(self.source)
        for compared in list(tree.find_all(nodes.Compare)):
            if len(compared.ops) == 1 and compared.ops[0].op in _CONTAINMENT:
                operand = compared.ops[0]
                asked = nodes.Call(
                    nodes.Name("contains_as_runtime", "load"), [operand.expr, compared.expr], [], None, None
                )
                compared.expr, operand.expr = asked, nodes.Const(operand.op == "in")
                operand.op = "eq"
        return self._environment.from_string(tree)

    def _now(self, date_format: str) -> str:
        self.uses_date = True
        return datetime.now().astimezone().strftime(date_format)


def render_chat_template(folder: Path, messages: Sequence[Message]) -> str:
    """The prompt that the folder's own chat template makes of a conversation, the assistant's turn opened.

    Raises:
        DeployError: no chat template, a broken one, or one that refuses the conversation.
    """
    return ChatTemplate(folder).render(messages)


def means_the_same(template: str, other: str) -> bool:
    """Whether a template does what another does, word for word.

    Comments and where blocks are broken into lines do not count, nor do options that are set in front, as
    `template_options.set_options` writes them, where the other one asks for them. Both are as `find_templates` gives
    them, without the last line break, which Jinja never renders.
    """
    environment = _environment(str)
    try:
        tree, wanted = (environment.parse(f"{text}\n") for text in (template, other))
    except TemplateError:
        return template == other
    options = asked_names(other) - _GIVEN
    while tree.body and _sets_option(tree.body[0], options):
        del tree.body[0]
    return tree == wanted


def asked_names(template: str) -> set[str]:
    """Names that a template asks for and does not set itself everywhere; none where it is not valid Jinja."""
    try:
        return find_undeclared_variables(_environment(str).parse(template))  # which changes the tree
    except TemplateError:
        return set()


def special_tokens(folder: Path) -> dict[str, str]:
    """The texts of a folder's special tokens, by the names that chat templates call them.

    Raises:
        DeployError: tokenizer_config.json cannot be read.
    """
    return dict(_special_tokens(_read_json(folder / "tokenizer_config.json")))


def _sets_option(node: nodes.Node, asked: set[str]) -> bool:
    if not isinstance(node, nodes.Assign) or not isinstance(node.node, nodes.Const):
        return False
    return isinstance(node.target, nodes.Name) and node.target.name in asked


_MEND: Final = "mend chat_template.jinja in the source model and convert it again"


class _Generation(Extension):
    """`{% generation %}` marks what a model is trained on; it prints its body."""

    tags = {"generation"}  # noqa: RUF012  # jinja2 declares it so

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _environment(now: Callable[[str], str]) -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", _Generation]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = now
    environment.globals["contains_as_runtime"] = _contains_as_runtime
    return environment


def _contains_as_runtime(container: Any, item: Any) -> bool:
    return not isinstance(container, str) and item in container


def _to_json(value: Any, indent: int | None = None, ensure_ascii: bool = False) -> str:
    return json.dumps(value, indent=indent, ensure_ascii=ensure_ascii)


def _raise_exception(message: str) -> NoReturn:
    raise TemplateError(message)


def _source(folder: Path) -> str:
    found = chat_templates(folder)
    if not found:
        raise DeployError(
            "the model has no chat template: neither chat_template.jinja nor one in tokenizer_config.json",
            where=str(folder),
            next_step="save the tokenizer with its chat template and convert the model again",
        )
    return found[0]


def _special_tokens(config: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name in _SPECIAL_TOKENS:
        token = config.get(name)
        text = token.get("content") if isinstance(token, dict) else token
        if isinstance(text, str):
            yield name, text


def _adds_token(folder: Path, token: str) -> bool:
    config = _read_json(folder / "tokenizer_config.json")
    if isinstance(config.get("add_bos_token"), bool):
        return bool(config["add_bos_token"])
    processor = _read_json(folder / "tokenizer.json").get("post_processor")
    return json.dumps(token, ensure_ascii=False) in json.dumps(processor, ensure_ascii=False)


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise DeployError(
            f"{file.name} cannot be read: {error}", where=str(file), next_step="convert the model again"
        ) from error
    return content if isinstance(content, dict) else {}
