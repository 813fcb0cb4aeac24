"""A copy of an artifact whose activations are not rounded: one attribute of its quantised products.

`accuracy_level` 4, the builders' choice for CPU, rounds the activations of every MatMulNBits to 8 bits; 0 computes with
them as they are. The weights are the same files, so what is left of the divergence is what rounded weights cost.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.artifact.artifact import Artifact
from harness.artifact.onnx_file import read_model, set_integer, write_model
from harness.system.links import link_or_copy

_ATTRIBUTE, _EXACT = "accuracy_level", 0


def has_rounded_activations(artifact: Artifact) -> bool:
    """Whether a quantised product of the graph rounds its activations."""
    return any(level != _EXACT for level in artifact.facts.accuracy_levels)


@contextmanager
def with_exact_activations(artifact: Artifact, place: Path) -> Iterator[Path]:
    """A folder below `place` with the same model and exact activations, which is gone at the end.

    Weights are linked where `place` is on their file system.

    Raises:
        ArtifactError: the graph cannot be read.
    """
    place.mkdir(parents=True, exist_ok=True)
    graph_file = artifact.facts.model_file
    with tempfile.TemporaryDirectory(prefix="exact-activations-", dir=place, ignore_cleanup_errors=True) as name:
        folder = Path(name)
        for file in artifact.path.iterdir():
            if file.is_file() and file.name != graph_file:
                link_or_copy(file, folder / file.name)
        model = read_model(artifact.path / graph_file)
        set_integer(model, "MatMulNBits", _ATTRIBUTE, _EXACT)
        write_model(model, folder / graph_file)
        yield folder
