"""The source model: located, validated and hashed before anything expensive starts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.errors import SourceError
from harness.prompts.template_files import find_templates, template_conflict
from harness.source.ends import configured_ends, end_remark, require_ends
from harness.source.hub import find_snapshot, is_hub_id, not_downloaded
from harness.source.weights import Weights, find_weights, has_weights, require_finite, stored_types
from harness.system.hashing import digest_files

TOKENIZER_FILES = (
    "tokenizer*", "vocab.*", "merges.txt", "special_tokens_map.json", "added_tokens.json", "chat_template*"
)  # fmt: skip
"""Files of a tokenizer and its chat template, in source models and in artifacts."""

ADAPTER_SETTINGS = "adapter_config.json"
"""What tells the folder of a LoRA adapter."""

_SMALL_FILES = ("config.json", "generation_config.json", *TOKENIZER_FILES)
_HALF = ("bfloat16", "float16")
_SAVE_AGAIN = "save model and tokenizer again with save_pretrained(folder)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A fine-tuned model in Hugging Face's layout that passed every check that needs no torch."""

    spec: str
    """What the user asked for: a folder or a hub id."""

    path: Path
    """The folder that holds the model."""

    architecture: str
    """Class name in transformers: `Qwen2ForCausalLM`."""

    model_type: str
    """Family in transformers: `qwen2`."""

    context_length: int | None
    """Largest prompt plus answer in tokens; None where the config does not say."""

    vocabulary_size: int
    """Rows of the embedding."""

    eos_token_ids: tuple[int, ...]
    """Tokens that end an answer, by the generation config, or else by the config; empty for a base where none says."""

    has_tied_embeddings: bool
    """Whether input embedding and output head are one matrix."""

    parameter_count: int | None
    """Number of stored weights; None for pickled ones."""

    input_widths: tuple[int, ...]
    """Input sizes of the matrices; quantisation groups must divide them."""

    size_bytes: int
    """Size of the weight files."""

    trust_remote_code: bool
    """Whether the user allowed the model's own Python code to run."""

    digest: str
    """SHA-256 over every file that shapes the model's answers."""

    has_weights: bool = True
    """Whether the weights are here; False for a model that is known by its reference bundle only."""

    state: Mapping[Path, tuple[int, ...]] = field(compare=False, repr=False)
    """Size, modification time and inode of each of these files when they were hashed."""

    remarks: tuple[str, ...] = field(default=(), compare=False)
    """Warnings for the user, one sentence each: the model can be used, but may not be what the user intends."""

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values for records and manifests."""
        return {
            "spec": self.spec,
            "architecture": self.architecture,
            "digest": self.digest,
            "remarks": list(self.remarks),
        }

    def require_weights(self, what: str) -> None:
        """Raise if the weights are not here; `what` they are needed for.

        Raises:
            SourceError: the model is known by its reference bundle only.
        """
        if not self.has_weights:
            raise SourceError(
                f"{what} needs the source model, of which only a reference bundle is here",
                where=self.spec,
                next_step="run the gate without --reference where the model is",
            )

    def require_stated_type(self) -> None:
        """Raise if transformers, and with it every converter, would round the weights when it reads them.

        Raises:
            SourceError: the config states a smaller type than the stored one.
        """
        config = read_json(self.path / "config.json")
        stated = str(config.get("dtype") or config.get("torch_dtype"))
        counts = stored_types(find_weights(self.path, allow_pickle=True))
        if stated in _HALF and counts["F32"] + counts["F64"] > counts.total() / 2:
            raise SourceError(
                f"config.json says dtype {stated}, and the weights are stored in float32: they would be rounded first",
                where=str(self.path / "config.json"),
                next_step='write "dtype": "float32" there, or save the model in the intended type',
            )

    def require_unchanged(self) -> None:
        """Raise if a file changed since it was hashed: results would be cached under the digest of its former content.

        Raises:
            SourceError: names the file.
        """
        now = _state(self.state)
        changed = [file for file in self.state if now[file] != self.state[file]]
        if changed:
            raise SourceError(
                "the model changed while it was read, so nothing that was made of it is kept",
                where=str(changed[0]),
                next_step="wait until it is written (is it still being trained?), and start again",
            )


def resolve_source(
    spec: str, *, allow_pickle: bool = False, trust_remote_code: bool = False, is_base: bool = False
) -> Source:
    """Check a folder, or the downloaded copy of a hub id, without torch or network.

    With `is_base` the model needs no chat template and no end-of-sequence tokens: it is only merged into or compared
    with.

    Raises:
        SourceError: names the first fault that makes the model unusable.
    """
    folder = locate(spec)
    if folder is None:
        raise not_downloaded(spec)
    config = _read_config(folder)
    architecture = _architecture(folder, config)
    _refuse_remote_code(folder, config, trust_remote_code)
    _refuse_quantized(folder, config, is_base=is_base)
    weights = find_weights(folder, allow_pickle=allow_pickle)
    require_finite(weights)
    vocabulary_size = _vocabulary_size(folder, config, weights)
    _check_tokenizer(folder, vocabulary_size)
    if not is_base:
        _check_chat_template(folder)
        require_ends(folder)
    relevant = _relevant(folder, weights, trust_remote_code)
    state = _state(relevant)
    return Source(
        spec=spec,
        path=folder,
        architecture=architecture,
        model_type=str(config.get("model_type", "")),
        context_length=_positive(config.get("max_position_embeddings")),
        vocabulary_size=vocabulary_size,
        eos_token_ids=configured_ends(folder).ids,
        has_tied_embeddings=config.get("tie_word_embeddings") is True,
        parameter_count=weights.parameter_count,
        input_widths=weights.input_widths,
        size_bytes=weights.size_bytes,
        trust_remote_code=trust_remote_code,
        digest=digest_files(folder, relevant),
        state=state,
        remarks=() if is_base else tuple(_remarks(folder)),
    )


def locate(spec: str) -> Path | None:
    """The folder of `spec`; None for a hub id without a copy on this machine.

    Raises:
        SourceError: `spec` is neither a folder nor shaped like a hub id.
    """
    folder = named_folder(spec)
    if folder.is_dir():
        return folder.resolve()
    if folder.is_file():
        raise SourceError("the model must be a folder, this is a file", where=spec, next_step="give the file's folder")
    if not is_hub_id(spec):
        raise SourceError(
            "there is no such folder, and it is no hub id (organisation/name) either",
            where=spec,
            next_step="give the folder that save_pretrained wrote",
        )
    return find_snapshot(spec)


def named_folder(spec: str) -> Path:
    """`spec` as a path; `~` becomes the home folder if there is such a user."""
    try:
        return Path(spec).expanduser()
    except RuntimeError:
        return Path(spec)


def must_be_obtained(spec: str) -> bool:
    """Whether `spec` must first be downloaded or merged; `obtain_source` does both, `resolve_source` neither."""
    folder = locate(spec)
    return folder is None or is_adapter(folder)


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds a LoRA adapter and no whole model; trainers put its base's config beside it."""
    return (folder / ADAPTER_SETTINGS).is_file() and not has_weights(folder)


