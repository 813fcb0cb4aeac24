"""A prompt that is not the source model's is named by its question."""

from pathlib import Path

import pytest

from harness.errors import DeployError, InvalidPromptError
from harness.measure.prompting import domain_prompts, measure_prompt_match
from harness.pack.load import load_pack
from harness.prompts.conversations import EncodedPrompt, parity_conversations
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
    builtin: dict[str, EncodedPrompt | None] = {
        name: EncodedPrompt(text=session.render(messages), ids=()) for name, messages in parity_conversations()
    }
    return measure_prompt_match(render, artifact, pack, expected, builtin)


def test_the_same_prompts_are_the_same(artifact, pack_folder):
    found = measure(artifact, load_pack(pack_folder), FakeSession(right).render)
    assert found.measurement.estimate("prompt_matches_source").value == 1.0
    assert found.measurement.details == {}
    assert found.details["prompt_deviations"] == []


def test_questions_that_are_prompted_otherwise_are_named(artifact, pack_folder):
    pack = load_pack(pack_folder)
    found = measure(artifact, pack, FakeSession(right).render, changed=[case.id for case in pack.cases])
    assert found.measurement.estimate("prompt_matches_source").value == 0.0
    told = found.measurement.details["prompt_matches_source"]
    assert told.startswith(f"{len(pack.cases)} of the domain's: case-0: ")
    assert "case-2: " in told
    assert "the folder's own template" in told  # the runtime renders what stands there
    assert len(found.details["prompt_deviations"]) == len(pack.cases)


def test_a_built_in_conversation_that_is_rendered_otherwise_informs(artifact, pack_folder):
    def forgets_the_system_turn(messages):
        return FakeSession(right).render([turn for turn in messages if turn["role"] != "system"])

    found = measure(artifact, load_pack(pack_folder), forgets_the_system_turn)
    assert found.measurement.estimate("prompt_matches_source").value == 1.0
    assert "which only inform: a question with a system prompt" in found.measurement.details["prompt_matches_source"]
    assert found.details["prompt_deviations"]


def test_what_the_runtime_refuses_of_the_domain_is_a_deviation(artifact, pack_folder):
    def refuses(_messages):
        raise InvalidPromptError("Unknown method: replace")

    found = measure(artifact, load_pack(pack_folder), refuses)
    assert found.measurement.estimate("prompt_matches_source").value == 0.0
    assert "the runtime refuses it" in found.measurement.details["prompt_matches_source"]


def test_an_artifact_without_a_template_is_an_error(tmp_path, pack_folder):
    with pytest.raises(DeployError):
        measure(tmp_path, load_pack(pack_folder), FakeSession(right).render)


def test_the_domains_conversations_are_spread_over_its_cases(pack_folder):
    pack = load_pack(pack_folder)
    encoded = {case.id: EncodedPrompt(text=case.id, ids=(1,)) for case in pack.cases}
    chosen = domain_prompts(pack, encoded, 3)
    assert list(chosen) == ["case-0", "case-3", "case-6"]
    assert chosen["case-3"].prompt.text == "case-3"
    assert chosen["case-3"].messages[-1]["content"] == "part 3?"
