"""A prompt that is not the source model's is named by its question."""

from pathlib import Path

import pytest

from harness.errors import DeployError
from harness.measure.prompting import measure_prompt_match
from harness.pack.load import load_pack
from harness.runtime.fake import FakeSession
from tests.measure.healthy import right

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{{ '<|im_start|>assistant\n' }}"  # Jinja drops a newline that ends a template
)


@pytest.fixture
def artifact(tmp_path) -> Path:
    """A folder with the chat template that the fake session renders."""
    folder = tmp_path / "artifact"
    folder.mkdir()
    (folder / "tokenizer_config.json").write_text("{}")
    (folder / "chat_template.jinja").write_text(CHATML)
    return folder


def measure(artifact, pack, render, changed=()):
    session = FakeSession(right)
    prompts = {case.id: session.render(pack.conversation(case.messages)) for case in pack.cases}
    expected = {name: prompt.replace("\n", "") if name in changed else prompt for name, prompt in prompts.items()}
    return measure_prompt_match(render, artifact, pack, expected).measurement


def test_the_same_prompts_are_the_same(artifact, pack_folder):
    found = measure(artifact, load_pack(pack_folder), FakeSession(right).render)
    assert found.estimate("prompt_matches_source").value == 1.0


def test_questions_that_are_prompted_otherwise_are_named(artifact, pack_folder):
    pack = load_pack(pack_folder)
    found = measure(artifact, pack, FakeSession(right).render, changed=[case.id for case in pack.cases])
    assert found.estimate("prompt_matches_source").value == 0.0
    assert [line.split(":")[0] for line in found.details["prompt_matches_source"].splitlines()] == [
        "case-0", "case-1", "case-2",
    ]  # fmt: skip


def test_a_template_that_the_runtime_renders_otherwise_is_told(artifact, pack_folder):
    def forgets_the_system_turn(messages):
        return FakeSession(right).render([turn for turn in messages if turn["role"] != "system"])

    found = measure(artifact, load_pack(pack_folder), forgets_the_system_turn)
    assert found.estimate("prompt_matches_source").value == 0.0
    assert "system prompt" in found.details["prompt_matches_source"]


def test_an_artifact_without_a_template_is_an_error(tmp_path, pack_folder):
    with pytest.raises(DeployError):
        measure(tmp_path, load_pack(pack_folder), FakeSession(right).render)
