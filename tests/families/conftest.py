"""Small models under published tokenizers, converted once."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.pipeline.request import Conversion, Request, run_request
from harness.toolchain.toolchain import quiet_environment
from harness.toolchain.workspace import Workspace
from tests.families.families import ALL, Family
from tests.families.packages import published_tokenizer

MAKE_FAMILY = Path(__file__).with_name("make_family.py")


@pytest.fixture(scope="session")
def family_model(toolchain: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a family's model, made once."""
    root = tmp_path_factory.mktemp("families")

    def make(name: str) -> Path:
        family: Family = ALL[name]
        folder = root / name
        if not folder.exists():
            tokenizer = published_tokenizer(family.package)
            command = [*toolchain.command(MAKE_FAMILY), tokenizer, folder, json.dumps(family.settings())]
            env = {**os.environ, **quiet_environment()}
            subprocess.run([str(part) for part in command], check=True, env=env, stderr=subprocess.DEVNULL)
        return folder

    return make


@pytest.fixture(scope="session")
def families_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for conversions and gates: what one made the other finds."""
    return tmp_path_factory.mktemp("families-cache")


@pytest.fixture(scope="session")
def convert_family(
    family_model: Callable[[str], Path], toolchain_on_demand: Any, families_cache: Path, tmp_path_factory: Any
) -> Callable[[str], Conversion]:
    """What `slm-gate convert MODEL --variants int4 --no-fidelity` gives of a family, done once."""
    done: dict[str, Conversion] = {}

    def convert(name: str) -> Conversion:
        if name not in done:
            out = tmp_path_factory.mktemp("out") / name
            request = Request(model=str(family_model(name)), variants="int4", out=out, has_fidelity=False)
            done[name] = run_request(request, Workspace(cache=families_cache, toolchain=toolchain_on_demand))
        return done[name]

    return convert


@pytest.fixture(autouse=True)
def known_toolchain(toolchain_python: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gates that run in a cache of their own use the toolchain that is there, and make none."""
    monkeypatch.setenv("SLM_GATE_TOOLCHAIN", str(toolchain_python))
