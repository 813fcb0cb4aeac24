"""The result of one variant, and the manifest that is delivered beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.artifact.artifact import Artifact
from harness.errors import GateError
from harness.source.source import Source
from harness.verify.fidelity import GraphFidelity
from harness.verify.tokenizer import TokenizerComparison


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One variant, or why there is none."""

    result: Artifact | GateError

    fidelity: GraphFidelity | None = None
    """None where it was not measured."""

    tokenizer: TokenizerComparison | None = None
    """Its tokenizer beside the source's; None for a folder whose source is not known."""

    folder: Path | None = None
    """Where it was delivered to; None where it was not."""

    def manifest(self, title: str, source: Source | None, versions: Mapping[str, str], runtime: str) -> dict[str, Any]:
        """All that is known of an artifact, for the file beside it.

        `title` is what the user calls the model; `versions` are the toolchain's, `runtime` is onnxruntime-genai's here.
        """
        assert isinstance(self.result, Artifact)
        return {
            "model": title,
            "variant": self.result.variant,
            "source": source.as_dict() if source else None,
            "recipe": self.result.recipe.as_dict(),
            "facts": self.result.facts.as_dict(),
            "fidelity": self.fidelity.as_dict() if self.fidelity else None,
            "tokenizer": self.tokenizer.as_dict() if self.tokenizer else None,
            "versions": dict(versions),
            "runtime": runtime,
            "conversion_s": self.result.conversion_s,
            "peak_rss_bytes": self.result.peak_rss_bytes,
            "digest": self.result.digest,
        }
