"""Which tier a test belongs to: what it needs is marked, and the fast tier is guarded.

`tests/conftest.py` takes the hooks in by import. CONTRIBUTING.md says what each marker is for.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Any

import pytest

from harness.foundry import sdk as foundry_sdk

NEEDS = ("toolchain", "foundry", "process", "slow", "scale", "alone")
"""A test with none of these markers is in the fast tier."""

MARKER_OF_FIXTURE = {"toolchain_on_demand": "toolchain", "pytester": "process", "old_release": "slow"}
"""A test that asks for one of these fixtures, directly or through another, gets its marker."""

CHILDREN_LIMIT_S = 2.0
"""Processor seconds, which a busy machine hardly changes: double what the tier allows, as machines differ."""

_ALONE_FIRST = ("alone", "scale", "slow", "toolchain", "foundry", "process")
"""The rank of a test under xdist: what waits for nobody goes first, what is quick fills the gaps at the end."""

_CHILDREN_AT_START = pytest.StashKey[float]()


def markers_of(item: pytest.Item) -> set[str]:
    """Those of `NEEDS` that the test has."""
    return {name for name in NEEDS if item.get_closest_marker(name)}


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark what a test needs by the fixtures that it asks for."""
    for fixture in getattr(item, "fixturenames", ()):
        if fixture in MARKER_OF_FIXTURE:
            item.add_marker(MARKER_OF_FIXTURE[fixture])


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Under xdist, put the longest tests first; each worker has the same list, and steals from the end of another's."""
    if hasattr(config, "workerinput"):
        items.sort(key=_rank)


def _rank(item: pytest.Item) -> int:
    names = markers_of(item)
    return next((rank for rank, name in enumerate(_ALONE_FIRST) if name in names), len(_ALONE_FIRST))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, Any, Any]:
    """Keep Foundry Local from starting in a test that does not say that it starts it."""
    item.stash[_CHILDREN_AT_START] = children_cpu_s()
    with pytest.MonkeyPatch.context() as patch:
        if not item.get_closest_marker("foundry"):
            patch.setattr(foundry_sdk, "start", _refuse_to_start)
        return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, Any, Any]:
    """Fail a test of the fast tier whose child processes worked for long."""
    result = yield
    used_s = children_cpu_s() - item.stash[_CHILDREN_AT_START]
    if used_s > CHILDREN_LIMIT_S and not markers_of(item):
        pytest.fail(
            f"its child processes took {used_s:.1f} s of processor time, and no marker says so: a test without one is in "
            f"the fast tier. Mark it `process`, or what else it needs: {', '.join(NEEDS)}",
            pytrace=False,
        )
    return result


def children_cpu_s() -> float:
    """Processor seconds of all child processes that have ended; always 0 on Windows, which does not tell."""
    times = os.times()
    return times.children_user + times.children_system


def _refuse_to_start(*_: object) -> None:
    pytest.fail("Foundry Local is started by a test that is not marked `foundry`")
