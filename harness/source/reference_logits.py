"""Token ids and logits of the source model: what every artifact made of it is compared with."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.errors import ChildError, SourceError
from harness.prompts.conversations import parity_conversations
from harness.prompts.corpus import CorpusText, control_texts, corpus
from harness.prompts.template_files import chat_templates
from harness.source.source import Source, read_json
from harness.source.source_tokens import SourceTokens
from harness.system.child import run_job
from harness.system.hashing import digest_of
from harness.system.store import build_once, read_verified
from harness.toolchain.toolchain import quiet_environment, worker
from harness.toolchain.workspace import Workspace

WORKER = worker("reference_logits_worker")
_CORRECT = "correct config.json, or write it again with save_pretrained(folder)"
_MOST_CONTROL_TOKENS = 32
_LONGEST = 1024
_POSITIONS_EACH = 48

ANSWER_TOKENS = 12
"""Length of the answer that is generated token by token."""
_FORMAT = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """One request to one model."""

    kind: str
    model: Source
    question: Mapping[str, Any]
    key: str

    @property
    def file_name(self) -> str:
        """Name of the file with the result."""
        return "tokens.json" if self.kind == "tokens" else "logits.npy"


class ReferenceLogits:
    """Token ids of a corpus and, if asked for, logits of a source model and of the base it was tuned from.

    The cache key covers the model's files, the request, and the version of transformers.
    """

    def __init__(
        self,
        source: Source,
        workspace: Workspace,
        *,
        base: Source | None = None,
        with_logits: bool = False,
        longest: int | None = None,
    ) -> None:
        """`longest` is the context, in tokens, of a candidate whose context is shorter than its source's."""
        self.source = source
        vocabulary_size = min(source.vocabulary_size, base.vocabulary_size if base else source.vocabulary_size)
        contexts = [context for context in (source.context_length, longest) if context is not None]
        wanted = max(_LONGEST, _original_context(source) + _POSITIONS_EACH)
        self.sequence, self.positions = _sequence(vocabulary_size, min([wanted, *(size - 1 for size in contexts)]))
        # Computed on a sequence that ends there: some models encode positions differently in long sequences.
        self.short_count = int(np.searchsorted(self.positions, len(self.sequence) // 2))
        self.answer_tokens = max(2, min(ANSWER_TOKENS, len(self.sequence) - 1))
        self.answer_start = self._answer_start((_original_context(source), _attention_window(source)))
        self._workspace = workspace
        self._root = workspace.cache / "reference_logits"
        question = {
            "sequence": list(self.sequence),
            "positions": list(self.positions),
            "short_count": self.short_count,
        }
        asked: dict[str, tuple[str, Source, dict[str, Any]]] = {}
        self._controls = _control_tokens(source)
        self._texts = (*corpus(), *control_texts(list(self._controls)))
        asked["tokens"] = ("tokens", source, _token_question(self._texts))
        if with_logits:
            asked["logits"] = ("logits", source, question)
        if with_logits and base is not None:
            asked["base"] = ("logits", base, question)
        self._parts = {name: _part(*what, workspace.toolchain.versions) for name, what in asked.items()}
        self._problems: dict[str, SourceError] = {}

    @property
    def digest(self) -> str:
        """Changes with everything that can change a result."""
        return digest_of([self.answer_start, *(part.key for part in self._parts.values())])

    def _answer_start(self, changes: Sequence[int]) -> int:
        """Start of an answer whose second half comes right after the last of `changes` that fits into the sequence."""
        last = len(self.sequence) - self.answer_tokens
        starts = [change + 1 - self.answer_tokens // 2 for change in changes]
        return max(1, *(start for start in (min(self.short_count, last), *starts) if start <= last))

    def tokens_file(self) -> Path:
        """What reference_logits_worker said of texts and conversations; after `ensure`."""
        return self._root / self._parts["tokens"].key / "tokens.json"

    def source_tokens(self) -> SourceTokens:
        """What the source's tokenizer and chat template make of the corpus and the built-in conversations.

        After `ensure`.
        """
        return SourceTokens.read(self.tokens_file(), self._texts, self._controls)

    def logits(self, name: str = "logits") -> npt.NDArray[np.float32] | None:
        """Logits of the source at `positions` (`name="base"`: of its base); None if they were not requested."""
        if name not in self._parts:
            return None
        return np.asarray(np.load(self._root / self._parts[name].key / "logits.npy", mmap_mode="r"))

    @property
    def problem(self) -> SourceError | None:
        """Why transformers cannot run the source; None as long as no error is known."""
        return self._problems.get("logits")

    def missing(self) -> list[str]:
        """Names of the parts that are missing from the cache or damaged in it."""
        return [name for name, part in self._parts.items() if read_verified(self._root / part.key) is None]

    def job(self, names: list[str], folder: Path) -> list[dict[str, Any]]:
        """The job of `reference_logits_worker.collect`, whose results go below `folder`."""
        jobs = []
        for name in names:
            part = self._parts[name]
            (folder / name).mkdir(parents=True, exist_ok=True)
            file = folder / name / part.file_name
            model = {"model": str(part.model.path), "trust": part.model.trust_remote_code}
            jobs.append({"kind": part.kind, **model, **part.question, "file": str(file)})
        return jobs

    def keep(self, folder: Path) -> None:
        """Move complete results from below `folder` into the cache; `ensure` raises the errors found there."""
        for place in sorted(folder.iterdir()) if folder.is_dir() else ():
            part = self._parts[place.name]
            for reason in place.glob("*.error"):
                self._problems[place.name] = SourceError(
                    f"transformers cannot use the model: {reason.read_text(encoding='utf-8').splitlines()[0]}",
                    where=str(part.model.path),
                    next_step="load it with transformers yourself; if that works, read the conversion log",
                )
            if (place / part.file_name).exists():
                part.model.require_unchanged()
                self._publish(place / part.file_name, self._root / part.key)

    def ensure(self, *names: str) -> None:
        """Compute the missing parts (of `names`, or all) in a worker process.

        Raises:
            SourceError: transformers cannot run the source model.
        """
        missing = [name for name in self.missing() if not names or name in names]
        if missing and not any(name in self._problems for name in missing):
            self._ask(missing)
        for name in missing:
            if name in self._problems:
                raise self._problems[name]

    def results(self) -> dict[str, tuple[Path, str]]:
        """Every part's file, and the digest of what was asked; after `ensure`."""
        return {
            name: (self._root / part.key / part.file_name, digest_of([_FORMAT, part.question]))
            for name, part in self._parts.items()
        }

    def take(self, name: str, file: Path, question_digest: str) -> None:
        """Take a part that was computed elsewhere for the same question; another question's is left out."""
        if name in self._parts and self.results()[name][1] == question_digest:
            build_once(self._root / self._parts[name].key, partial(_copied, file, self._parts[name].file_name))

    def _ask(self, names: list[str]) -> None:
        for name in names:
            self._parts[name].model.require_weights("comparing with logits that the reference bundle lacks")
        workspace = self._workspace
        toolchain = workspace.toolchain()
        workspace.notify("computing the source model's token ids and logits")
        with tempfile.TemporaryDirectory(prefix="slm-gate-logits-") as folder:
            try:
                run_job(
                    toolchain.command(WORKER),
                    {"parts": self.job(names, Path(folder))},
                    log=workspace.log(f"reference-logits-{self.source.digest[:12]}"),
                    timeout_s=workspace.timeout_s,
                    progress=workspace.progress,
                    env=quiet_environment(),
                )
            except ChildError as error:
                raise SourceError(error.what, where=error.where, next_step=error.next_step) from error
            self.keep(Path(folder))

    def _publish(self, answer: Path, folder: Path) -> None:
        def build(staging: Path) -> Mapping[str, Any]:
            shutil.move(answer, staging / answer.name)
            return {"source": self.source.spec}

        build_once(folder, build)


def _copied(file: Path, name: str, staging: Path) -> Mapping[str, Any]:
    shutil.copy(file, staging / name)
    return {"taken_from": str(file)}


def _part(kind: str, model: Source, question: dict[str, Any], versions: Mapping[str, str]) -> _Part:
    key = digest_of([_FORMAT, kind, model.digest, question, versions.get("transformers")])[:32]
    return _Part(kind=kind, model=model, question=question, key=key)


def _token_question(texts: Sequence[CorpusText]) -> dict[str, Any]:
    conversations = {name: [dict(turn) for turn in turns] for name, turns in parity_conversations()}
    return {"texts": [text.text for text in texts], "conversations": conversations}


def _control_tokens(source: Source) -> dict[str, int]:
    """The source's control tokens: those of its chat template, those that have a name, and some of the others."""
    file = source.path / "tokenizer.json"
    entries = read_json(file).get("added_tokens") or [] if file.is_file() else []
    added = {
        str(entry["content"]): int(entry["id"])
        for entry in entries
        if isinstance(entry, dict) and entry.get("content") and str(entry["content"]).strip()
    }
    template = "\n".join(chat_templates(source.path))
    ordered = sorted(added, key=lambda token: token not in template)
    return {token: added[token] for token in ordered[:_MOST_CONTROL_TOKENS]}


def _sequence(vocabulary_size: int, length: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Random tokens, and the first and last positions of them."""
    tokens = np.random.default_rng(0).integers(0, vocabulary_size, length)
    ends = {*range(min(_POSITIONS_EACH, length)), *range(max(0, length - _POSITIONS_EACH), length)}
    return tuple(int(token) for token in tokens), tuple(sorted(ends))


def _original_context(source: Source) -> int:
    """Tokens after which a model uses its second rotary table; 0 for a model with one table."""
    config = read_json(source.path / "config.json")
    table = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if not isinstance(table, dict):
        raise SourceError(
            "rope_parameters (or rope_scaling) is not an object",
            where=str(source.path / "config.json"),
            next_step=_CORRECT,
        )
    if (table.get("rope_type") or table.get("type")) not in ("longrope", "su"):
        return 0
    own = config.get("original_max_position_embeddings")  # if a config states both, transformers uses this one
    return _whole_number(source, own or table.get("original_max_position_embeddings") or 0)


def _attention_window(source: Source) -> int:
    """Length of the sliding window, in tokens; 0 if every layer attends to the whole sequence."""
    config = read_json(source.path / "config.json")
    return _whole_number(source, config.get("sliding_window") or 0) if config.get("use_sliding_window", True) else 0


def _whole_number(source: Source, value: object) -> int:
    if isinstance(value, int):
        return value
    raise SourceError(
        f"a length is {value!r}, which is not a whole number",
        where=str(source.path / "config.json"),
        next_step=_CORRECT,
    )
