"""A converted model that passed its smoke test, and the content-addressed store of such models."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.artifact.facts import ArtifactFacts, precision_of
from harness.config.target import Target
from harness.errors import ArtifactError
from harness.prompts.template_files import find_templates
from harness.recipes.recipe import Recipe
from harness.runtime.smoke_test import runtime_version
from harness.source.source import TOKENIZER_FILES, Source
from harness.system.hashing import digest_of, digest_of_files, digests_of
from harness.system.store import clear_staging_dirs, publish, read_verified, staging_dir

FORMAT = 7
"""Incremented when older entries of the store must not be used any more."""

_GRAPH_FILES = ("*.onnx", "*.onnx.data", "*.onnx_data")
_MODEL_FILES = (*_GRAPH_FILES, "genai_config.json", *TOKENIZER_FILES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A model folder for onnxruntime-genai that matches its recipe and passed its smoke test.

    Its files never change; code that needs another file beside them makes a folder of links or a copy.
    """

    variant: str
    """Name of the variant."""

    path: Path
    """The folder."""

    recipe: Recipe
    """The requested options, with defaults filled in if it was converted here."""

    facts: ArtifactFacts
    """Read from the graph."""

    size_bytes: int
    """All files of the folder together."""

    digest: str
    """SHA-256 over the names and contents of the folder's files."""

    graph_digest: str
    """SHA-256 over graph and weights only."""

    conversion_s: float | None
    """Wall time of the conversion; None for a folder that was converted elsewhere."""

    peak_rss_bytes: int | None
    """Peak memory of the conversion's process; None if unknown."""

    was_reused: bool
    """Whether it came from the cache."""

    @property
    def target(self) -> Target:
        """Where it runs."""
        return self.recipe.target

    @property
    def is_adopted(self) -> bool:
        """Whether it was converted elsewhere."""
        return self.conversion_s is None


def describe(
    folder: Path, variant: str, recipe: Recipe, facts: ArtifactFacts, made: Mapping[str, Any], *, was_reused: bool
) -> Artifact:
    """The artifact in a folder; `made` is its manifest, or empty for a folder that has none."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    digests = _listed_digests(made) or digests_of(folder, files)
    graph = {file.name for pattern in _GRAPH_FILES for file in folder.glob(pattern)}
    return Artifact(
        variant=variant,
        path=folder,
        recipe=recipe,
        facts=facts,
        size_bytes=sum(file.stat().st_size for file in files),
        digest=digest_of_files(digests),
        graph_digest=digest_of_files({name: digest for name, digest in digests.items() if name in graph}),
        conversion_s=made.get("conversion_s"),
        peak_rss_bytes=made.get("peak_rss_bytes"),
        was_reused=was_reused,
    )


def _listed_digests(manifest: Mapping[str, Any]) -> dict[str, str]:
    """Digests that the store has just computed or verified: weights are large, so they are not hashed twice."""
    listed = manifest.get("files") or {}
    return {name.removeprefix("model/"): entry["sha256"] for name, entry in listed.items()}


def artifact_key(source: Source, recipe: Recipe, versions: Mapping[str, str]) -> str:
    """Name of an artifact in the store, a digest of everything that shapes it."""
    builder = runtime_version() if recipe.backend == "genai" else None
    return digest_of([FORMAT, source.digest, recipe.fingerprint(), dict(versions), builder])[:32]


def collect_model(produced: Path, target: Path) -> None:
    """Move the model's files, and no others, out of Olive's output."""
    target.mkdir(parents=True)
    for pattern in _MODEL_FILES:
        for file in produced.glob(pattern):
            if file.is_file():
                shutil.move(file, target / file.name)


def keep_tokenizer(folder: Path, source: Source) -> None:
    """Have the folder say what the source's tokenizer.json says, which transformers 5 rewrites for some classes."""
    shutil.copyfile(source.path / "tokenizer.json", folder / "tokenizer.json")


def keep_template(folder: Path, source: Source) -> None:
    """Have the folder hold the source's chat template where converters read past it, in a file for processors."""
    found = next(iter(find_templates(source.path)), None)
    if found is not None and found.file == "chat_template.json":
        (folder / "chat_template.jinja").write_text(found.text, encoding="utf-8")


class ArtifactStore:
    """Artifacts in the cache folder, one folder for each key: `model/` and a manifest."""

    def __init__(self, cache: Path) -> None:
        self.root = cache / "artifacts"
        self.root.mkdir(parents=True, exist_ok=True)

    def folder(self, key: str) -> Path:
        """Where the artifact of a key is, or will be."""
        return self.root / key

    def find(self, key: str) -> tuple[dict[str, Any] | None, bool]:
        """(manifest, was_damaged) of a key, whose lock must be held.

        A damaged entry is removed, and so are the staging directories of builds that were killed.
        """
        folder = self.folder(key)
        clear_staging_dirs(folder)
        manifest = read_verified(folder)
        was_damaged = manifest is None and folder.exists()
        if was_damaged:
            shutil.rmtree(folder)
        return manifest, was_damaged

    def staging_dir(self, key: str) -> Path:
        """A new empty staging directory on the same file system; those of killed builds are removed."""
        return staging_dir(self.folder(key))

    def clear_staging(self, key: str) -> None:
        """Remove the staging directories of a key; its lock must be held."""
        clear_staging_dirs(self.folder(key))

    def publish(self, key: str, staging: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
        """Rename a finished staging directory to its final name; returns its manifest."""
        return publish(staging, self.folder(key), manifest)


def reject_duplicate_variants(artifacts: Mapping[str, Artifact]) -> dict[str, ArtifactError]:
    """An error for each of two variants whose recipes differ and whose models do not."""
    errors: dict[str, ArtifactError] = {}
    pairs = [(a, b) for a in artifacts.values() for b in artifacts.values() if a.variant < b.variant]
    for one, other in pairs:
        reason = _sameness(one, other)
        if reason:
            for duplicate in (one, other):
                errors[duplicate.variant] = ArtifactError(
                    f"{one.variant} and {other.variant} {reason}; "
                    f"requested were {_difference(one.recipe, other.recipe)}",
                    where=f"{one.path}, {other.path}",
                    next_step="remove one of them, or choose options that have an effect",
                )
    return errors


def _sameness(one: Artifact, other: Artifact) -> str | None:
    if one.recipe.fingerprint() == other.recipe.fingerprint():
        return None
    if one.graph_digest == other.graph_digest:
        return "are the same model byte for byte"
    if one.recipe.precision != other.recipe.precision and one.facts == other.facts:
        return f"have the same operators and storage ({precision_of(one.facts)})"
    return None


def _difference(one: Recipe, other: Recipe) -> str:
    if one.precision != other.precision:
        return f"{one.precision} and {other.precision}"
    mine, theirs = one.as_dict(), other.as_dict()
    return " and ".join(f"another {key}" for key in mine if mine[key] != theirs[key] and key != "name")
