"""The prompts of a domain's own conversations: what transformers makes of them, and what the runtime does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from harness.errors import InvalidPromptError
from harness.measure.criteria import without_differences
from harness.metrics.measurement import Measured, Measurement
from harness.pack.choose import spread
from harness.pack.schema import DomainPack
from harness.prompts.chat_template import ChatTemplate
from harness.prompts.conversations import EncodedPrompt, parity_conversations
from harness.prompts.parity import DomainPrompt, PromptWays, prompt_parity
from harness.prompts.rendering import PromptDeviation, describe_deviations, prompt_deviation
from harness.runtime.session import Message

Render = Callable[[Sequence[Message]], str]
"""The prompt that a runtime makes of a conversation; an `InvalidPromptError` where it refuses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptDeviations:
    """Conversations that the runtime renders otherwise than transformers."""

    of_domain: tuple[PromptDeviation, ...]
    """These decide."""

    builtin: tuple[PromptDeviation, ...]
    """These inform."""

    def measurement(self) -> Measurement:
        """The criterion `prompt_matches_source`, with what decides and what informs as its details."""
        told = []
        if self.of_domain:
            told.append(f"{len(self.of_domain)} of the domain's: {describe_deviations(self.of_domain)}")
        if self.builtin:
            told.append(f"{len(self.builtin)} built-in ones, which only inform: {describe_deviations(self.builtin)}")
        found = without_differences("prompt_matches_source", [one.what for one in self.of_domain])
        return Measurement(
            estimates=found.estimates, details={"prompt_matches_source": "\n".join(told)} if told else {}
        )


def measure_prompt_match(
    render: Render,
    artifact: Path,
    pack: DomainPack,
    expected: Mapping[str, str],
    builtin: Mapping[str, EncodedPrompt | None],
) -> Measured:
    """Whether the runtime renders every case as the source model's chat template does; built-in conversations inform.

    Args:
        render: the prompt that the runtime makes of a conversation.
        artifact: the variant's folder.
        pack: the questions.
        expected: the source model's prompts by case id.
        builtin: its prompts of the built-in conversations, by name; None where it refuses one.

    Raises:
        DeployError: the artifact has no chat template, or a broken one.
    """
    chat = ChatTemplate(artifact)
    cases = ((case.id, pack.conversation(case.messages), expected[case.id]) for case in pack.cases)
    further = (
        (name, messages, prompt.text)
        for name, messages in parity_conversations()
        if (prompt := builtin.get(name)) is not None
    )
    found = PromptDeviations(of_domain=_deviations(render, cases, chat), builtin=_deviations(render, further, chat))
    told = [asdict(one) for one in (*found.of_domain, *found.builtin)]
    return Measured(measurement=found.measurement(), details={"prompt_deviations": told})


def measure_prompt_parity(
    ways: PromptWays, domain: Mapping[str, DomainPrompt], builtin: Mapping[str, EncodedPrompt | None]
) -> Measured:
    """Whether every way prompts the domain's conversations alike, token by token; the built-in ones inform."""
    found = prompt_parity(ways, domain, builtin)
    return Measured(
        measurement=without_differences("prompt_tokens_match", found.faults), details={"prompting": asdict(found)}
    )


def domain_prompts(pack: DomainPack, encoded: Mapping[str, EncodedPrompt], count: int) -> dict[str, DomainPrompt]:
    """Up to `count` of the domain's conversations, spread over its cases, with the source model's prompts by case."""
    return {
        case.id: DomainPrompt(messages=pack.conversation(case.messages), prompt=encoded[case.id])
        for case in spread(pack.cases, count)
    }


def _deviations(
    render: Render, asked: Iterable[tuple[str, Sequence[Message], str]], chat: ChatTemplate
) -> tuple[PromptDeviation, ...]:
    found = (
        prompt_deviation(name, expected, _rendered(render, messages), messages, chat)
        for name, messages, expected in asked
    )
    return tuple(one for one in found if one is not None)


def _rendered(render: Render, messages: Sequence[Message]) -> str | None:
    try:
        return render(messages)
    except InvalidPromptError:
        return None
