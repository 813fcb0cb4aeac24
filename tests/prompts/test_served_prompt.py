"""The runtime's rendering of a chat template against Jinja's own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.errors import DeployError, InvalidPromptError
from harness.prompts.chat_template import Message, render_chat_template
from harness.prompts.served_prompt import served_prompt_difference
from harness.runtime.genai import GenaiSession
from tests.prompts import templates


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "chat_template.jinja").write_text(templates.QWEN_THINKING, encoding="utf-8")
    return tmp_path


def test_the_same_rendering_has_no_difference(folder: Path) -> None:
    assert served_prompt_difference(folder, lambda messages: render_chat_template(folder, messages)) is None


def test_a_runtime_that_keeps_old_reasoning_is_told_in_words(folder: Path) -> None:
    def keep(messages: Sequence[Message]) -> str:
        turns = "".join(f"<|im_start|>{turn['role']}\n{turn['content']}<|im_end|>\n" for turn in messages)
        return turns + "<|im_start|>assistant\n"

    difference = served_prompt_difference(folder, keep)
    assert difference is not None
    assert difference.startswith("a second question after an answer with reasoning: after ")
    assert "think" in difference


def test_a_runtime_that_forgets_the_system_prompt_is_told_in_words(folder: Path) -> None:
    def forget(messages: Sequence[Message]) -> str:
        return render_chat_template(folder, [turn for turn in messages if turn["role"] != "system"])

    assert "a question with a system prompt" in (served_prompt_difference(folder, forget) or "")


def test_a_refusal_of_the_runtime_is_a_difference(folder: Path) -> None:
    def refuse(_messages: Sequence[Message]) -> str:
        raise InvalidPromptError("Unknown method: replace")

    assert served_prompt_difference(folder, refuse) == "a single question: Unknown method: replace"


def test_what_the_chat_template_refuses_itself_is_left_out(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text(templates.GEMMA, encoding="utf-8")

    def refuse_system(messages: Sequence[Message]) -> str:
        assert messages[0]["role"] != "system"
        return render_chat_template(folder, messages)

    assert served_prompt_difference(folder, refuse_system) is None


def test_without_a_chat_template_there_is_nothing_to_compare(tmp_path: Path) -> None:
    with pytest.raises(DeployError, match="no chat template"):
        served_prompt_difference(tmp_path, lambda _messages: "")


@pytest.mark.toolchain
def test_the_runtime_renders_the_demo_models_template_rightly(demo_artifact: Path) -> None:
    session = GenaiSession(demo_artifact)
    assert served_prompt_difference(demo_artifact, session.render) is None
    session.close()


@pytest.mark.toolchain
@pytest.mark.parametrize("name", ["CHATML", "QWEN", "LLAMA", "PHI3", "PHI4", "GEMMA", "MISTRAL", "SMOL", "GRANITE"])
def test_the_runtime_renders_common_shapes_rightly(name: str, demo_artifact: Path, tmp_path: Path) -> None:
    folder = with_template(demo_artifact, tmp_path, getattr(templates, name))
    session = GenaiSession(folder)
    assert served_prompt_difference(folder, session.render) is None
    session.close()


@pytest.mark.toolchain
@pytest.mark.parametrize(
    "template",
    [
        "{% for m in messages %}{{ m.content.replace('E4', 'F1') }}{% endfor %}",  # refused: unknown method
        "{% for m in messages %}{{ m.content | reverse | join }}{% endfor %}",  # refused: unknown filter
        "{% for m in messages %}{{ 'E' if 'E4' in m.content else '-' }}{% endfor %}",  # silent: never in
        templates.QWEN_THINKING,  # silent, for the same reason
    ],
)
def test_what_the_runtimes_jinja_cannot_do_is_found(template: str, demo_artifact: Path, tmp_path: Path) -> None:
    folder = with_template(demo_artifact, tmp_path, template)
    session = GenaiSession(folder)
    assert served_prompt_difference(folder, session.render) is not None
    session.close()


def with_template(artifact: Path, tmp_path: Path, template: str) -> Path:
    folder = Path(shutil.copytree(artifact, tmp_path / "model"))
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    config |= {"bos_token": "<s>", "eos_token": "</s>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder
