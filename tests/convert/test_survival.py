"""Gates that are killed, run twice at once, or run out of disk: processes of their own, with a stub in Olive's place."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.system.paths import REPOSITORY
from harness.system.store import read_verified

GATE = """
import json, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from harness.convert import convert as module, job
from harness.recipes.recipe import load_recipe
from harness.source.source import resolve_source
from harness.toolchain.toolchain import PINS, Toolchain
from harness.toolchain.workspace import Workspace
job.WORKER = Path(sys.argv[2])
module.smoke_test = lambda folder, *, target, log: {"runtime": module.runtime_version()}
source = resolve_source(sys.argv[3])
toolchain = Toolchain(python=Path(sys.executable), versions=PINS)
workspace = Workspace(cache=Path(sys.argv[4]), toolchain=toolchain)
print("ready", flush=True)
found = module.convert(source, {name: load_recipe(name) for name in ("int4", "int8")}, workspace)
print(json.dumps({name: getattr(one, "was_reused", str(one)) for name, one in found.items()}), flush=True)
"""


pytestmark = pytest.mark.process


@pytest.fixture
def gate(toy_source, make_artifact, tmp_path, monkeypatch):
    """Starts a gate that converts the toy source, and returns it when it is about to begin."""
    folders = {"int4": make_artifact("int4"), "int8": make_artifact("int8", bits=8, symmetric=False)}
    script = tmp_path / "script.json"
    script.write_text(json.dumps({name: {"folder": str(folder)} for name, folder in folders.items()}))
    monkeypatch.setenv("STUB_SCRIPT", str(script))
    stub = Path(__file__).with_name("stub_worker.py")

    def start(cache):
        arguments = [str(part) for part in (REPOSITORY, stub, toy_source, cache)]
        process = subprocess.Popen([sys.executable, "-c", GATE, *arguments], stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline() == "ready\n"
        return process

    return start


@pytest.fixture
def runs(tmp_path):
    """Where the stub worker notes what it was asked for."""
    return tmp_path / "script.json.runs"


def outcome(process):
    return json.loads(process.communicate(timeout=120)[0])


def test_killed_at_any_moment_no_incomplete_artifact_is_used(gate, tmp_path):
    cache, moments = tmp_path / "cache", random.Random(0)
    for _ in range(8):
        process = gate(cache)
        time.sleep(moments.uniform(0, 0.6))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        entries = [path for path in (cache / "artifacts").glob("*") if path.is_dir() and not path.name.startswith(".")]
        assert all(read_verified(entry) for entry in entries)
    assert set(outcome(gate(cache))) == {"int4", "int8"}
    assert outcome(gate(cache)) == {"int4": True, "int8": True}
    assert list((cache / "artifacts").glob(".*")) == []


def test_two_processes_at_once_convert_once(gate, runs, tmp_path):
    processes = [gate(tmp_path / "cache") for _ in range(2)]
    found = [outcome(process) for process in processes]
    assert sorted(one["int4"] for one in found) == [False, True]
    assert runs.read_text().splitlines() == ["int8,int4"]


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=96k", "tmpfs", str(folder)]
    if sys.platform != "linux" or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a small disk cannot be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_told_and_leaves_nothing_that_is_believed(gate, small_disk):
    found = outcome(gate(small_disk / "cache"))
    assert all("disk is full" in reason for reason in found.values() if reason is not False), found
    assert any(reason is not False for reason in found.values())
    kept = list((small_disk / "cache" / "artifacts").glob("*/manifest.json"))
    assert all(read_verified(file.parent) for file in kept)
