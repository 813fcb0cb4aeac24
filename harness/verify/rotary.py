"""The rotary embedding tables of a graph, which encode positions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from harness.artifact.onnx_file import stored_tensors

ROTARY_TABLES = ("cos_cache", "sin_cache")
"""How the names of the tables begin."""

Tables = Mapping[str, npt.NDArray[np.float32]]
"""Cosines and sines by name, shape [positions, rotated pairs]."""


def rotary_tables(folder: Path, model_file: str) -> Tables:
    """The stored cosines and sines; empty for a graph that has none.

    Raises:
        ArtifactError: the graph or its data cannot be read.
    """
    return stored_tensors(folder, model_file, ROTARY_TABLES)


def table_difference(one: Tables, other: Tables) -> float | None:
    """Largest difference of two graphs' tables over the positions that both have; None where none can be compared."""
    shared = [name for name in one if name in other and one[name].shape[1:] == other[name].shape[1:]]
    if not shared:
        return None
    rows = [(one[name], other[name], min(len(one[name]), len(other[name]))) for name in shared]
    return max(float(np.abs(mine[:count] - theirs[:count]).max()) for mine, theirs, count in rows)
