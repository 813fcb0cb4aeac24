"""Deriving a PromptTemplate from a chat template, and holding one against it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.errors import DeployError
from harness.prompts.prompt_template import (
    check_prompt_template,
    derive_prompt_template,
    render_chat_template,
    render_prompt,
    shipped_prompt_template,
    write_inference_model,
)
from tests.prompts import templates

MakeFolder = Callable[..., Path]

QUESTION = [{"role": "user", "content": "What is E4?"}]
SYSTEM = {"role": "system", "content": "Be brief."}
DIALOGUE = [
    {"role": "user", "content": "What is E4?"},
    {"role": "assistant", "content": "The pump."},
    {"role": "user", "content": "And E5?"},
]
TUTORIAL = {
    "system": "<|im_start|>system\n{Content}<|im_end|>",
    "user": "<|im_start|>user\n{Content}<|im_end|>",
    "assistant": "<|im_start|>assistant\n{Content}<|im_end|>",
    "prompt": "<|im_start|>user\n{Content}<|im_end|>\n<|im_start|>assistant",
}


@pytest.fixture
def make_folder(tmp_path: Path) -> MakeFolder:
    """A model folder with nothing in it but what says how to prompt."""

    def make(template: str | None, *, inline: Any = None, **tokens: Any) -> Path:
        config: dict[str, Any] = {"bos_token": "<s>", "eos_token": "</s>", **tokens}
        if inline is not None:
            config["chat_template"] = inline
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
        search = {"max_length": 2048, "temperature": 0.7, "num_beams": 1}
        (tmp_path / "genai_config.json").write_text(json.dumps({"search": search}), encoding="utf-8")
        if template is not None:
            (tmp_path / "chat_template.jinja").write_text(template, encoding="utf-8")
        return tmp_path

    return make


def test_chatml_is_taken_apart_into_its_four_strings(make_folder: MakeFolder) -> None:
    assert derive_prompt_template(make_folder(templates.CHATML)) == {
        "system": "<|im_start|>system\n{Content}<|im_end|>\n",
        "user": "<|im_start|>user\n{Content}<|im_end|>\n",
        "assistant": "<|im_start|>assistant\n{Content}<|im_end|>\n",
        "prompt": "<|im_start|>user\n{Content}<|im_end|>\n<|im_start|>assistant\n",
    }


@pytest.mark.parametrize(
    "name", ["CHATML", "QWEN_THINKING", "LLAMA", "PHI3", "PHI4", "GRANITE_PLAIN", "GENERATION_MARKED"]
)
def test_a_derived_template_says_what_the_chat_template_says(name: str, make_folder: MakeFolder) -> None:
    folder = make_folder(getattr(templates, name), add_bos_token=True)
    template = derive_prompt_template(folder)
    assert set(template) == {"system", "user", "assistant", "prompt"}
    for messages in (QUESTION, DIALOGUE, [SYSTEM, *QUESTION], [SYSTEM, *DIALOGUE]):
        rendered = render_chat_template(folder, messages).removeprefix("<s>")
        assert render_prompt(template, messages) == rendered
    check_prompt_template(folder, template)


@pytest.mark.parametrize("name", ["GEMMA", "MISTRAL_WITHOUT_SYSTEM"])
def test_without_system_prompts_in_the_chat_template_there_is_no_system_string(
    name: str, make_folder: MakeFolder
) -> None:
    folder = make_folder(getattr(templates, name), add_bos_token=True)
    template = derive_prompt_template(folder)
    assert set(template) == {"user", "assistant", "prompt"}
    assert "<s>" + render_prompt(template, DIALOGUE) == render_chat_template(folder, DIALOGUE)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("QWEN", "a system prompt of its own before a conversation that has none"),
        ("SMOL", "a system prompt of its own before a conversation that has none"),
        ("GRANITE", "a system prompt of its own before a conversation that has none"),
        ("MISTRAL", "writes the system prompt inside the user's turn"),
        ("LLAMA_DATED", "today's date"),
    ],
)
def test_a_chat_template_beyond_four_strings_is_refused_with_the_reason(
    name: str, why: str, make_folder: MakeFolder
) -> None:
    with pytest.raises(DeployError, match=why):
        derive_prompt_template(make_folder(getattr(templates, name), add_bos_token=True))


def test_the_own_system_prompt_is_quoted(make_folder: MakeFolder) -> None:
    with pytest.raises(DeployError, match="You are a tested assistant"):
        derive_prompt_template(make_folder(templates.QWEN))


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("{% for m in messages %}{{ m.content }}|{{ m.content }}{% endfor %}", "user's words 2 times"),
        ("{% for m in messages %}{{ m.role }}{% endfor %}", "user's words 0 times"),
        ("{% for m in messages %}{{ m.content | upper }}{% endfor %}", "user's words 0 times"),
        ("{% for m in messages %}{Content}{{ m.content }}{% endfor %}", "contains {Content} itself"),
        (
            "{% for m in messages %}{{ loop.index }}:{{ m.content }}{% endfor %}",
            "writes a question differently",
        ),
        ("{% if messages|length > 2 %}{{ strftime_now('%Y') }}{% endif %}" + templates.CHATML, "today's date"),
        (
            "{% for m in messages %}{{ m.content }}{{ '!' if loop.index > 2 else '' }}|{% endfor %}",
            "a question differently when others went before it",
        ),
        (
            "{% for m in messages %}{{ 'Now: ' if loop.last else '' }}{{ m.content }}|{% endfor %}",
            "a question differently when an answer follows it",
        ),
        (
            "{% if messages|length > 4 %}Long.{% endif %}" + templates.CHATML,
            "a third question comes out otherwise: at the beginning, 'Long.' is missing",
        ),
        ("{{ bos_token }}" + templates.CHATML, "begins every conversation with '<s>'"),
    ],
)
def test_a_planted_oddity_is_named(template: str, why: str, make_folder: MakeFolder) -> None:
    with pytest.raises(DeployError, match=why):
        derive_prompt_template(make_folder(template, add_bos_token=False))


def test_the_tokenizer_file_also_tells_that_it_adds_the_first_token(make_folder: MakeFolder) -> None:
    folder = make_folder(templates.LLAMA)
    with pytest.raises(DeployError, match="begins every conversation"):
        derive_prompt_template(folder)
    adds = {"post_processor": {"type": "TemplateProcessing", "special_tokens": {"<s>": {"id": "<s>"}}}}
    (folder / "tokenizer.json").write_text(json.dumps(adds), encoding="utf-8")
    assert derive_prompt_template(folder)["user"].startswith("<|start_header_id|>user")


def test_the_tutorials_template_is_refused_for_its_missing_newline(make_folder: MakeFolder) -> None:
    with pytest.raises(DeployError, match="a single question: the assistant turn opens without its newline"):
        check_prompt_template(make_folder(templates.CHATML), TUTORIAL)


def test_with_that_newline_mended_its_unclosed_turns_are_next(make_folder: MakeFolder) -> None:
    mended = TUTORIAL | {"prompt": TUTORIAL["prompt"] + "\n"}
    with pytest.raises(
        DeployError, match=r"a question with a system prompt: after .*<\|im_end\|>'.*without the newline"
    ):
        check_prompt_template(make_folder(templates.CHATML), mended)


@pytest.mark.parametrize(
    ("role", "text", "complaint"),
    [
        ("system", "<|im_start|>system\n{Content}\n<|im_end|>\n", "a question with a system prompt: after"),
        ("assistant", "<|im_start|>assistant{Content}<|im_end|>\n", "assistant turn opens without its newline"),
        ("assistant", "<|im_start|>model\n{Content}<|im_end|>\n", "'model' in place of 'assistant'"),
        ("prompt", "<|im_start|>user\n{Content}<|im_end|>\n", "the assistant turn is not opened"),
        (
            "prompt",
            "<s><|im_start|>user\n{Content}<|im_end|>\n<|im_start|>assistant\n",
            "at the beginning, '<s>' is added",
        ),
        ("user", "{Content}", "a second question"),
        ("user", "<|im_start|>user\n<|im_end|>\n", "must contain {Content} exactly once"),
        ("user", "{Content}{Content}", "must contain {Content} exactly once"),
        ("user", None, "must contain {Content} exactly once"),
    ],
)
def test_a_planted_fault_in_one_string_is_found(role: str, text: str, complaint: str, make_folder: MakeFolder) -> None:
    folder = make_folder(templates.CHATML)
    template: dict[str, Any] = derive_prompt_template(folder) | {role: text}
    with pytest.raises(DeployError) as refused:
        check_prompt_template(folder, template)
    assert complaint in str(refused.value)


@pytest.mark.parametrize("role", ["system", "user", "assistant", "prompt"])
def test_a_missing_string_is_named(role: str, make_folder: MakeFolder) -> None:
    folder = make_folder(templates.CHATML)
    template = derive_prompt_template(folder)
    del template[role]
    with pytest.raises(DeployError, match=f"no '{role}'"):
        check_prompt_template(folder, template)


def test_a_conversation_that_the_assistant_ends_cannot_be_rendered() -> None:
    with pytest.raises(DeployError, match="end a conversation with the user"):
        render_prompt(TUTORIAL, DIALOGUE[:2])
    with pytest.raises(DeployError, match="end a conversation with the user"):
        render_prompt(TUTORIAL, [])


def test_words_that_look_like_a_placeholder_stay_words() -> None:
    assert (
        render_prompt({"user": "", "prompt": "<{Content}>"}, [{"role": "user", "content": "{Content}"}])
        == "<{Content}>"
    )


@pytest.mark.parametrize(
    "inline",
    [templates.CHATML, [{"name": "rag", "template": "x"}, {"name": "default", "template": templates.CHATML}]],
)
def test_the_template_may_stand_in_the_tokenizer_config(inline: Any, make_folder: MakeFolder) -> None:
    folder = make_folder(None, inline=inline)
    assert render_chat_template(folder, QUESTION).endswith("<|im_start|>assistant\n")


def test_lines_of_nothing_but_a_block_leave_no_line(make_folder: MakeFolder) -> None:
    folder = make_folder("{% for m in messages %}\n  {% if m.content %}\n{{ m.content }}\n  {% endif %}\n{% endfor %}")
    assert render_chat_template(folder, QUESTION) == "What is E4?\n"


def test_special_tokens_may_be_objects(make_folder: MakeFolder) -> None:
    folder = make_folder("{{ bos_token }}{{ pad_token }}", bos_token={"content": "<b>"}, pad_token=None)
    assert render_chat_template(folder, QUESTION) == "<b>"


def test_json_in_a_template_keeps_its_letters(make_folder: MakeFolder) -> None:
    folder = make_folder("{{ messages[0] | tojson }}")
    assert render_chat_template(folder, [{"role": "user", "content": "é<"}]) == '{"role": "user", "content": "é<"}'


@pytest.mark.parametrize(
    ("template", "complaint"),
    [
        (None, "no chat template"),
        ("{% for m in %}", "not valid Jinja"),
        ("{{ raise_exception('roles must alternate') }}", "roles must alternate"),
        ("{{ messages.append(1) }}", "refused the conversation"),
        ("{{ ''.__class__.__mro__ }}", "refused the conversation"),
        ("{{ messages[0].content + 1 }}", "refused the conversation"),
    ],
)
def test_a_broken_or_hostile_chat_template_is_an_error_of_ours(
    template: str | None, complaint: str, make_folder: MakeFolder
) -> None:
    with pytest.raises(DeployError, match=complaint):
        render_chat_template(make_folder(template), QUESTION)


def test_inference_model_json_says_what_foundry_reads_and_more(make_folder: MakeFolder) -> None:
    folder = make_folder(templates.CHATML)
    file = write_inference_model(folder, "demo-int4", prompt_template=derive_prompt_template(folder))
    content = json.loads(file.read_text(encoding="utf-8"))
    assert list(content) == ["Name", "Description", "Version", "PromptTemplate", "ModelConfig"]
    assert content["Name"] == "demo-int4"
    assert content["ModelConfig"] == {"max_length": 2048, "temperature": 0.7}
    assert shipped_prompt_template(folder) == derive_prompt_template(folder)


def test_it_replaces_a_hard_linked_file_and_leaves_the_other_name_alone(make_folder: MakeFolder) -> None:
    folder = make_folder(templates.CHATML)
    original = folder / "original.json"
    original.write_text("{}", encoding="utf-8")
    (folder / "inference_model.json").hardlink_to(original)
    write_inference_model(folder, "demo", prompt_template=None)
    assert original.read_text(encoding="utf-8") == "{}"
    assert shipped_prompt_template(folder) is None


@pytest.mark.parametrize("content", ["{", "[]", '{"PromptTemplate": "x"}'])
def test_a_broken_shipped_file_is_an_error_of_ours(content: str, make_folder: MakeFolder) -> None:
    folder = make_folder(templates.CHATML)
    (folder / "inference_model.json").write_text(content, encoding="utf-8")
    with pytest.raises(DeployError, match=r"inference_model\.json"):
        shipped_prompt_template(folder)