def read_json(file: Path) -> dict[str, Any]:
    """The object in a JSON file of the model.

    Raises:
        SourceError: missing, not JSON, or not an object.
        OSError: it cannot be read.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SourceError(f"the model has no {file.name}", where=str(file.parent), next_step=_SAVE_AGAIN) from error
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{file.name} is not valid JSON: {error}", where=str(file), next_step=_SAVE_AGAIN) from error
    if not isinstance(content, dict):
        raise SourceError(f"{file.name} is not a JSON object", where=str(file), next_step=_SAVE_AGAIN)
    return content


def _read_config(folder: Path) -> dict[str, Any]:
    if (folder / "genai_config.json").is_file() and not (folder / "config.json").is_file():
        raise SourceError(
            "this folder holds a model that is already converted, not a source model",
            where=str(folder),
            next_step="give it as a converted variant, and the model it came from as the source",
        )
    if is_adapter(folder):
        raise SourceError(
            "this folder holds a LoRA adapter, not a whole model",
            where=str(folder),
            next_step="name its base: slm-gate convert BASE --adapter ADAPTER",
        )
    return read_json(folder / "config.json")


def _architecture(folder: Path, config: dict[str, Any]) -> str:
    names = config.get("architectures")
    name = names[0] if isinstance(names, list) and names and isinstance(names[0], str) else None
    if name is None or not name.endswith("ForCausalLM"):
        raise SourceError(
            f"the architecture is {name or 'not named'}; only causal language models (...ForCausalLM) can be gated",
            where=str(folder / "config.json"),
            next_step="give a text-generation model",
        )
    return name


def _refuse_remote_code(folder: Path, config: dict[str, Any], trusted: bool) -> None:
    if trusted:
        return
    if config.get("auto_map"):
        where = "config.json"
    elif (folder / "tokenizer_config.json").is_file() and read_json(folder / "tokenizer_config.json").get("auto_map"):
        where = "tokenizer_config.json"
    else:
        return
    raise SourceError(
        "the model brings its own Python code (auto_map), which would run on this machine",
        where=str(folder / where),
        next_step="read that code, then allow it with trust_remote_code",
    )


def _refuse_quantized(folder: Path, config: dict[str, Any], *, is_base: bool) -> None:
    quantization = config.get("quantization_config")
    if quantization:
        method = quantization.get("quant_method", "unknown method") if isinstance(quantization, dict) else "unknown"
        model = "base" if is_base else "source"
        named = "name the base in its training precision: slm-gate convert BASE --adapter ADAPTER"
        raise SourceError(
            f"the {model} is already quantised ({method}), so nothing could be compared with it",
            where=str(folder / "config.json"),
            next_step=named if is_base else "give the model in its training precision",
        )


def _vocabulary_size(folder: Path, config: dict[str, Any], weights: Weights) -> int:
    size = _positive(config.get("vocab_size"))
    if size is None:
        raise SourceError("vocab_size is missing or not a positive number", where=str(folder / "config.json"))
    for name, shape in weights.shapes.items():
        if name.endswith("embed_tokens.weight") and len(shape) == 2 and shape[0] != size:
            raise SourceError(
                f"config.json says vocab_size {size}, but {name} has {shape[0]} rows",
                where=str(folder),
                next_step="save the model again after resize_token_embeddings",
            )
    return size


def _check_tokenizer(folder: Path, vocabulary_size: int) -> None:
    file = folder / "tokenizer.json"
    if not file.is_file():
        if (folder / "tokenizer.model").is_file():
            return
        raise SourceError(
            "the model has no tokenizer (tokenizer.json or tokenizer.model)",
            where=str(folder),
            next_step="tokenizer.save_pretrained(folder)",
        )
    content = read_json(file)
    ids = [entry.get("id", -1) for entry in content.get("added_tokens") or [] if isinstance(entry, dict)]
    model = content.get("model")
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    if not vocabulary:
        raise SourceError(
            "tokenizer.json holds no vocabulary", where=str(file), next_step="tokenizer.save_pretrained(folder)"
        )
    if isinstance(vocabulary, dict):
        ids.extend(vocabulary.values())
    largest = max((i for i in ids if isinstance(i, int)), default=-1)
    if largest >= vocabulary_size:
        raise SourceError(
            f"the tokenizer makes token id {largest}, but the model has only {vocabulary_size} embeddings",
            where=str(file),
            next_step="after adding tokens call model.resize_token_embeddings(len(tokenizer)), train, and save again",
        )


def _check_chat_template(folder: Path) -> None:
    if not find_templates(folder):
        raise SourceError(
            "the model has no chat template, so its prompt format is unknown",
            where=str(folder),
            next_step="put the template used in training into chat_template.jinja",
        )


def _remarks(folder: Path) -> Iterator[str]:
    if (folder / ADAPTER_SETTINGS).is_file():
        yield f"{ADAPTER_SETTINGS} lies beside the weights of a whole model: the weights are used, no adapter is merged"
    conflict = template_conflict(folder)
    if conflict:
        yield f"{conflict}; the first of them is used: keep the one that the model was tuned with"
    remark = end_remark(folder)
    if remark:
        yield remark


def _relevant(folder: Path, weights: Weights, trust_remote_code: bool) -> list[Path]:
    patterns = (*_SMALL_FILES, "*.py") if trust_remote_code else _SMALL_FILES
    small = [file for pattern in patterns for file in folder.glob(pattern) if file.is_file()]
    return [*small, *weights.files]


def _state(files: Iterable[Path]) -> dict[Path, tuple[int, ...]]:
    return {file: _state_of(file) for file in files}


def _state_of(file: Path) -> tuple[int, ...]:
    try:
        found = file.stat()
    except FileNotFoundError:
        return ()
    return (found.st_size, found.st_mtime_ns, found.st_ino)


def _positive(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
