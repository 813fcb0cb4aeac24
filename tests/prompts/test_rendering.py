"""The runtime's rendering of a chat template against Jinja's own, and what causes a difference."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from harness.errors import DeployError, InvalidPromptError
from harness.prompts.chat_template import ChatTemplate, Message
from harness.prompts.conversations import parity_conversations
from harness.prompts.rendering import (
    CONTAINMENT,
    ENGINE,
    OWN_FILES,
    REFUSAL,
    PromptDeviation,
    describe_deviations,
    prompt_deviation,
)
from harness.runtime.genai import GenaiSession
from tests.prompts import templates

Render = Callable[[Sequence[Message]], str]


def deviations(folder: Path, render: Render) -> list[PromptDeviation]:
    chat = ChatTemplate(folder)
    found = [
        prompt_deviation(name, attempt(chat.render, messages), attempt(render, messages), messages, chat)
        for name, messages in parity_conversations()
    ]
    return [one for one in found if one is not None]


def attempt(render: Render, messages: Sequence[Message]) -> str | None:
    try:
        return render(messages)
    except (DeployError, InvalidPromptError):
        return None


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "chat_template.jinja").write_text(templates.QWEN_THINKING, encoding="utf-8")
    return tmp_path


def test_the_same_rendering_has_no_difference(folder: Path) -> None:
    assert deviations(folder, ChatTemplate(folder).render) == []


def test_a_runtime_that_keeps_old_reasoning_is_told_in_words_and_why(folder: Path) -> None:
    found = deviations(folder, lambda messages: ChatTemplate(folder).render(messages, as_runtime=True))
    assert {one.conversation for one in found} >= {"a second question after an answer with reasoning"}
    assert all("think" in one.what and one.cause == CONTAINMENT for one in found)


def test_another_fault_is_not_blamed_on_containment(folder: Path) -> None:
    def forget(messages: Sequence[Message]) -> str:
        return ChatTemplate(folder).render([turn for turn in messages if turn["role"] != "system"])

    found = {one.conversation: one for one in deviations(folder, forget)}
    assert found["a question with a system prompt"].cause == ENGINE


def test_a_refusal_of_the_runtime_is_a_deviation(folder: Path) -> None:
    def refuse(_messages: Sequence[Message]) -> str:
        raise InvalidPromptError("Unknown method: replace")

    assert {one.cause for one in deviations(folder, refuse)} == {REFUSAL}


def test_what_the_chat_template_refuses_itself_is_left_out(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text(templates.GEMMA, encoding="utf-8")

    def refuse_system(messages: Sequence[Message]) -> str:
        if messages[0]["role"] == "system":
            raise InvalidPromptError("no")
        return ChatTemplate(folder).render(messages)

    assert deviations(folder, refuse_system) == []


@pytest.mark.parametrize(
    ("template", "answer"),
    [
        ("{{ 'a' in 'abc' }}", "False"),
        ("{{ 'a' not in 'abc' }}", "True"),
        ("{{ 'a' in ['a'] }}", "True"),
        ("{{ 'b' not in ['a'] }}", "True"),
        ("{{ 'role' in messages[0] }}", "True"),
        ("{{ 1 < 2 }}", "True"),
        ("{{ 'x' if 'a' in 'abc' and 'a' in 'abc' else 'y' }}", "y"),
    ],
)
def test_the_known_fault_is_of_text_alone(template: str, answer: str, tmp_path: Path) -> None:
    (tmp_path / "chat_template.jinja").write_text(template, encoding="utf-8")
    assert ChatTemplate(tmp_path).render([{"role": "user", "content": "x"}], as_runtime=True) == answer


def test_options_reach_the_template(tmp_path: Path) -> None:
    template = "{{ 'quick' if enable_thinking is defined and enable_thinking is false else 'slow' }}"
    (tmp_path / "chat_template.jinja").write_text(template, encoding="utf-8")
    messages = [{"role": "user", "content": "x"}]
    assert ChatTemplate(tmp_path).render(messages) == "slow"
    assert ChatTemplate(tmp_path, {"enable_thinking": False}).render(messages) == "quick"


def test_the_advice_is_never_to_convert_again() -> None:
    one = PromptDeviation(conversation="c", what="w", cause=CONTAINMENT)
    told = describe_deviations([one] * 5)
    assert "and 2 more" in told
    assert "converting again changes nothing" in told


def test_what_the_folder_itself_sets_is_no_fault_of_the_runtime(tmp_path: Path) -> None:
    """And is mended in the folder, or in the gate's settings."""
    template = "{{ 'quick' if quick is defined and quick else 'slow' }}"
    (tmp_path / "chat_template.jinja").write_text("{% set quick = true %}" + template, encoding="utf-8")
    messages = [{"role": "user", "content": "x"}]
    found = prompt_deviation("c", "slow", "quick", messages, ChatTemplate(tmp_path))
    assert found is not None
    assert found.cause == OWN_FILES
    told = describe_deviations([found])
    assert "[prompt] template_options" in told
    assert "converting again" not in told


@pytest.mark.toolchain
def test_the_runtime_renders_the_demo_models_template_rightly(demo_artifact: Path) -> None:
    session = GenaiSession(demo_artifact)
    assert deviations(demo_artifact, session.render) == []
    session.close()


@pytest.mark.toolchain
@pytest.mark.parametrize("name", ["CHATML", "QWEN", "LLAMA", "PHI3", "PHI4", "GEMMA", "MISTRAL", "SMOL", "GRANITE"])
def test_the_runtime_renders_common_shapes_rightly(name: str, demo_artifact: Path, tmp_path: Path) -> None:
    folder = with_template(demo_artifact, tmp_path, getattr(templates, name))
    session = GenaiSession(folder)
    assert deviations(folder, session.render) == []
    session.close()


@pytest.mark.toolchain
@pytest.mark.parametrize(
    ("template", "cause"),
    [
        ("{% for m in messages %}{{ m.content.replace('E4', 'F1') }}{% endfor %}", REFUSAL),  # unknown method
        ("{% for m in messages %}{{ m.content | reverse | join }}{% endfor %}", REFUSAL),  # unknown filter
        ("{% for m in messages %}{{ 'E' if 'E4' in m.content else '-' }}{% endfor %}", CONTAINMENT),
        (templates.QWEN_THINKING, CONTAINMENT),
    ],
)
def test_what_the_runtimes_jinja_cannot_do_is_found(
    template: str, cause: str, demo_artifact: Path, tmp_path: Path
) -> None:
    folder = with_template(demo_artifact, tmp_path, template)
    session = GenaiSession(folder)
    assert {one.cause for one in deviations(folder, session.render)} == {cause}
    session.close()


def with_template(artifact: Path, tmp_path: Path, template: str) -> Path:
    folder = Path(shutil.copytree(artifact, tmp_path / "model"))
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    config |= {"bos_token": "<s>", "eos_token": "</s>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder
