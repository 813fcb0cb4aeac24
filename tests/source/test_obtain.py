"""Downloads and merges: asked for only when needed, and refused in one sentence."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from harness.errors import ChildError, SourceError
from harness.source import obtain as module
from harness.source.obtain import obtain_base, obtain_source
from harness.toolchain.merge_worker import JobError, changed, read_changes, scale_of
from harness.toolchain.toolchain import PINS, Toolchain
from harness.toolchain.workspace import Workspace
from tests.toys import write_safetensors

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
    monkeypatch.setattr(module, "run_job", made.run)
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
    write_safetensors(folder / "adapter_model.safetensors", {"a.lora_A.weight": (4, 8)})
    return folder


def test_an_adapter_is_merged_once(adapter, toy_source, tmp_path, worker):
    worker.act = lambda job: shutil.copytree(job["base"], job["target"]) and {}
    first = obtain_source(str(adapter), Workspace(cache=tmp_path / "cache", toolchain=TOOLCHAIN))
    assert obtain_source(str(adapter), Workspace(cache=tmp_path / "cache", toolchain=untouchable)) == first
    assert first.spec == str(adapter)
    assert first.path != toy_source
    write_safetensors(adapter / "adapter_model.safetensors", {"a.lora_A.weight": (8, 8)})
    obtain_source(str(adapter), Workspace(cache=tmp_path / "cache", toolchain=TOOLCHAIN))
    assert len(worker.jobs) == 2


def test_an_adapter_is_merged_into_the_base_that_the_user_names(adapter, toy_source, tmp_path, worker):
    file = adapter / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "base_model_name_or_path": "gone/elsewhere"}))
    worker.act = lambda job: shutil.copytree(job["base"], job["target"]) and {}
    cache = tmp_path / "cache"
    source = obtain_source(str(toy_source), Workspace(cache=cache, toolchain=TOOLCHAIN), adapter=str(adapter))
    assert worker.jobs[0][0]["base"] == str(toy_source)
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
        ({"use_dora": True}, "use_dora"),
        ({"init_lora_weights": "pissa_niter_4"}, "pissa_niter_4', which changes the base"),
        ({"init_lora_weights": "olora"}, "olora"),
        ({"layer_replication": [[0, 2]]}, "layer_replication"),
        ({"revision": "v2"}, "revision = 'v2'"),
        ({"rank_pattern": {"q": 2}}, "rank_pattern"),
        ({"base_model_name_or_path": None}, "does not name its base"),
        ({"base_model_name_or_path": "/no/such/base"}, "no such folder"),
    ],
)
def test_an_adapter_that_cannot_be_merged_is_refused(adapter, tmp_path, changes, told):
    file = adapter / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
    with pytest.raises(SourceError, match=told):
        obtain_source(str(adapter), Workspace(cache=tmp_path / "cache", toolchain=TOOLCHAIN))


def test_cut_adapter_weights_are_refused(adapter, tmp_path):
    file = adapter / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(SourceError, match="damaged"):
        obtain_source(str(adapter), Workspace(cache=tmp_path / "cache", toolchain=TOOLCHAIN))


def test_a_failed_merge_leaves_nothing(adapter, tmp_path, worker):
    def fail(job):
        Path(job["target"]).mkdir()
        raise ChildError("the adapter changes x, which its base model does not have")

    worker.act = fail
    with pytest.raises(SourceError, match="does not have"):
        obtain_source(str(adapter), Workspace(cache=tmp_path / "cache", toolchain=TOOLCHAIN))
    assert [path for path in (tmp_path / "cache" / "merged").iterdir() if path.is_dir()] == []


def test_the_strength_of_an_adapter():
    assert scale_of({"r": 4, "lora_alpha": 8}) == 2.0
    assert scale_of({"r": 4, "lora_alpha": 8, "use_rslora": True}) == 4.0


def test_what_an_adapter_changes():
    prefix, down, up = "base_model.model.", np.zeros((4, 8)), np.zeros((6, 4))
    changes = read_changes(
        {f"{prefix}l.q.lora_A.weight": down, f"{prefix}l.q.lora_B.weight": up, f"{prefix}lm_head.weight": "H"}, 2.0, 4
    )
    assert changes == {"l.q.weight": (down, up, 2.0), "lm_head.weight": "H"}
    assert read_changes({f"{prefix}l.q.base_layer.bias": "B"}, 2.0, 4) == {"l.q.bias": "B"}
    with pytest.raises(JobError, match="the adapter was trained on another base"):
        changed("l.q.weight", np.zeros((6, 9)), changes)


@pytest.mark.parametrize(
    ("shapes", "told"),
    [
        ({"l.q.lora_A.weight": (4, 8), "l.q.lora_B.weight": (6, 4)}, "says rank 8, and its .* has 4 of 4"),
        ({"l.q.lora_A.weight": (8, 8), "l.q.lora_B.weight": (6, 4)}, "says rank 8, and its .* has 8 of 4"),
        ({"l.q.lora_A.weight": (8, 8)}, "no lora_B to it"),
        ({"l.q.lora_B.weight": (6, 8)}, "no lora_A to it"),
        ({"e.lora_embedding_A": (8, 8)}, "cannot be merged here"),
    ],
)
def test_an_adapter_that_contradicts_itself_is_refused(shapes, told):
    tensors = {f"base_model.model.{name}": np.zeros(shape) for name, shape in shapes.items()}
    with pytest.raises(JobError, match=told):
        read_changes(tensors, 2.0, 8)


@pytest.mark.parametrize("settings", [{"r": 0, "lora_alpha": 8}, {"r": 4}, {"lora_alpha": 8}])
def test_an_adapter_without_rank_or_strength_is_refused(settings):
    with pytest.raises(JobError, match="which is no LoRA"):
        scale_of(settings)


def test_an_adapter_that_names_itself_as_its_base_is_refused(adapter, tmp_path):
    file = adapter / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "base_model_name_or_path": str(adapter)}))
    with pytest.raises(SourceError, match="names itself"):
        obtain_source(str(adapter), Workspace(cache=tmp_path / "cache", toolchain=TOOLCHAIN))
