"""The source model's answers and logits for one pack as one file: a device that cannot hold the model judges by it.

A zip archive of plain JSON and of arrays without pickles; it holds the model's small files and none of its weights.
"""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from harness.errors import ConfigError, GateError
from harness.measure.source_answers import SourceAnswers, ask_source, read_source_answers
from harness.pack.schema import DomainPack
from harness.source.reference_logits import ReferenceLogits
from harness.source.reference_session import precision_in_memory
from harness.source.source import TOKENIZER_FILES, Source
from harness.system.hashing import sha256_of
from harness.system.store import build_once
from harness.toolchain.workspace import Workspace

FORMAT: Final = 1
_FACTS: Final = "bundle.json"
_ANSWERS: Final = ("answers.json", "sequences.jsonl", "rows.npz", "nll.npy")
_MODEL: Final = "model"
_AGAIN: Final = "write it again: slm-gate reference MODEL --domain PACK --out FILE"
_OF_SOURCE: Final = (
    "spec", "architecture", "model_type", "context_length", "vocabulary_size", "eos_token_ids", "has_tied_embeddings",
    "parameter_count", "input_widths", "size_bytes", "digest",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleFacts:
    """What a bundle is of."""

    format: int
    source: Mapping[str, Any]
    """Fields of `Source` that need no weights."""

    pack_name: str
    pack_digest: str
    template_options: Mapping[str, Any]
    """Options of the chat template that the prompts were rendered with."""

    precision: str
    """What the model was computed in."""

    versions: Mapping[str, str]
    """Of the packages that computed it."""

    questions: Mapping[str, str]
    """Digests of what the model was asked beside the pack, by the name of the part."""

    made_at: str
    """ISO 8601, UTC."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceBundle:
    """A bundle, unpacked."""

    file: Path
    folder: Path
    """Where it was unpacked."""

    facts: BundleFacts

    @property
    def source(self) -> Source:
        """The model as far as it is known without its weights; a remark says what cannot be proven so."""
        known = {**self.facts.source}
        for name in ("eos_token_ids", "input_widths"):
            known[name] = tuple(known[name])
        told = (
            f"judged by the reference bundle {self.file.name} of {self.facts.made_at}, computed in "
            f"{self.facts.precision}: without the source model no weights were compared with its fp32 export, nor is "
            "known what texts cost that the runtime tokenises otherwise"
        )
        return Source(
            **known, path=self.folder / _MODEL, trust_remote_code=False, has_weights=False, state={}, remarks=(told,)
        )

    def require(self, pack: DomainPack, template_options: Mapping[str, Any], source: Source | None) -> None:
        """Raise if the bundle is of another pack, prompted otherwise, or of another model than a known one.

        Raises:
            ConfigError: says which, and by which digests.
        """
        facts = self.facts
        if pack.digest != facts.pack_digest:
            raise self._unfit(
                f"is of the pack {facts.pack_name} ({facts.pack_digest[:12]}), not of {pack.domain.name} as it is now "
                f"({pack.digest[:12]})"
            )
        if dict(template_options) != dict(facts.template_options):
            raise self._unfit(
                f"was made with template options {dict(facts.template_options)}, and this run has "
                f"{dict(template_options)}"
            )
        if source is not None and source.digest != facts.source["digest"]:
            raise self._unfit(
                f"is of another model ({facts.source['digest'][:12]}) than the one that is configured "
                f"({source.digest[:12]})"
            )

    def answers(self, pack: DomainPack) -> SourceAnswers:
        """The source model's answers and logits on the pack."""
        return read_source_answers(self.folder, pack, was_reused=True)

    def install(self, reference_logits: ReferenceLogits) -> None:
        """Put what the model said beside the pack where the comparisons of graphs and tokenizers look for it."""
        for name, digest in self.facts.questions.items():
            reference_logits.take(name, self.folder / _part_file(name), digest)

    def _unfit(self, what: str) -> ConfigError:
        return ConfigError(f"the reference bundle {what}", where=str(self.file), next_step=_AGAIN)


def make_bundle(source: Source, pack: DomainPack, workspace: Workspace, out: Path) -> None:
    """Ask the source model whatever is not in the cache, and write the bundle.

    Raises:
        GateError: the model cannot be asked.
        OSError: the file cannot be written.
    """
    precision = precision_in_memory(source)
    answers = ask_source(source, pack, workspace)
    logits = ReferenceLogits(source, workspace, with_logits=True)
    logits.ensure()
    results = logits.results()
    facts = BundleFacts(
        format=FORMAT,
        source={name: getattr(source, name) for name in _OF_SOURCE},
        pack_name=pack.domain.name,
        pack_digest=pack.digest,
        template_options=dict(pack.domain.template_options),
        precision=precision,
        versions=dict(workspace.toolchain.versions),
        questions={name: digest for name, (_, digest) in results.items()},
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    parts = {_part_file(name): file for name, (file, _) in results.items()}
    _write(out, facts, {**{name: answers.folder / name for name in _ANSWERS}, **parts, **_small_files(source)})


def open_bundle(file: Path, cache: Path) -> ReferenceBundle:
    """Unpack a bundle into the cache, once.

    Raises:
        ConfigError: it is missing, damaged, or of another version.
    """
    if not file.is_file():
        raise ConfigError("there is no such reference bundle", where=str(file), next_step=_AGAIN)
    folder = cache / "reference-bundles" / sha256_of(file)[:32]

    def unpack(staging: Path) -> Mapping[str, Any]:
        with zipfile.ZipFile(file) as archive:
            for name in archive.namelist():
                if _is_known(name):
                    (staging / name).parent.mkdir(exist_ok=True)
                    with archive.open(name) as content, (staging / name).open("wb") as copy:
                        shutil.copyfileobj(content, copy)
        return {"bundle": str(file)}

    try:
        build_once(folder, unpack)
        facts = BundleFacts(**json.loads((folder / _FACTS).read_text(encoding="utf-8")))
        if facts.format != FORMAT:
            raise ConfigError(
                f"the reference bundle has format {facts.format}, this version reads {FORMAT}",
                where=str(file),
                next_step=_AGAIN,
            )
        bundle = ReferenceBundle(file=file, folder=folder, facts=facts)
        _ = bundle.source
    except GateError:
        raise
    except (zipfile.BadZipFile, OSError, ValueError, TypeError, KeyError) as error:
        raise ConfigError(f"this is no whole reference bundle: {error}", where=str(file), next_step=_AGAIN) from error
    return bundle


def _part_file(name: str) -> str:
    return "tokens.json" if name == "tokens" else f"{name}.npy"


def _is_known(name: str) -> bool:
    """Whether an entry is one that a bundle has; nothing else is written to disk."""
    path = Path(name)
    if path.parent == Path(_MODEL):
        return any(path.match(pattern) for pattern in ("config.json", "generation_config.json", *TOKENIZER_FILES))
    return name in (_FACTS, *_ANSWERS, "tokens.json", "logits.npy")


def _small_files(source: Source) -> dict[str, Path]:
    """Configuration, tokenizer and chat template."""
    patterns = ("config.json", "generation_config.json", *TOKENIZER_FILES)
    found = {file.name: file for pattern in patterns for file in sorted(source.path.glob(pattern)) if file.is_file()}
    return {f"{_MODEL}/{name}": file for name, file in found.items()}


def _write(out: Path, facts: BundleFacts, files: Mapping[str, Path]) -> None:
    """All in one file, complete or not there."""
    out.parent.mkdir(parents=True, exist_ok=True)
    staging = out.with_name(f".{out.name}.staging")
    try:
        with zipfile.ZipFile(staging, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            archive.writestr(_FACTS, json.dumps(asdict(facts), indent=1))
            for name, file in files.items():
                archive.write(file, name)
        staging.replace(out)
    finally:
        staging.unlink(missing_ok=True)
