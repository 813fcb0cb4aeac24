"""Marks of tests whose every case is a healthy folder that must pass, or a broken one that must be told by name.

docs/healthy-and-broken.md is written from them by docs/controls.py, so that it lists what is tested and nothing else.
"""

from __future__ import annotations

from enum import StrEnum

import pytest


class Way(StrEnum):
    """How far a case goes through the gate."""

    GATE = "gate"
    """A run of suites, as `pytest suites/` starts it."""

    CONVERT = "convert"
    """Conversion or adoption with everything that `slm-gate convert` verifies."""

    MERGE = "merge"
    """Merged into its base, and held against the live model in nats."""

    SOURCE = "source"
    """What is read of a source model before anything long starts."""

    COMPARE = "compare"
    """The comparison of a converted folder with its source's, by itself."""


def healthy(what: str, *, way: Way, folders: int = 1) -> pytest.MarkDecorator:
    """Every case of the test is a healthy model, adapter or folder, or so many of them, and passes."""
    return pytest.mark.healthy(what, way=way, folders=folders)


def broken(what: str, *, way: Way) -> pytest.MarkDecorator:
    """Every case of the test is a broken model, adapter or folder, and what is wrong with it is said by name."""
    return pytest.mark.broken(what, way=way, folders=1)
