"""The second environment: made whole or not at all, verified on every use."""

import json
import sys
import threading
import time
from collections import namedtuple
from pathlib import Path

import pytest

from harness.errors import ToolchainError
from harness.system.progress import LineProgress
from harness.toolchain import toolchain as module
from harness.toolchain import venv
from harness.toolchain.toolchain import (
    PINS,
    ToolchainOnDemand,
    ensure_toolchain,
    is_ready,
    known_conflict,
    query_versions,
    quiet_environment,
    toolchain_key,
    venv_python,
    verify_toolchain,
)
from harness.toolchain.venv import run_with_heartbeat

GENAI = "onnxruntime-genai"


@pytest.fixture(autouse=True)
def nothing_named(request, monkeypatch):
    """Whoever runs the tests may name a toolchain of their own."""
    if "toolchain" not in request.keywords:
        monkeypatch.delenv("SLM_GATE_TOOLCHAIN", raising=False)


@pytest.mark.parametrize(
    ("olive", "genai", "told"),
    [
        ("0.13.0", "0.14.1", None),
        ("0.13.0", "0.13.2", None),
        ("0.13.0", "0.15.2", "writes no model"),
        ("0.13.0", "0.16.0", "cannot import"),
        ("0.13.0", "0.18.0", "cannot import"),
        ("0.14.0", "0.18.0", None),
    ],
)
def test_known_bad_pairs_are_explained(olive, genai, told):
    conflict = known_conflict({"olive-ai": olive, GENAI: genai})
    assert (conflict is None) if told is None else (told in conflict)


def test_a_python_that_does_not_run_is_named(tmp_path):
    with pytest.raises(ToolchainError, match="does not run"):
        query_versions(tmp_path / "python")


def test_missing_packages_are_named():
    with pytest.raises(ToolchainError, match="lacks torch, transformers, olive-ai") as caught:
        verify_toolchain(Path(sys.executable))
    assert f"torch=={PINS['torch']}" in caught.value.next_step


def test_a_bad_pair_is_refused(monkeypatch):
    monkeypatch.setattr(module, "query_versions", lambda python: {**PINS, GENAI: "0.15.2"})
    with pytest.raises(ToolchainError, match="swallows every error"):
        verify_toolchain(Path("python"))


@pytest.fixture
def fake_pip(monkeypatch):
    """Virtual environments without contents; the list tells what was made."""
    made = []

    def create(python, folder, *, log, progress):
        venv_python(folder).parent.mkdir(parents=True)
        venv_python(folder).touch()
        made.append(folder)

    monkeypatch.setattr(module, "create_venv", create)
    monkeypatch.setattr(module, "install", lambda python, packages, *, log, progress: None)
    monkeypatch.setattr(module, "query_versions", lambda python: dict(PINS))
    return made


def test_it_is_made_once(tmp_path, fake_pip):
    first = ensure_toolchain(cache=tmp_path)
    assert ensure_toolchain(cache=tmp_path) == first
    assert len(fake_pip) == 1
    assert first.versions == PINS


def test_an_unfinished_one_is_never_trusted(tmp_path, fake_pip):
    folder = tmp_path / "toolchains" / toolchain_key()
    venv_python(folder).parent.mkdir(parents=True)
    venv_python(folder).touch()
    (folder / "half-installed").touch()
    assert not is_ready(folder)
    ensure_toolchain(cache=tmp_path)
    assert fake_pip == [folder]
    assert not (folder / "half-installed").exists()
    assert is_ready(folder)


def test_a_failed_installation_leaves_no_mark(tmp_path, fake_pip, monkeypatch):
    def fail(python, packages, *, log, progress):
        raise ToolchainError("pip failed")

    monkeypatch.setattr(module, "install", fail)
    with pytest.raises(ToolchainError):
        ensure_toolchain(cache=tmp_path)
    assert not is_ready(tmp_path / "toolchains" / toolchain_key())


