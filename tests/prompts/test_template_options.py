"""Options of a chat template are set in the template itself, so that every engine renders them."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from pydantic import ValidationError

from harness.config.settings import PromptSettings
from harness.errors import ConfigError
from harness.prompts.chat_template import ChatTemplate
from harness.prompts.template_files import find_templates
from harness.prompts.template_options import require_known, set_options, write_options
from harness.runtime.genai import GenaiSession

TEMPLATE = (
    "{%- for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{{- '<|im_start|>assistant\n' }}"
    "{%- if enable_thinking is defined and enable_thinking is false %}{{ '<think></think>' }}{% endif %}"
)
MESSAGES = [{"role": "user", "content": "hi"}]
PLAIN = "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")
    settings = {"chat_template": TEMPLATE, "eos_token": "<|im_end|>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("value", "rendered"),
    [(False, "no"), (True, "yes"), (3, "3"), (0.5, "0.5"), ("low", "low")],
)
def test_values_of_every_kind_reach_the_template(tmp_path: Path, value: object, rendered: str) -> None:
    template = "{{ 'no' if x is false else 'yes' if x is true else x }}"
    (tmp_path / "chat_template.jinja").write_text(set_options(template, {"x": value}), encoding="utf-8")
    assert ChatTemplate(tmp_path).render(MESSAGES) == rendered


def test_every_template_of_a_folder_gets_them_and_linked_files_stay_as_they_are(folder: Path, tmp_path: Path) -> None:
    linked = tmp_path / "linked"
    linked.mkdir()
    for file in ("chat_template.jinja", "tokenizer_config.json"):
        os.link(folder / file, linked / file)
    write_options(linked, {"enable_thinking": False})
    assert ChatTemplate(linked).render(MESSAGES) == PLAIN + "<think></think>"
    assert ChatTemplate(folder).render(MESSAGES) == PLAIN
    assert len({found.text for found in find_templates(linked)}) == 1
    assert json.loads((linked / "tokenizer_config.json").read_text())["eos_token"] == "<|im_end|>"


def test_an_option_that_the_template_never_asks_for_is_an_error(folder: Path) -> None:
    require_known(folder, {"enable_thinking": True})
    with pytest.raises(ConfigError, match="knows no option 'enable_thinkin_'"):
        require_known(folder, {"enable_thinkin_": True})


@pytest.mark.parametrize("options", [{"a b": 1}, {"1a": 1}, {"x": 'a"b'}, {"x": "a\\b"}, {"x": "\n"}, {"x": None}])
def test_what_could_say_something_else_in_a_template_is_no_option(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        PromptSettings.model_validate({"template_options": options})


@pytest.mark.toolchain
def test_the_runtime_renders_them(demo_artifact: Path, folder: Path, tmp_path: Path) -> None:
    model = Path(shutil.copytree(demo_artifact, tmp_path / "model"))
    (model / "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")
    write_options(model, {"enable_thinking": False})
    session = GenaiSession(model)
    assert session.render(MESSAGES) == PLAIN + "<think></think>" == ChatTemplate(model).render(MESSAGES)
    session.close()
