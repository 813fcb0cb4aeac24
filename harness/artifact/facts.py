"""The properties of a converted model, its precision among them, and how they differ from the requested ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from harness.recipes.olive_file import WHOLE_ROW
from harness.recipes.recipe import Recipe
from harness.source.source import Source

_MIXED_ALGORITHMS = ("k_quant", "k_quant_mixed", "k_quant_last", "rtn_last")
_FLOAT_OF_PRECISION = {"int4": "float32", "int8": "float32", "fp16": "float16", "fp32": "float32"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactFacts:
    """Properties read from the graph and `genai_config.json` of an artifact."""

    model_file: str
    """Name of the ONNX file."""

    op_counts: Mapping[str, int]
    """How often each operator occurs."""

    weights_per_bits: Mapping[int, int]
    """Number of matrix weights stored with so many bits."""

    block_sizes: tuple[int, ...]
    """Block sizes of the quantised matrices."""

    blocks_per_row: tuple[int, ...]
    """Blocks in a row of the quantised matrices."""

    symmetries: tuple[bool, ...]
    """(True,) all symmetric, (False,) all with zero points, both where mixed, empty where nothing is quantised."""

    accuracy_levels: tuple[int, ...]
    """Accuracy levels of the quantised matrices; 0 where none is set."""

    weight_bytes: Mapping[str, int]
    """Bytes of stored tensors for each element type."""

    bytes_per_weight: float | None
    """Storage of the matrices, scales and zero points included, for each weight; None without matrices."""

    embedding_type: str | None
    """What the embedding's rows are stored as (`float32`, `int4`); None if the graph has no embedding."""

    head_type: str | None
    """The same for the matrix that makes the logits; None where no stored matrix does."""

    inputs: Mapping[str, str]
    """Element type of each graph input."""

    outputs: Mapping[str, str]
    """Element type of each graph output."""

    has_shared_embeddings: bool
    """Whether embedding and output head read the same stored tensor."""

    model_type: str
    """Model family for onnxruntime-genai."""

    context_length: int | None
    """Prompt and answer together, in tokens."""

    vocabulary_size: int | None
    """Size of the logits."""

    eos_token_ids: tuple[int, ...]
    """Tokens that end an answer."""

    providers: tuple[str, ...]
    """Execution providers that the config asks for; empty means CPU."""

    search: Mapping[str, Any]
    """Default search options."""

    @property
    def cast_count(self) -> int:
        """Number of Cast nodes; many of them make fp16 slow on CPU."""
        return self.op_counts.get("Cast", 0)

    @property
    def logits_type(self) -> str | None:
        """Element type of `logits`; None where the graph has no such output."""
        return self.outputs.get("logits")

    @property
    def cache_types(self) -> tuple[str, ...]:
        """Element types of the key-value cache."""
        return tuple(sorted({kind for name, kind in self.outputs.items() if name.startswith("present")}))

    def as_dict(self) -> dict[str, Any]:
        """The facts as plain JSON values."""
        plain = asdict(self)
        plain["weights_per_bits"] = {str(bits): count for bits, count in self.weights_per_bits.items()}
        return plain


def precision_of(facts: ArtifactFacts) -> str:
    """`int4`, `int8`, `fp16` or `fp32` by what most matrix weights are stored in; `unknown` without matrices."""
    if not facts.weights_per_bits:
        return "unknown"
    bits = max(facts.weights_per_bits, key=lambda key: facts.weights_per_bits[key])
    return {4: "int4", 8: "int8", 16: "fp16", 32: "fp32"}.get(bits, f"{bits}-bit")


def discrepancies(facts: ArtifactFacts, asked: Recipe, *, is_adopted: bool = False) -> list[str]:
    """One sentence for each option that differs between recipe and artifact.

    Only options that `asked` sets are compared; `Recipe.resolved` sets the defaults too. In a folder that was converted
    elsewhere, the float types of inputs and outputs, and the provider, may be any.
    """
    found = precision_of(facts)
    if found != asked.precision:
        return [f"precision: asked {asked.precision}, the graph's matrices are {found} ({_storage(facts)})"]
    problems = [*_width_problems(facts, asked, is_adopted), *_size_problems(facts), *_name_problems(facts)]
    if asked.olive_config is None and not is_adopted:
        problems.extend(_type_problems(facts, asked))
    if asked.block_size == WHOLE_ROW:
        if facts.blocks_per_row != (1,):
            blocks = _listed(facts.blocks_per_row)
            problems.append(f"block_size: asked one block for each row, the graph has rows of {blocks} blocks")
    elif asked.block_size is not None and facts.block_sizes != (asked.block_size,):
        problems.append(f"block_size: asked {asked.block_size}, the graph has {_listed(facts.block_sizes)}")
    if asked.symmetric is not None and facts.symmetries != (asked.symmetric,):
        problems.append(f"symmetric: asked {str(asked.symmetric).lower()}, {_symmetry_sentence(facts.symmetries)}")
    if asked.accuracy_level is not None and facts.accuracy_levels != (asked.accuracy_level,):
        problems.append(f"accuracy_level: asked {asked.accuracy_level}, the graph has {_listed(facts.accuracy_levels)}")
    if not is_adopted and not asked.target.matches(facts.providers):
        there = _listed(facts.providers) if facts.providers else "CPU"
        problems.append(f"provider: asked {asked.target.provider}, the config asks for {there}")
    return problems


