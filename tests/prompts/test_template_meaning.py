"""Whether a template does what another does, word for word, whatever its comments and line breaks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.prompts.chat_template import asked_names, means_the_same, special_tokens

TEMPLATE = (
    "{%- for m in messages -%}{{ '<|' + m.role + '|>' + m.content }}{%- endfor -%}"
    "{%- if enable_thinking is defined and not enable_thinking -%}{{ '<none>' }}{%- endif -%}"
    "{%- if add_generation_prompt -%}{{ bos_token }}{%- endif -%}"
)

SAME = {
    "itself": TEMPLATE,
    "a comment": "{# made by hand #}" + TEMPLATE,
    "a comment within": TEMPLATE.replace("{{ bos_token", "{# which it has #}{{ bos_token"),
    "blocks on lines": TEMPLATE.replace("-%}{%-", "-%}\n   {%-"),
    "a line break that is not rendered": TEMPLATE + "\n",
    "other quotes": TEMPLATE.replace("'<none>'", '"<none>"'),
    "no spaces": TEMPLATE.replace("{{ bos_token }}", "{{bos_token}}"),
    "an option in front": "{% set enable_thinking = false %}" + TEMPLATE,
}

OTHER = {
    "a space": TEMPLATE.replace("'|>'", "'|> '"),
    "words in front": "<s>" + TEMPLATE,
    "an option that it does not ask for": "{% set enable_thinkin = false %}" + TEMPLATE,
    "no turn to answer in": "{% set add_generation_prompt = false %}" + TEMPLATE,
    "another first token": "{% set bos_token = 'x' %}" + TEMPLATE,
    "no conversation": "{% set messages = '' %}" + TEMPLATE,
    "an option that is computed": "{% set enable_thinking = messages[0].content == 'x' %}" + TEMPLATE,
    "an option that is set later": TEMPLATE + "{% set enable_thinking = false %}",
    "words of one question": TEMPLATE.replace("m.content", "(m.content if 'E4' not in m.content else 'F1')"),
    "no Jinja": TEMPLATE + "{% endif %}",
}


@pytest.mark.parametrize("name", SAME)
def test_what_renders_alike_is_the_same(name: str) -> None:
    assert means_the_same(SAME[name], TEMPLATE)


@pytest.mark.parametrize("name", OTHER)
def test_what_renders_otherwise_anywhere_is_another_one(name: str) -> None:
    assert not means_the_same(OTHER[name], TEMPLATE)


def test_two_templates_that_are_no_jinja_are_compared_as_they_are() -> None:
    assert means_the_same("{% endif %}", "{% endif %}")
    assert not means_the_same("{% endif %}", "{% endfor %}")


def test_what_a_template_asks_for_is_known(tmp_path: Path) -> None:
    assert asked_names(TEMPLATE) == {"messages", "enable_thinking", "add_generation_prompt", "bos_token"}
    assert asked_names("{% endif %}") == set()
    tokens = {"bos_token": {"content": "<s>"}, "eos_token": "</s>", "pad_token": None}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(tokens), encoding="utf-8")
    assert special_tokens(tmp_path) == {"bos_token": "<s>", "eos_token": "</s>"}
