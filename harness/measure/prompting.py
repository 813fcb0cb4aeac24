"""Whether the variant is prompted as the source model is, by every way to prompt it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from harness.measure.criteria import without_differences
from harness.metrics.measurement import Measured
from harness.pack.schema import DomainPack
from harness.prompts.conversations import EncodedPrompt
from harness.prompts.difference import template_differences
from harness.prompts.parity import PromptWays, parity_faults
from harness.prompts.served_prompt import Render, served_prompt_difference


def measure_prompt_match(render: Render, artifact: Path, pack: DomainPack, expected: Mapping[str, str]) -> Measured:
    """Whether the artifact's prompts are the source model's.

    The pack's questions are compared with what the source model's template makes of them; conversations with a
    system turn and several turns with what real Jinja makes of the artifact's template, as the runtime has its own.

    Args:
        render: the prompt that the runtime makes of a conversation.
        artifact: the variant's folder.
        pack: the questions.
        expected: the source model's prompts by case id.

    Raises:
        DeployError: the artifact has no chat template, or a broken one.
    """
    differences = list(_differences(render, artifact, pack, expected))
    return Measured(measurement=without_differences("prompt_matches_source", differences))


def _differences(render: Render, artifact: Path, pack: DomainPack, expected: Mapping[str, str]) -> Iterator[str]:
    for case in pack.cases:
        difference = template_differences(expected[case.id], render(pack.conversation(case.messages)))
        if difference:
            yield f"{case.id}: {difference}"
    served = served_prompt_difference(artifact, render)
    if served:
        yield served


def measure_prompt_parity(ways: PromptWays, expected: Mapping[str, EncodedPrompt | None]) -> Measured:
    """Whether transformers, onnxruntime-genai, PromptTemplate and Foundry Local prompt alike, token by token."""
    differences = list(parity_faults(ways, expected))
    return Measured(measurement=without_differences("prompt_tokens_match", differences))
