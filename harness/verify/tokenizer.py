"""Whether an artifact's tokenizer.json says what its model's does, and what the runtime makes of it.

The file and the runtime are two things. A file that says something else is a fault of the conversion, and converting
again mends it. A runtime that reads the right file otherwise than transformers is what it is: that is counted on a
built-in corpus, category by category, and judged on the domain's own texts by the gate.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from harness.artifact.artifact import Artifact
from harness.errors import ArtifactError
from harness.prompts.chat_template import ChatTemplate
from harness.prompts.conversations import parity_conversations
from harness.prompts.rendering import PromptDeviation, describe_deviations, prompt_deviation
from harness.prompts.template_files import chat_templates
from harness.prompts.token_causes import TokenDifference, TokenizerFile, compare_ids, count_causes, describe_causes
from harness.runtime.prompting import RuntimePrompts, ask_runtime
from harness.runtime.smoke_test import runtime_version
from harness.source.reference_logits import ReferenceLogits
from harness.source.source_tokens import SourceTokens
from harness.system.hashing import digest_of
from harness.system.store import cached_json
from harness.toolchain.workspace import Workspace

_FORMAT = 1
_STEPS = ("normalizer", "pre_tokenizer", "post_processor", "decoder")
_MODEL_DEFAULTS: Mapping[str, Any] = {
    "type": "BPE", "unk_token": None, "continuing_subword_prefix": "", "end_of_word_suffix": "", "fuse_unk": False,
    "byte_fallback": False, "ignore_merges": False, "dropout": None,
}  # fmt: skip
_FLAGS = ("content", "lstrip", "rstrip", "single_word", "normalized", "special")


@dataclass(frozen=True, slots=True, kw_only=True)
class CategoryCount:
    """How many texts of one category of the corpus get other ids."""

    differing: int
    total: int

    def __str__(self) -> str:
        return f"{self.differing} of {self.total} ({100 * self.differing / self.total:.0f} %)"


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizerComparison:
    """An artifact's tokenizer beside its source's."""

    where: str
    """The artifact's folder."""

    file_differences: tuple[str, ...]
    """What tokenizer.json says otherwise than the source's; empty for a healthy artifact."""

    split_controls: tuple[str, ...]
    """Control tokens of the chat template that the runtime does not read as one token."""

    refused: int
    """Texts of the corpus that the runtime cannot tokenise."""

    counts: Mapping[str, CategoryCount]
    """By category of the corpus."""

    causes: Mapping[str, int]
    """Texts with other ids by the likely cause."""

    differences: tuple[TokenDifference, ...]
    """The first texts that get other ids, of each category a few."""

    deviations: tuple[PromptDeviation, ...]
    """Built-in conversations that the runtime renders otherwise."""

    conversations: int
    """Built-in conversations that the source's template takes."""

    pipeline: str | None
    """Which of two tokenizers the model was trained with, in words; None where its folder describes one only."""

    def require(self) -> None:
        """Raise if the file is another one, or the runtime cannot use it.

        Raises:
            ArtifactError: with the first difference.
        """
        if self.file_differences:
            raise ArtifactError(
                f"tokenizer.json is not the source's: {'; '.join(self.file_differences[:3])}",
                where=self.where,
                next_step="convert it again from the source as it is now, or put the source's tokenizer.json there",
            )
        if self.refused == sum(count.total for count in self.counts.values()):
            raise ArtifactError(
                "the runtime cannot tokenise any text with its tokenizer.json",
                where=self.where,
                next_step="this runtime does not know this kind of tokenizer: serve the model with another one",
            )
        if self.split_controls:
            raise ArtifactError(
                f"the runtime splits the chat template's control tokens: {'; '.join(self.split_controls[:3])}",
                where=self.where,
                next_step="every prompt has them: add them to the tokenizer as special tokens and convert again; where "
                "they are, this runtime cannot serve the model",
            )

    def remarks(self) -> list[str]:
        """What a user should know although nothing is wrong with the artifact."""
        return [told for told in (self.pipeline, self._of_tokens(), self._of_prompts()) if told]

    def _of_tokens(self) -> str | None:
        differing = {name: count for name, count in self.counts.items() if count.differing}
        if not differing:
            return None
        total, all_texts = (sum(getattr(c, key) for c in self.counts.values()) for key in ("differing", "total"))
        return _indented(
            f"tokenizer: the runtime gives {total} of {all_texts} texts of the built-in corpus other token ids than "
            "transformers",
            ", ".join(f"{name} {count}" for name, count in differing.items()),
            describe_causes(self.causes),
            *(one.shown for one in self.differences[:3]),
            "its tokenizer.json is the model's, so converting again changes nothing; the gate counts your domain's own "
            "texts",
        )

    def _of_prompts(self) -> str | None:
        if not self.deviations:
            return None
        return _indented(
            f"chat template: the runtime renders {len(self.deviations)} of {self.conversations} built-in conversations "
            "otherwise than transformers",
            *describe_deviations(self.deviations).splitlines(),
        )

    def as_dict(self) -> dict[str, Any]:
        """All of it as plain JSON values, the examples shortened."""
        return {
            "file_differences": list(self.file_differences),
            "split_controls": list(self.split_controls),
            "refused": self.refused,
            "corpus": {name: asdict(count) for name, count in self.counts.items()},
            "causes": dict(self.causes),
            "examples": [{"cause": one.cause, "shown": one.shown} for one in self.differences],
            "conversations": self.conversations,
            "deviations": [asdict(one) for one in self.deviations],
            "pipeline": self.pipeline,
        }


