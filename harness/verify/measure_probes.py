"""Asks a variant and its fp32 reference export the same, or reads it from the cache."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness.artifact.artifact import Artifact
from harness.runtime.genai import GenaiSession
from harness.runtime.smoke_test import runtime_version
from harness.system.cpu import compute_cores
from harness.system.hashing import digest_of
from harness.system.store import build_once, cached_json
from harness.toolchain.workspace import Workspace
from harness.verify.probes import ProbeComparison, compare_rows, load_rows, reach, read_rows, save_rows, sequences

_FORMAT = 1
"""Counts up when cached values must be measured again."""

Asked = Mapping[str, tuple[int, ...]]


def measure_probes(artifact: Artifact, export: Artifact, workspace: Workspace) -> ProbeComparison:
    """What a variant says beside its reference export, as far as both go; needs no toolchain.

    Raises:
        SessionError: one of them does not load or run.
    """
    contexts = [length for one in (artifact, export) if (length := one.facts.context_length)]
    context_length = min(contexts, default=1024)
    length = reach(context_length, sum(export.facts.weights_per_bits.values()))
    parts = [_FORMAT, artifact.digest, artifact.target.as_dict(), export.digest, length, runtime_version()]

    def measure() -> dict[str, Any]:
        asked, rows = _reference_rows(export, length, workspace)
        workspace.notify(f"{artifact.variant}: reading texts in many scripts, and {length:,} tokens")
        session = GenaiSession(artifact.path, target=artifact.target, name=artifact.variant, threads=compute_cores())
        try:
            ours = read_rows(session.cursor, asked, export.facts.vocabulary_size or 0)
        finally:
            session.close()
        return asdict(ProbeComparison(probes=compare_rows(rows, ours), tokens=length, context_length=context_length))

    return ProbeComparison.from_dict(cached_json(workspace.cache / "probes" / digest_of(parts), measure))


def _reference_rows(export: Artifact, length: int, workspace: Workspace) -> tuple[Asked, Any]:
    """What is asked, and what the reference export says to it."""
    folder = workspace.cache / "probe_rows" / digest_of([_FORMAT, export.digest, length, runtime_version()])
    asked: dict[str, tuple[int, ...]] = {}

    def build(staging: Path) -> dict[str, Any]:
        workspace.notify(f"{export.variant}: reading texts in many scripts, and {length:,} tokens")
        session = GenaiSession(export.path, target=export.target, name=export.variant, threads=compute_cores())
        try:
            size = export.facts.vocabulary_size or 0
            asked.update(sequences(session.encode, size, length))
            save_rows(read_rows(session.cursor, asked, size), staging)
        finally:
            session.close()
        return {"asked": {name: list(ids) for name, ids in asked.items()}}

    manifest, _ = build_once(folder, build)
    asked = {name: tuple(ids) for name, ids in manifest["asked"].items()}
    return asked, load_rows(list(asked), folder)
