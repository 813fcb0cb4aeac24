"""What a person is shown of Foundry Local's native errors."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import DeployError, GateError
from harness.foundry.sdk import raising, reason


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("catalog.cc:276 virtual fl::Model* fl::Catalog::Register(const std::string&, int) taken: a:1", "taken: a:1"),
        ("a.cc:90 fl::{anonymous}::Id fl::{anonymous}::Parse(const std::string&) must have (a:1)", "must have (a:1)"),
        ("a.cc:90 fl::Id fl::(anonymous namespace)::Parse(const std::string &) no colon", "no colon"),
        ("a.cc:1 void fl::Run(std::function<void(fl::Item)>, int) const stopped", "stopped"),
        ("a.cc:9 int fl::A::B() failed: b.h:3 bool fl::C::D(int) no file", "failed: no file"),
        ("ort.cc:9 GetTensor data (100 bytes) is short", "ort.cc:9 GetTensor data (100 bytes) is short"),
        ("plain words\nand a stack", "plain words"),
        ("a.cc:9 int fl::unclosed(", "int fl::unclosed("),
        ("", "RuntimeError"),
    ],
)
def test_the_words_are_kept_and_the_signature_is_not(message: str, shown: str) -> None:
    assert reason(RuntimeError(message)) == shown


def test_errors_are_turned_into_ours_and_ours_pass() -> None:
    def make(error: BaseException) -> GateError:
        return DeployError(reason(error))

    for foreign in (RuntimeError("x"), ValueError("x"), TypeError("x"), OSError("x")):
        with pytest.raises(DeployError, match="x"), raising(make):
            raise foreign
    ours = GateError("mine")
    with pytest.raises(GateError) as passed, raising(make):
        raise ours
    assert passed.value is ours
    with pytest.raises(ZeroDivisionError), raising(make):
        1 / 0  # noqa: B018


HOLD = """
import contextlib, os, sys, time
from pathlib import Path
from harness.foundry import sdk as foundry_sdk
from harness.foundry.host import FoundryHost
if sys.argv[2] == "unattended":
    foundry_sdk._surroundings = lambda folder: contextlib.nullcontext()
with FoundryHost(Path(sys.argv[1])):
    time.sleep(3)
    end_s = time.monotonic() + 30
    while sys.argv[2] == "unattended" and not os.path.exists(os.environ["SPY_LOG"]) and time.monotonic() < end_s:
        time.sleep(0.1)
"""


@pytest.mark.foundry
@pytest.mark.process
@pytest.mark.parametrize("care", ["attended", "unattended"])
def test_foundry_looks_nobody_up_and_left_alone_it_would(
    looked_up: Callable[..., set[str]], tmp_path: Path, care: str
) -> None:
    names = looked_up([sys.executable, "-c", HOLD, tmp_path / "home", care], XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert bool(names) is (care == "unattended")