def _indented(first: str, *others: str) -> str:
    return "\n  ".join([first, *others])


def compare_tokenizer(
    artifact: Artifact, reference_logits: ReferenceLogits, workspace: Workspace
) -> TokenizerComparison:
    """Compare an artifact's tokenizer and chat template with its source's, in file and in the runtime.

    Raises:
        SourceError: the source cannot be asked.
        ArtifactError: a file cannot be read, or the runtime does not load it.
    """
    reference_logits.ensure("tokens")
    said = reference_logits.source_tokens()
    runtime = _asked(artifact, said, workspace)
    file = TokenizerFile.read(artifact.path / "tokenizer.json")
    compared = [
        (text.category, compare_ids(text.text, expected, found, file))
        for text, expected, found in zip(said.texts, said.ids, runtime.ids, strict=True)
    ]
    chat = ChatTemplate(artifact.path)
    deviations = [
        prompt_deviation(name, said.prompts[name], runtime.prompts[name], messages, chat)
        for name, messages in parity_conversations()
        if said.prompts.get(name) is not None
    ]
    return TokenizerComparison(
        where=str(artifact.path),
        file_differences=tuple(file_differences(artifact.path, reference_logits.source.path, said)),
        split_controls=tuple(_split_controls(artifact.path, said, runtime)),
        refused=sum(ids is None for ids in runtime.ids),
        counts=_counts(compared),
        causes=count_causes(difference for _, difference in compared if difference is not None),
        differences=_first_of_each(compared),
        deviations=tuple(one for one in deviations if one is not None),
        conversations=len(deviations),
        pipeline=said.pipeline_remark,
    )


def _asked(artifact: Artifact, said: SourceTokens, workspace: Workspace) -> RuntimePrompts:
    conversations = dict(parity_conversations())
    texts = [text.text for text in said.texts]
    key = digest_of([_FORMAT, artifact.digest, texts, sorted(conversations.items()), runtime_version()])

    def ask() -> dict[str, Any]:
        workspace.notify(f"{artifact.variant}: comparing its tokenizer and chat template with the source's")
        log = workspace.log(f"{artifact.variant}.tokenizer")
        found = ask_runtime(artifact.path, texts, conversations, target=artifact.target, log=log)
        return asdict(found)

    cached = cached_json(workspace.cache / "runtime_tokens" / key, ask)
    ids = tuple(None if one is None else tuple(one) for one in cached["ids"])
    return RuntimePrompts(ids=ids, prompts=cached["prompts"])


def _counts(compared: Sequence[tuple[str, TokenDifference | None]]) -> dict[str, CategoryCount]:
    found: dict[str, list[bool]] = {}
    for category, difference in compared:
        found.setdefault(category, []).append(difference is not None)
    return {name: CategoryCount(differing=sum(flags), total=len(flags)) for name, flags in found.items()}


def _first_of_each(
    compared: Sequence[tuple[str, TokenDifference | None]], most: int = 2
) -> tuple[TokenDifference, ...]:
    """The shortest text of each cause, then further ones of each category: short texts show most."""
    ordered = sorted(
        (one for one in compared if one[1] is not None), key=lambda one: len(one[1].text if one[1] else "")
    )
    kept: dict[tuple[str, str], list[TokenDifference]] = {}
    first: dict[str, TokenDifference] = {}
    for category, difference in ordered:
        assert difference is not None
        first.setdefault(difference.cause, difference)
        kept.setdefault((category, difference.cause), []).append(difference)
    further = [one for group in kept.values() for one in group[:most] if one not in first.values()]
    return (*first.values(), *further)


def _split_controls(folder: Path, said: SourceTokens, runtime: RuntimePrompts) -> Iterator[str]:
    """Control tokens of the chat template that are not one token between letters."""
    template = "\n".join(chat_templates(folder))
    found = {text.text: ids for text, ids in zip(said.texts, runtime.ids, strict=True)}
    for token, index in said.controls.items():
        ids = found.get(f"a{token}b {token} \n{token}")
        if token in template and ids is not None and ids.count(index) != 3:
            yield f"{token!r} is not the single token {index} but {list(found.get(token) or ())}"


