"""Folders through `slm-gate convert`: what it says of each, in words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.artifact.artifact import Artifact
from harness.errors import GateError
from harness.pipeline.request import Request, run_request
from harness.source.source import Source
from harness.toolchain.workspace import Workspace
from tests.controls.spoil import Plant, copy_of

Told = Callable[..., str]
"""Takes a precision and plants; returns why the folder is refused, or nothing."""


@pytest.fixture
def adopted(converted: Any, tiny_source: Source, shared_workspace: Workspace, tmp_path: Path) -> Told:
    """What `slm-gate convert FOLDER --source MODEL` says of a converted folder that was changed."""

    def tell(precision: str, *plants: Plant) -> str:
        made = converted[precision]
        assert isinstance(made, Artifact), made
        folder = copy_of(made.path, tmp_path / precision, *plants)
        return refusal(Request(model=str(folder), source=str(tiny_source.path)), shared_workspace)

    return tell


@pytest.fixture
def source(tiny_source: Source, shared_workspace: Workspace, tmp_path: Path) -> Told:
    """What `slm-gate convert MODEL --variants int8` says of a source model that was changed."""

    def tell(*plants: Plant) -> str:
        folder = copy_of(tiny_source.path, tmp_path / "a model", *plants)
        return refusal(Request(model=str(folder), variants="int8", out=tmp_path / "out"), shared_workspace)

    return tell


def refusal(request: Request, workspace: Workspace) -> str:
    """Why a request is refused, or its variants are; empty where all of it passes."""
    try:
        return "; ".join(run_request(request, workspace).failures)
    except GateError as error:
        return str(error)
