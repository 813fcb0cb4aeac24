"""Downloads and merges: asked for only when needed, and refused in one sentence."""

import json
import shutil
from pathlib import Path

import pytest

from harness.errors import ChildError, SourceError
from harness.source import merge
from harness.source import obtain as module
from harness.source.obtain import obtain_base, obtain_source
from harness.toolchain.toolchain import PINS, Toolchain
from harness.toolchain.workspace import Workspace
from tests.toys import write_safetensors

UP = "base_model.model.model.layers.0.mlp.up_proj"
TOOLCHAIN = Toolchain(python=Path("python"), versions=PINS)


def untouchable():
    raise AssertionError("no toolchain is needed")


@pytest.fixture
def worker(monkeypatch):
    """A worker that does what the test puts into `act`."""

    class Worker:
        jobs, act = [], staticmethod(lambda job: {})

        def run(self, command, job, *, log, timeout_s, progress, env):
            self.jobs.append((job, env))
            return self.act(job)

    made = Worker()
    made.jobs = []
    monkeypatch.setattr(merge, "run_job", made.run)
    return made


def test_a_folder_needs_nothing(toy_source, tmp_path, worker):
    source = obtain_source(str(toy_source), Workspace(cache=tmp_path, toolchain=untouchable))
    assert source.path == toy_source
    assert worker.jobs == []


def test_a_hub_id_is_downloaded_without_a_toolchain_and_then_checked(toy_source, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "locate", lambda spec: None)
    monkeypatch.setattr(module, "download", lambda spec, workspace: toy_source)
    source = obtain_source("acme/widget", Workspace(cache=tmp_path, toolchain=untouchable))
    assert (source.spec, source.path) == ("acme/widget", toy_source)


@pytest.fixture
def adapter(toy_source, tmp_path):
    folder = tmp_path / "adapter"
    folder.mkdir()
    settings = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "base_model_name_or_path": str(toy_source)}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    write_safetensors(
        folder / "adapter_model.safetensors", {f"{UP}.lora_A.weight": (4, 32), f"{UP}.lora_B.weight": (64, 4)}
    )
    return folder


def test_an_adapter_is_merged_into_the_base_that_the_user_names(adapter, toy_source, tmp_path, worker):
    file = adapter / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "base_model_name_or_path": "gone/elsewhere"}))
    worker.act = lambda job: shutil.copytree(toy_source, job["target"]) and {"is_untied": False}
    cache = tmp_path / "cache"
    source = obtain_source(str(toy_source), Workspace(cache=cache, toolchain=TOOLCHAIN), adapter=str(adapter))
    assert worker.jobs[0][0]["files"] == [str(toy_source / "model.safetensors")]
    assert source.spec == f"{toy_source} + {adapter}"
    (adapter / "config.json").write_text("{}")
    again = obtain_source(str(toy_source), Workspace(cache=cache, toolchain=TOOLCHAIN), adapter=str(adapter))
    assert again.digest == source.digest
    with pytest.raises(SourceError, match="no LoRA adapter"):
        obtain_source(str(toy_source), Workspace(cache=cache, toolchain=TOOLCHAIN), adapter=str(toy_source))


def base_of(spec, tmp_path, *, base=None, adapter=None):
    workspace = Workspace(cache=tmp_path / "cache", toolchain=untouchable)
    found = obtain_base(str(spec), workspace, base=base, adapter=adapter)
    return found and found.path


def test_the_base_is_what_is_named_or_what_an_adapter_goes_into(adapter, toy_source, tmp_path):
    other = Path(shutil.copytree(toy_source, tmp_path / "other"))
    assert base_of(toy_source, tmp_path) is None
    assert base_of(adapter, tmp_path) == toy_source
    assert base_of(other, tmp_path, adapter=str(adapter)) == other
    assert base_of(adapter, tmp_path, base=str(other)) == other


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"peft_type": "IA3"}, "IA3"),
        ({"init_lora_weights": "pissa"}, "pissa', which changes the base"),
        ({"base_model_name_or_path": None}, "does not name its base"),
        ({"base_model_name_or_path": "/no/such/base"}, "no such folder"),
        ({"r": 8}, "says rank 8"),
    ],
)
def test_an_adapter_that_cannot_be_merged_is_refused_before_any_toolchain_is_made(adapter, tmp_path, changes, told):
    file = adapter / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
    with pytest.raises(SourceError, match=told):
        obtain_source(str(adapter), Workspace(cache=tmp_path / "cache", toolchain=untouchable))


def test_cut_adapter_weights_are_refused(adapter, tmp_path):
    file = adapter / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(SourceError, match="damaged"):
        obtain_source(str(adapter), Workspace(cache=tmp_path / "cache", toolchain=TOOLCHAIN))


def test_a_failed_merge_leaves_nothing(adapter, tmp_path, worker):
    def fail(job):
        Path(job["target"]).mkdir()
        raise ChildError("the adapter changes nothing", next_step="save it again")

    worker.act = fail
    with pytest.raises(SourceError, match="changes nothing"):
        obtain_source(str(adapter), Workspace(cache=tmp_path / "cache", toolchain=TOOLCHAIN))
    assert [path for path in (tmp_path / "cache" / "merged").iterdir() if path.is_dir()] == []