def file_differences(folder: Path, source: Path, said: SourceTokens) -> Iterator[str]:
    """A sentence for each part of an artifact's tokenizer.json that says something else than the source's.

    What changes no token is not compared: offsets, the notation of merges, lists of one step. Each step may be as the
    source's file has it, or as transformers makes it when it loads the source.

    Raises:
        ArtifactError: a file cannot be read.
    """
    if not (folder / "tokenizer.json").is_file():
        return
    ours = _read(folder / "tokenizer.json")
    has_file = (source / "tokenizer.json").is_file()
    stated = _read(source / "tokenizer.json") if has_file else {}
    if has_file:
        yield from _vocabulary_differences(ours, stated)
    elif said.vocabulary is not None and said.vocabulary != vocabulary_digest(ours):
        yield "its vocabulary is another one"
    allowed = [said.parts, said.rebuilt_parts, *([stated] if has_file else [])]
    for name in _STEPS:
        mine, known = plain_step(ours.get(name)), [plain_step(one.get(name)) for one in allowed if one]
        if known and mine not in known:
            yield f"its {name} is {_short(mine)} in place of {_short(known[-1])}"
    models = [_flags_of(one.get("model") or {}) for one in (said.parts, stated) if one]
    mine_flags = _flags_of(ours.get("model") or {})
    for flag, value in mine_flags.items():
        if models and value not in [model[flag] for model in models] and flag not in ("unk_token", "fuse_unk"):
            yield f"its model says {flag} {value!r} in place of {models[-1][flag]!r}"
    yield from _added_differences(ours, [one for one in (said.parts, stated) if one])


def _vocabulary_differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Iterator[str]:
    mine, wanted = (_vocabulary(one) for one in (ours, theirs))
    if mine != wanted:
        piece = next(piece for piece in (*wanted, *mine) if mine.get(piece) != wanted.get(piece))
        yield f"its vocabulary has {piece!r} as {mine.get(piece)}, the source's as {wanted.get(piece)}"
    merges, others = (_merges(one) for one in (ours, theirs))
    if merges != others:
        pairs = enumerate(zip_longest(merges, others))
        at = next(number for number, (one, other) in pairs if one != other)
        sides = [list_[at] if at < len(list_) else None for list_ in (merges, others)]
        yield f"merge {at} is {sides[0]!r}, the source's {sides[1]!r}"


def _added_differences(ours: Mapping[str, Any], allowed: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    mine = _added(ours)
    known = [_added(one) for one in allowed]
    if not known:
        return
    for index in sorted({*mine, *(index for one in known for index in one)}):
        if mine.get(index) not in [one.get(index) for one in known]:
            yield f"its added token {index} is {_short(mine.get(index))}, the source's {_short(known[-1].get(index))}"


def _added(tokenizer: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
    entries = tokenizer.get("added_tokens") or []
    return {entry["id"]: {flag: entry.get(flag) for flag in _FLAGS} for entry in entries}


def _vocabulary(tokenizer: Mapping[str, Any]) -> dict[str, Any]:
    vocabulary = (tokenizer.get("model") or {}).get("vocab") or {}
    if isinstance(vocabulary, dict):
        return vocabulary
    return {entry[0]: [index, *entry[1:]] for index, entry in enumerate(vocabulary)}


def vocabulary_digest(tokenizer: Mapping[str, Any]) -> str:
    """SHA-256 of a tokenizer.json's vocabulary, as model_tokenizer.py in the toolchain takes it."""
    from hashlib import sha256

    vocabulary = (tokenizer.get("model") or {}).get("vocab")
    entries = sorted(vocabulary.items()) if isinstance(vocabulary, dict) else vocabulary
    return sha256(json.dumps(entries).encode()).hexdigest()


def _merges(tokenizer: Mapping[str, Any]) -> list[str]:
    """Each pair as one text, as files had them until 2024."""
    merges = (tokenizer.get("model") or {}).get("merges") or []
    return [merge if isinstance(merge, str) else " ".join(merge) for merge in merges]


def _flags_of(model: Mapping[str, Any]) -> dict[str, Any]:
    return {key: model.get(key, default) or default for key, default in _MODEL_DEFAULTS.items()}


def plain_step(step: Any) -> Any:
    """A step of a tokenizer.json without what changes no token."""
    if not isinstance(step, dict):
        return step
    plain = {key: plain_step(value) for key, value in step.items() if key != "trim_offsets"}
    for key in ("normalizers", "pretokenizers", "processors", "decoders"):
        if plain.get("type") == "Sequence" and isinstance(plain.get(key), list):
            steps = [one for one in map(plain_step, plain[key]) if one is not None]
            return None if not steps else steps[0] if len(steps) == 1 else {"type": "Sequence", "steps": steps}
    return plain


def _short(value: Any, most: int = 120) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= most else f"{text[: most - 3]}..."


def _read(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{file.name} cannot be read: {error}", where=str(file)) from error
    if not isinstance(content, dict):
        raise ArtifactError(f"{file.name} is not a JSON object", where=str(file))
    return content
