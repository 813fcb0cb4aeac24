"""What the record keeps of a variant beside its numbers: facts of the graph, tables, steps; each of a stated shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel, ConfigDict

from harness.artifact.facts import ArtifactFacts
from harness.config.diagnosis import did_you_mean
from harness.foundry.cache_route import CacheRouteAnswer
from harness.measure.activations import ActivationCost
from harness.measure.latency import LatencyRow
from harness.measure.wrong_answers import WrongAnswers
from harness.prompts.rendering import PromptDeviation
from harness.stats.estimate import Estimate
from harness.verify.fidelity import Fidelity
from harness.verify.probes import ProbeComparison
from harness.verify.tokenizer import CategoryCount


class _Details(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TargetDetails(_Details):
    """What a variant runs on; any names, as another version may know more of them."""

    provider: str
    """As ONNX Runtime spells it: `CPUExecutionProvider`."""

    device: str


class RecipeDetails(_Details):
    """What a variant was asked to be, defaults written out."""

    name: str
    """A built-in precision, or the path of an Olive file."""

    precision: str
    backend: str = "olive"
    target: TargetDetails | None = None
    """What it was made for; None in the oldest records."""

    block_size: int | None = None
    """Weights that share one scale; -1 for a whole row."""

    symmetric: bool | None = None
    accuracy_level: int | None = None
    algorithm: str | None = None
    olive_config: dict[str, Any] | None = None
    """The content of the user's own Olive file; None for built-in recipes."""


class ConversionDetails(_Details):
    """What the conversion was asked for and what it made."""

    recipe: RecipeDetails
    graph: ArtifactFacts
    digest: str
    """SHA-256 over the names and contents of the artifact's files."""

    conversion_s: float | None = None
    """None for what was converted elsewhere."""

    was_reused: bool
    """The artifact comes from the cache or from elsewhere; its time is that of the run that made it."""


class FidelityDetails(_Details):
    """How far the graph's logits lie from the source's, beside those of its fp32 reference export."""

    variant: Fidelity
    reference_export: Fidelity | None = None
    no_reference_export: str | None = None
    """Why there is none to compare with; None where there is one."""

    probe_comparison: ProbeComparison | None = None
    """What the variant says beside its reference export in many scripts and far into its context."""

    rotary_difference: float | None = None
    """Largest difference between the rotary tables of the two; None where they store none."""


class TokenExample(_Details):
    """One text of the built-in corpus that gets other token ids."""

    cause: str
    shown: str


class TokenizerDetails(_Details):
    """A variant's tokenizer and chat template beside the source's, on the built-in corpus and conversations."""

    file_differences: tuple[str, ...]
    """What tokenizer.json says otherwise."""

    split_controls: tuple[str, ...]
    """Control tokens of the chat template that are not one token in the runtime."""

    refused: int
    """Texts that the runtime cannot tokenise."""

    corpus: dict[str, CategoryCount]
    """Texts with other token ids by category."""

    causes: dict[str, int]
    """The same by likely cause."""

    examples: tuple[TokenExample, ...]
    conversations: int
    deviations: tuple[PromptDeviation, ...]
    """Conversations that the runtime renders otherwise."""

    pipeline: str | None = None
    """Which of two tokenizers the model was trained with; None where its folder describes one."""


class PromptingDetails(_Details):
    """What differs between the ways to prompt a variant."""

    faults: tuple[str, ...]
    """What decides."""

    remarks: tuple[str, ...]
    """What informs."""


class LoadRow(_Details):
    """The web service with one number of clients; None for what no request showed."""

    clients: int
    requests: int
    errors: int
    """Requests without an answer."""

    same: int
    """Answers equal to a single client's."""

    requests_per_second: float | None
    tokens_per_second: float | None
    ttft_p50_s: float | None
    ttft_p95_s: float | None
    itl_p50_s: float | None
    itl_p95_s: float | None
    arrival_per_second: float | None = None
    """Mean rate of requests that came at random; None where clients waited for their answers."""

    goodput_per_second: float | None = None
    """Requests that met the objective."""

    queue_p50_s: float | None = None
    """What of the time to first token was waiting."""

    queue_p95_s: float | None = None
    ttft_p99_s: float | None = None
    itl_p99_s: float | None = None
    tpot_p50_s: float | None = None
    tpot_p95_s: float | None = None


class CacheRouteDetails(_Details):
    """What an older foundry-local-sdk made of the variant in its cache folder."""

    release: str
    name: str
    is_listed: bool
    is_loaded: bool
    is_unloaded: bool
    answers: tuple[CacheRouteAnswer, ...] = ()
    problem: str = ""
    """Why it was not loaded; empty when it was."""


class VariantDetails(_Details):
    """All details of a variant; None for what was not measured."""

    conversion: ConversionDetails | None = None
    fidelity: FidelityDetails | None = None
    tokenizer: TokenizerDetails | None = None
    prompt_deviations: tuple[PromptDeviation, ...] | None = None
    """Conversations, the domain's and the built-in ones, that the runtime renders otherwise than transformers."""

    prompting: PromptingDetails | None = None
    activations: ActivationCost | None = None
    """What of its divergence comes from its weights, and what from rounded activations."""

    exact_match_by_kind: dict[str, Estimate] | None = None
    """Share of right answers by the kind of case."""

    exact_match_by_padding_tokens: dict[int, Estimate] | None = None
    """Share of right answers by tokens of unrelated text in front of the question."""

    source_exact_match_by_padding_tokens: dict[int, Estimate] | None = None
    """The same of the source model."""

    wrong_answers: WrongAnswers | None = None
    """How many answers are not what was asked for, and up to five of them."""

    latency_grid: dict[str, LatencyRow] | None = None
    """Times at every point of the grid, by its name; told point by point."""

    token_remarks: tuple[str, ...] | None = None
    """What only the model's own tokenizer shows of the questions: answers that are cut, padding that comes again."""

    load: tuple[LoadRow, ...] | None = None
    """One row a number of clients."""

    cache_route: CacheRouteDetails | None = None
    unread: dict[str, Any] = {}
    """What another version wrote and this one cannot read, by its name there, as it stood."""


TOLD_IN_PARTS: Final = frozenset({"latency_grid"})
"""Details by name to which a later event adds instead of replacing them."""


def read_details(name: str, value: object) -> Any:
    """The value of one field of `VariantDetails`, from JSON values, mappings or dataclasses.

    Raises:
        ValueError: details have no such name, or the value has not their shape.
    """
    if name not in VariantDetails.model_fields:
        raise ValueError(f"details have no {name!r}{did_you_mean(name, VariantDetails.model_fields)}")
    return getattr(VariantDetails.model_validate({name: value}), name)


def details_of(values: Mapping[str, object]) -> VariantDetails:
    """All details of a variant, whoever wrote them: what this version cannot read is kept as it stands."""
    known: dict[str, object] = {}
    unread: dict[str, object] = {}
    for name, value in values.items():
        if name == "unread" and isinstance(value, Mapping):
            unread.update(value)
            continue
        try:
            known[name] = read_details(name, value)
        except ValueError:
            unread[name] = value
    return VariantDetails.model_validate({**known, "unread": unread})
