"""What transformers makes of texts and conversations with a source model's own tokenizer."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.prompts.corpus import CorpusText


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceTokens:
    """The yardstick for an artifact's tokenizer and chat template."""

    texts: tuple[CorpusText, ...]
    ids: tuple[tuple[int, ...], ...]
    """Token ids of each text, without added special tokens."""

    prompts: Mapping[str, str | None]
    """Prompt text of each built-in conversation, by name; None where the chat template refuses it."""

    controls: Mapping[str, int]
    """Ids of the model's control tokens that are among the texts."""

    class_name: str = ""
    """Class of the tokenizer in transformers."""

    pipeline: str = "class"
    """Whose steps it has: `file` (tokenizer.json) or `class`."""

    is_rebuilt: bool = False
    """Whether transformers 5 builds another tokenizer than tokenizer.json states."""

    trained_with: str | None = None
    """Release of transformers that wrote config.json; None where that is not stated."""

    is_saved_by_5: bool = False
    """Whether transformers 5 wrote tokenizer.json, from what it had in memory."""

    parts: Mapping[str, Any] | None = None
    """The steps, model flags and added tokens of the model's tokenizer; None where it has no tokenizer.json form."""

    rebuilt_parts: Mapping[str, Any] | None = None
    """The steps that transformers gives it on loading."""

    vocabulary: str | None = None
    """SHA-256 of its vocabulary."""

    @classmethod
    def read(cls, file: Path, texts: Sequence[CorpusText], controls: Mapping[str, int]) -> SourceTokens:
        """What reference_logits_worker wrote about `texts`."""
        said = json.loads(file.read_text(encoding="utf-8"))
        about = said.get("tokenizer") or {}
        return cls(
            texts=tuple(texts),
            ids=tuple(map(tuple, said["ids"])),
            prompts=said.get("prompts") or {},
            controls=controls,
            class_name=about.get("class", ""),
            pipeline=about.get("pipeline", "class"),
            is_rebuilt=bool(about.get("is_rebuilt")),
            trained_with=about.get("trained_with"),
            is_saved_by_5=bool(about.get("is_saved_by_5")),
            parts=about.get("parts"),
            rebuilt_parts=about.get("rebuilt_parts"),
            vocabulary=about.get("vocabulary"),
        )

    @property
    def is_of_file(self) -> bool:
        """Whether the model was trained with what tokenizer.json states, and transformers 5 would make another."""
        return self.is_rebuilt and self.pipeline == "file"

    @property
    def pipeline_remark(self) -> str | None:
        """Which of two tokenizers the model was trained with; None where its folder describes one only."""
        if not self.is_rebuilt:
            return None
        named = f"tokenizer: transformers 5 rebuilds this one as {self.class_name}, other than tokenizer.json states"
        release = f"config.json names transformers {self.trained_with}" if self.trained_with else ""
        if self.pipeline == "file":
            written = "transformers 5 wrote that file from what it had in memory" if self.is_saved_by_5 else ""
            reason = written or release or "config.json names no release of transformers"
            return (
                f"{named}. The model's is that of tokenizer.json ({reason}): it is what the artifact has, and what it "
                "is compared with."
            )
        return (
            f"{named}. The model's is the rebuilt one ({release}, which rebuilt it from these files). If it was "
            "trained with an earlier release, say so: transformers_version in config.json."
        )