def test_two_at_once_make_one(tmp_path, fake_pip, monkeypatch):
    told = []

    def install(*_args, **_options):
        end_s = time.monotonic() + 20
        while not any("another process" in line for line in told) and time.monotonic() < end_s:
            time.sleep(0.01)

    monkeypatch.setattr(module, "install", install)
    threads = [
        threading.Thread(target=ensure_toolchain, kwargs={"cache": tmp_path, "progress": LineProgress(told.append)})
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(fake_pip) == 1
    assert any("another process" in line for line in told)


def test_too_little_disk_is_told_before_anything_is_made(tmp_path, fake_pip, monkeypatch):
    usage = namedtuple("usage", "free")
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(10**9))
    with pytest.raises(ToolchainError, match=r"0\.9 GiB are free"):
        ensure_toolchain(cache=tmp_path)
    assert fake_pip == []


def test_the_users_own_is_the_one_that_is_named_or_stands_in_the_environment(tmp_path, fake_pip, monkeypatch):
    monkeypatch.setattr(module, "query_versions", lambda python: {**PINS, "torch": "9"})
    monkeypatch.setenv("SLM_GATE_TOOLCHAIN", "~/tools/python")
    assert ToolchainOnDemand(cache=tmp_path).versions["torch"] == "9"
    assert ensure_toolchain(cache=tmp_path).python == Path.home() / "tools/python"
    assert ensure_toolchain(cache=tmp_path, python=tmp_path / "python").python == tmp_path / "python"
    assert fake_pip == []


def test_on_demand_knows_its_versions_without_being_made(tmp_path, fake_pip):
    on_demand = ToolchainOnDemand(cache=tmp_path)
    assert on_demand.versions == PINS
    assert fake_pip == []
    assert on_demand() is on_demand()
    assert len(fake_pip) == 1


@pytest.mark.process
def test_progress_goes_on_while_nothing_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(venv, "HEARTBEAT_S", 0.1)
    told = []
    code = "import time; print('Collecting torch', flush=True); time.sleep(2)"
    run_with_heartbeat(
        [sys.executable, "-c", code], log=tmp_path / "log", progress=LineProgress(told.append), what="pip"
    )
    assert len(told) >= 3
    assert "Collecting torch" in told[-1]
    assert "Collecting torch" in (tmp_path / "log").read_text()


@pytest.mark.parametrize(
    ("output", "told", "hint"),
    [
        ("noise\nERROR: No matching distribution found for torch==2.13.0", "No matching distribution", "PIP_INDEX_URL"),
        ("ERROR: Could not install: NewConnectionError('x')", "Could not install", "HTTPS_PROXY"),
        ("OSError: [Errno 28] No space left on device", "No space left", "free some disk space"),
        ("ERROR: Failed building wheel for x", "Failed building wheel", "--toolchain"),
        ("quiet", "status 3", "read the log"),
    ],
)
def test_pips_decisive_line_and_a_remedy_are_told(tmp_path, output, told, hint):
    code = f"print({output!r}); raise SystemExit(3)"
    with pytest.raises(ToolchainError, match="pip failed") as caught:
        run_with_heartbeat([sys.executable, "-c", code], log=tmp_path / "log", progress=LineProgress(print), what="pip")
    assert told in caught.value.what
    assert hint in caught.value.next_step
    assert str(tmp_path / "log") in caught.value.where


def test_a_program_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ToolchainError, match="does not start"):
        run_with_heartbeat([str(tmp_path / "none")], log=tmp_path / "log", progress=LineProgress(print), what="venv")


def test_everything_driven_is_quiet_and_offline_unless_it_downloads():
    environment = quiet_environment()
    assert environment["OLIVE_DISABLE_TELEMETRY"] == environment["HF_HUB_OFFLINE"] == environment["CI"] == "1"
    assert "HF_HUB_OFFLINE" not in quiet_environment(offline=False)


@pytest.mark.toolchain
def test_the_real_one_has_what_it_needs(toolchain):
    assert set(toolchain.versions) == set(PINS)
    assert json.loads(json.dumps(dict(toolchain.versions)))