def differences_from_source(facts: ArtifactFacts, source: Source, *, is_adopted: bool = False) -> list[str]:
    """One sentence for each setting in which the artifact's config is not the source model's.

    A folder that was converted elsewhere may have a shorter context on purpose.
    """
    problems = []
    if set(source.eos_token_ids) and set(facts.eos_token_ids) != set(source.eos_token_ids):
        ours, theirs = _listed(sorted(facts.eos_token_ids)), _listed(sorted(source.eos_token_ids))
        problems.append(f"end of sequence: the source ends at {theirs}, genai_config.json at {ours}")
    if facts.vocabulary_size != source.vocabulary_size:
        problems.append(f"vocabulary: the source has {source.vocabulary_size}, the config {facts.vocabulary_size}")
    is_shortened = is_adopted and (facts.context_length or 0) < (source.context_length or 0)
    if source.context_length is not None and facts.context_length != source.context_length and not is_shortened:
        problems.append(f"context: the source has {source.context_length}, the config {facts.context_length}")
    return problems


def _width_problems(facts: ArtifactFacts, asked: Recipe, is_adopted: bool) -> list[str]:
    bits = {"int4": 4, "int8": 8, "fp16": 16, "fp32": 32}[asked.precision]
    is_free = is_adopted or asked.olive_config is not None or asked.algorithm in _MIXED_ALGORITHMS
    tolerated = {bits, 8} if is_free else {bits}
    strays = {width: count for width, count in facts.weights_per_bits.items() if width not in tolerated}
    if not strays:
        return []
    total = sum(facts.weights_per_bits.values())
    told = ", ".join(f"{100 * count / total:.0f} % in {width} bits" for width, count in sorted(strays.items()))
    return [f"bits: asked {bits} for every matrix, the graph has {told}"]


def _size_problems(facts: ArtifactFacts) -> list[str]:
    """A block may take its bits, a float32 scale and a byte of zero point, and no more."""
    if facts.bytes_per_weight is None:
        return []
    weights = sum(facts.weights_per_bits.values())
    least = sum(bits * count for bits, count in facts.weights_per_bits.items()) / 8 / weights
    is_quantized = min(facts.weights_per_bits) <= 8
    most = least + (5 / min(facts.block_sizes, default=16) if is_quantized else 0)
    rounding = 1e-9
    if least - rounding <= facts.bytes_per_weight <= most + rounding:
        return []
    return [f"size: {_storage(facts)}, where {least:.3g} to {most:.3g} would do"]


def _name_problems(facts: ArtifactFacts) -> list[str]:
    if facts.logits_type is not None:
        return []
    names = [name for name in facts.outputs if not name.startswith("present")]
    return [f"output: the runtime reads `logits`, the graph calls it {_listed(names)}"]


def _type_problems(facts: ArtifactFacts, asked: Recipe) -> list[str]:
    problems = []
    expected = _FLOAT_OF_PRECISION[asked.precision]
    if facts.logits_type not in (None, expected):
        problems.append(f"logits type: {asked.precision} has {expected}, the graph has {facts.logits_type}")
    if facts.cache_types != (expected,):
        problems.append(
            f"key-value cache: {asked.precision} has {expected}, the graph has {_listed(facts.cache_types)}"
        )
    return problems


def _storage(facts: ArtifactFacts) -> str:
    if facts.bytes_per_weight is None:
        return "no matrix was found in it"
    return f"{facts.bytes_per_weight:.2f} bytes for each weight"


def _symmetry_sentence(symmetries: tuple[bool, ...]) -> str:
    if not symmetries:
        return "nothing is quantised"
    if len(symmetries) > 1:
        return "some matrices have zero points and some have none"
    return "the graph has no zero points" if symmetries[0] else "the graph has zero points"


def _listed(values: object) -> str:
    items = [str(value) for value in values] if isinstance(values, (tuple, list)) else [str(values)]
    return ", ".join(items) if items else "none"
