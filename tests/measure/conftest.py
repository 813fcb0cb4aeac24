"""Faults planted into measuring child processes, from outside: the product has no hook for them.

A child inherits PYTHONPATH, and Python imports a `sitecustomize` that it finds there before anything else.
"""

from __future__ import annotations

import os
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pytest

from harness.system.paths import REPOSITORY

Plant = Callable[[str], None]


class PlantStub(Protocol):
    """Takes one-line statements."""

    def __call__(self, on_request: str, *, at_start: str = "") -> None: ...


@pytest.fixture
def plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plant:
    """Makes every child process of this test run the given Python source at its start."""

    def write(source: str) -> None:
        folder = tmp_path / "planted"
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(textwrap.dedent(source), encoding="utf-8")
        paths = [str(folder), str(REPOSITORY), os.environ.get("PYTHONPATH", "")]
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))

    return write


@pytest.fixture
def stub_session(plant: Plant) -> PlantStub:
    """Makes child processes open a fake model, whatever the spec, that runs `on_request` in every request."""

    def write(on_request: str, *, at_start: str = "") -> None:
        plant(STUB_SOURCE.format(on_request=on_request or "pass", at_start=at_start))

    return write


STUB_SOURCE = """
import ctypes, os, sys
import harness.foundry.opening as opening
from harness.errors import InvalidPromptError
from harness.runtime.fake import FakeSession

kept = []
count = 0

def request(messages):
    global count
    count += 1
    {on_request}
    return "an answer"

class Stub(FakeSession):
    def answer(self, messages, *, max_new_tokens):
        try:
            return super().answer(messages, max_new_tokens=max_new_tokens)
        except InvalidPromptError as error:
            self.refuse(error)
            raise

    def refuse(self, error):
        pass

opening.open_session = lambda spec: Stub(request, context_length=200)
opening.import_runtime = lambda spec: None
{at_start}
"""
