"""The one way through, with a stub in Olive's place: what is kept, what is reused, and what is not believed."""

import errno
import json
import os
import shutil
import sys
import threading
from collections import namedtuple
from pathlib import Path

import pytest

from harness.artifact import adopt as adopt_module
from harness.artifact import artifact as artifact_module
from harness.artifact.adopt import adopt
from harness.artifact.artifact import Artifact
from harness.convert import convert as module
from harness.convert import job as job
from harness.convert.convert import convert
from harness.errors import ArtifactError, ConversionError, ToolchainError, UnexplainedError
from harness.recipes.recipe import load_recipe
from harness.runtime.smoke_test import runtime_version
from harness.source.source import resolve_source
from harness.source.weights import read_shapes
from harness.system.hashing import digest_files
from harness.system.progress import LineProgress
from harness.system.store import publish
from harness.toolchain.toolchain import PINS, Toolchain
from harness.toolchain.workspace import Workspace
from tests.toys import write_safetensors

INT8 = {"bits": 8, "symmetric": False}


class CountedToolchain:
    def __init__(self):
        self.versions, self.calls = dict(PINS), 0

    def __call__(self):
        self.calls += 1
        return Toolchain(python=Path(sys.executable), versions=self.versions)


class Bench:
    """Converts the toy source with the stub; `script` says what happens to each variant."""

    def __init__(self, source, cache, script_file):
        self.source, self.cache, self.script_file = source, cache, script_file
        self.toolchain, self.told, self.tested = CountedToolchain(), [], []

    def run(self, script, **recipes):
        self.script_file.write_text(json.dumps(script))
        recipes = recipes or {name: load_recipe(name) for name in script}
        return convert(self.source, recipes, self.workspace)

    @property
    def workspace(self):
        return Workspace(cache=self.cache, toolchain=self.toolchain, progress=LineProgress(self.told.append))

    @property
    def worker_runs(self):
        file = Path(f"{self.script_file}.runs")
        return file.read_text().splitlines() if file.exists() else []

    def left_behind(self):
        return list((self.cache / "artifacts").glob(".*"))


@pytest.fixture
def bench(toy_source, tmp_path, monkeypatch):
    made = Bench(resolve_source(str(toy_source)), tmp_path / "cache", tmp_path / "script.json")
    monkeypatch.setenv("STUB_SCRIPT", str(made.script_file))
    monkeypatch.setattr(job, "WORKER", Path(__file__).with_name("stub_worker.py"))

    def smoke_test(folder, *, target, log):
        made.tested.append(folder)
        return {"runtime": runtime_version()}

    for one in (module, adopt_module):
        monkeypatch.setattr(one, "smoke_test", smoke_test)
    return made


@pytest.fixture
def healthy(make_artifact):
    """Stub results that are what the built-in recipes ask for."""
    int8 = make_artifact("int8", block_size=32, **INT8)
    return {"int4": {"folder": str(make_artifact("int4"))}, "int8": {"folder": str(int8)}}


def test_one_worker_makes_all_and_only_the_model_is_kept(bench, healthy):
    results = bench.run(healthy)
    assert bench.worker_runs == ["int8,int4"]  # the widest first: its smoke test takes the longest
    assert list(results) == ["int4", "int8"]
    assert all(isinstance(result, Artifact) for result in results.values())
    int4 = results["int4"]
    files = {file.name for file in int4.path.iterdir()}
    assert files == {"model.onnx", "model.onnx.data", "genai_config.json", "tokenizer.json"}
    assert int4.size_bytes == sum(file.stat().st_size for file in int4.path.iterdir())
    assert (int4.was_reused, int4.conversion_s, int4.peak_rss_bytes) == (False, 1.0, 5)
    assert len(bench.tested) == 2
    assert bench.left_behind() == []
    assert int4.digest == digest_files(int4.path, int4.path.iterdir())
    assert int4.graph_digest == digest_files(int4.path, int4.path.glob("model.onnx*"))


def test_one_variant_is_tested_while_the_next_is_made(bench, healthy):
    healthy["int4"]["after"] = str(bench.cache / "artifacts")
    results = bench.run(healthy)
    assert all(isinstance(result, Artifact) for result in results.values()), results


def test_the_second_time_needs_no_toolchain_and_no_smoke_test(bench, healthy):
    first = bench.run(healthy)
    second = bench.run(healthy)
    assert bench.toolchain.calls == 1
    assert bench.worker_runs == ["int8,int4"]
    assert len(bench.tested) == 2
    assert all(second[name].was_reused and second[name].digest == first[name].digest for name in first)


def test_another_runtime_must_test_a_cached_artifact_again(bench, healthy, monkeypatch):
    bench.run(healthy)
    monkeypatch.setattr(module, "runtime_version", lambda: "99")
    bench.run(healthy)
    assert len(bench.tested) == 4
    assert bench.toolchain.calls == 1


@pytest.mark.parametrize("change", ["source", "recipe", "versions"])
def test_whatever_shapes_an_artifact_makes_another_one(bench, healthy, make_artifact, change):
    bench.run(healthy)
    recipe = load_recipe("int4")
    if change == "source":
        (bench.source.path / "config.json").write_text(json.dumps({**json.loads(
            (bench.source.path / "config.json").read_text()), "extra": 1}))  # fmt: skip
        bench.source = resolve_source(str(bench.source.path))
    elif change == "recipe":
        recipe = load_recipe("int4", accuracy_level=1)
        healthy["int4"] = {"folder": str(make_artifact("other", accuracy_level=1))}
    else:
        bench.toolchain.versions["olive-ai"] = "0.14.0"
    result = bench.run(healthy, int4=recipe)["int4"]
    assert not result.was_reused
    assert bench.worker_runs == ["int8,int4", "int4"]


def damage_weights(path):
    file = path / "model.onnx.data"
    raw = bytearray(file.read_bytes())
    raw[100] ^= 1
    file.write_bytes(raw)


@pytest.mark.parametrize(
    "damage",
    [
        damage_weights,
        lambda path: (path / "tokenizer.json").unlink(),
        lambda path: (path / "stranger.json").write_text("{}"),
        lambda path: (path.parent / "manifest.json").unlink(),
        lambda path: (path.parent / "manifest.json").write_text("{"),
    ],
    ids=["a bit", "a file missing", "a file too many", "no manifest", "half a manifest"],
)
def test_a_damaged_entry_is_removed_and_made_again(bench, healthy, damage):
    damage(bench.run(healthy)["int4"].path)
    again = bench.run(healthy)
    assert not again["int4"].was_reused
    assert again["int8"].was_reused
    assert any("int4" in line and "damaged" in line for line in bench.told)
    assert bench.run(healthy)["int4"].was_reused


def test_a_cache_entry_that_vouches_for_another_model_is_refused(bench, healthy, make_artifact):
    """Its manifest is whole and its hashes are right; only the graph is not what the key stands for."""
    entry = bench.run(healthy)["int4"].path.parent
    manifest = json.loads((entry / "manifest.json").read_text())
    aside = entry.with_name("aside")
    shutil.copytree(healthy["int8"]["folder"], aside / "model")
    publish(aside, entry, {"runtime": manifest["runtime"]})
    again = bench.run(healthy)
    assert "asked int4, the graph's matrices are int8" in again["int4"].what
    assert again["int8"].was_reused


def test_a_crash_costs_only_the_variant_in_which_it_happened(bench, healthy, make_artifact):
    fp32 = {"folder": str(make_artifact("fp32", bits=32))}
    results = bench.run({"int4": healthy["int4"], "int8": {"kill": True, "log": "loading"}, "fp32": fp32})
    assert isinstance(results["int4"], Artifact)
    assert isinstance(results["fp32"], Artifact)
    assert isinstance(results["int8"], ConversionError)
    assert "SIGKILL" in results["int8"].what
    assert bench.worker_runs == ["fp32,int8,int4", "int4"]
    assert bench.left_behind() == []


SWALLOWED = "Pass run failed.\nKeyError: <Precision.INT8: 'int8'>\n"
IGNORED = "Keys {'quantization_config'} are not part of ModelBuilderConfig. Ignoring them."


@pytest.mark.parametrize(
    ("deed", "kind", "told"),
    [
        ({"log": SWALLOWED}, ConversionError, "KeyError"),
        ({"error": "ValueError: odd"}, UnexplainedError, "ValueError: odd"),
        ({"log": IGNORED, "is_healthy": True}, ConversionError, "ignored quantization_config"),
        ({"other": {"block_size": 64}}, ArtifactError, "block_size: asked 32, the graph has 64"),
        ({"other": {"bits": 8}}, ArtifactError, "precision: asked int4, the graph's matrices are int8"),
        ({"other": {"logits": "logits_Q8"}}, ArtifactError, "logits_Q8"),
    ],
)
def test_what_olive_did_not_do_is_told_and_not_kept(bench, healthy, make_artifact, deed, kind, told):
    if "other" in deed:
        deed = {"folder": str(make_artifact("other", **deed["other"]))}
    elif deed.pop("is_healthy", False):
        deed = {**deed, **healthy["int4"]}
    results = bench.run({"int4": deed, "int8": healthy["int8"]})
    assert type(results["int4"]) is kind
    assert told in results["int4"].what
    assert "log: " in results["int4"].where
    assert isinstance(results["int8"], Artifact)
    assert not isinstance(bench.run({"int4": deed})["int4"], Artifact)
    assert bench.left_behind() == []


def test_a_model_that_does_not_answer_is_not_kept(bench, healthy, monkeypatch):
    def refuse(folder, *, target, log):
        raise ArtifactError("it gave no token")

    monkeypatch.setattr(module, "smoke_test", refuse)
    assert "no token" in bench.run(healthy)["int4"].what
    assert list((bench.cache / "artifacts").glob("*/manifest.json")) == []


def test_what_a_killed_gate_left_is_never_seen_and_goes_away(bench, healthy):
    first = bench.run(healthy)["int4"]
    key = first.path.parent.name
    half = bench.cache / "artifacts" / f".{key}-0123abcd"
    (half / "aside" / "model").mkdir(parents=True)
    (half / "aside" / "model" / "model.onnx").write_bytes(b"half")
    damage_weights(first.path)
    assert not bench.run(healthy)["int4"].was_reused
    assert bench.left_behind() == []


def test_a_toolchain_that_cannot_be_made_is_every_variants_error(bench, healthy):
    class NoToolchain(CountedToolchain):
        def __call__(self):
            raise ToolchainError("no network")

    bench.toolchain = NoToolchain()
    assert {type(result) for result in bench.run(healthy).values()} == {ToolchainError}


def test_too_little_disk_is_told_before_conversion(bench, healthy, monkeypatch):
    usage = namedtuple("usage", "free")
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(100))
    assert "100 B are free" in bench.run(healthy)["int4"].what
    assert bench.worker_runs == []


def test_variants_that_came_out_the_same_are_refused(bench, make_artifact, tmp_path):
    file = tmp_path / "olive.json"
    file.write_text(json.dumps({"passes": {"b": {"type": "ModelBuilder", "precision": "int4"}}}))
    same = {"folder": str(make_artifact("int4"))}
    results = bench.run({"a": same, "b": same}, a=load_recipe("int4"), b=load_recipe(str(file)))
    assert {type(result) for result in results.values()} == {ArtifactError}
    assert "the same model byte for byte" in results["a"].what


def test_what_may_repeat_another_is_no_duplicate(bench, make_artifact, tmp_path):
    file = tmp_path / "olive.json"
    file.write_text(json.dumps({"passes": {"b": {"type": "ModelBuilder", "precision": "int4"}}}))
    recipes = {"a": load_recipe("int4"), "export": load_recipe(str(file))}
    same = {"folder": str(make_artifact("int4"))}
    bench.script_file.write_text(json.dumps({"a": same, "export": same}))
    results = convert(bench.source, recipes, bench.workspace, may_repeat=("export",))
    assert all(isinstance(result, Artifact) for result in results.values())


def test_one_recipe_under_two_names_is_made_once(bench, healthy):
    results = bench.run({"a": healthy["int4"]}, a=load_recipe("int4"), b=load_recipe("int4"))
    assert bench.worker_runs == ["a"]
    assert [result.variant for result in results.values()] == ["a", "b"]


def test_two_gates_at_once_convert_once(bench, healthy):
    bench.script_file.write_text(json.dumps(healthy))
    found = []
    threads = [threading.Thread(target=lambda: found.append(bench.run(healthy))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert bench.worker_runs == ["int8,int4"]
    assert sorted(results["int4"].was_reused for results in found) == [False, True]


def test_a_folder_made_elsewhere_is_adopted_as_what_it_is(bench, make_artifact):
    folder = make_artifact(block_size=128, symmetric=False)
    artifact = adopt(folder, load_recipe("int4"), "mine", bench.workspace)
    assert (artifact.path, artifact.conversion_s, artifact.facts.block_sizes) == (folder, None, (128,))
    with pytest.raises(ArtifactError, match=r"mine is not what was asked for: precision: asked int8, .* are int4"):
        adopt(folder, load_recipe("int8"), "mine", bench.workspace)


def test_a_folder_made_elsewhere_must_have_the_sources_settings(bench, make_artifact):
    folder = make_artifact()
    adopt(folder, load_recipe("int4"), "mine", bench.workspace, source=bench.source)
    file = folder / "genai_config.json"
    settings = json.loads(file.read_text())
    settings["model"]["context_length"] = 32  # shortened on purpose
    file.write_text(json.dumps(settings))
    adopt(folder, load_recipe("int4"), "mine", bench.workspace, source=bench.source)
    settings["model"].update(context_length=128, eos_token_id=5)
    file.write_text(json.dumps(settings))
    with pytest.raises(ArtifactError, match=r"at 0, 2, genai_config\.json at 5; context: the source has 64, .* 128"):
        adopt(folder, load_recipe("int4"), "mine", bench.workspace, source=bench.source)


@pytest.mark.parametrize("place", ["chat_template.jinja", "tokenizer_config.json"])
def test_another_chat_template_is_told(bench, make_artifact, place):
    folder = make_artifact()

    def write(text):
        (folder / place).write_text(json.dumps({"chat_template": text}) if place.endswith(".json") else text)

    for text in ("{{ messages }}", "{{ messages }}\r\n"):  # the last line break is never rendered
        write(text)
        adopt(folder, load_recipe("int4"), "mine", bench.workspace, source=bench.source)
    write("{{ messages }}\n\n")
    with pytest.raises(ArtifactError, match="chat template: it is not the source's"):
        adopt(folder, load_recipe("int4"), "mine", bench.workspace, source=bench.source)


def test_a_token_that_the_template_writes_is_the_sources(bench, make_artifact):
    """`bos_token` is a name in the template, and a text in another file."""
    folder = make_artifact()
    for place in (folder, bench.source.path):
        (place / "chat_template.jinja").write_text("{{ bos_token }}{{ messages }}")
        (place / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>", "eos_token": "</s>"}))
    (folder / "tokenizer_config.json").write_text(json.dumps({"bos_token": {"content": "<s>"}, "eos_token": "x"}))
    adopt(folder, load_recipe("int4"), "mine", bench.workspace, source=bench.source)
    (folder / "tokenizer_config.json").write_text(json.dumps({"bos_token": "</s>"}))
    with pytest.raises(ArtifactError, match=r"it writes bos_token, which tokenizer_config.json says is '</s>', the"):
        adopt(folder, load_recipe("int4"), "mine", bench.workspace, source=bench.source)


def test_of_several_chat_templates_the_default_counts(bench, make_artifact):
    folder = make_artifact()
    several = [{"name": "tool_use", "template": "x"}, {"name": "default", "template": "{{ messages }}"}]
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": several}))
    adopt(folder, load_recipe("int4"), "mine", bench.workspace, source=bench.source)
    (folder / "tokenizer_config.json").write_text("{")
    with pytest.raises(ArtifactError, match="chat template cannot be read"):
        adopt(folder, load_recipe("int4"), "mine", bench.workspace, source=bench.source)


@pytest.mark.parametrize(
    ("setting", "value", "told"),
    [
        ("eos_token_id", 2, "end of sequence: the source ends at 0, 2, genai_config.json at 2"),
        ("eos_token_id", [2, 0, 5], "genai_config.json at 0, 2, 5"),
        ("vocab_size", 9, "vocabulary: the source has 8, the config 9"),
        ("context_length", 32, "context: the source has 64, the config 32"),
    ],
)
def test_a_setting_that_is_not_the_sources_is_told(bench, healthy, setting, value, told):
    file = Path(healthy["int4"]["folder"]) / "genai_config.json"
    content = json.loads(file.read_text())
    content["model"][setting] = value
    file.write_text(json.dumps(content))
    results = bench.run(healthy)
    assert told in results["int4"].what
    assert isinstance(results["int8"], Artifact)


def test_the_tutorials_ignored_options_are_set_against_the_graph(bench, healthy, tmp_path):
    options = {"block_size": 128, "is_symmetric": False}
    passes = {"b": {"type": "ModelBuilder", "precision": "int4", "quantization_config": options}}
    file = tmp_path / "olive.json"
    file.write_text(json.dumps({"passes": passes}))
    results = bench.run({"mine": {"log": IGNORED, **healthy["int4"]}}, mine=load_recipe(str(file)))
    assert results["mine"].what == (
        "mine: Olive ignored quantization_config (of ModelBuilder), so the model is not the requested one: "
        "block_size requested 128, the graph has 32; is_symmetric requested false, the graph has true"
    )


def test_a_source_that_cannot_be_asked_keeps_nothing(bench, healthy):
    healthy["reference_logits"] = "OSError: no tokenizer here"
    results = bench.run(
        {name: healthy[name] for name in ("int4", "int8", "reference_logits")}, int4=load_recipe("int4")
    )
    assert "no tokenizer here" in results["int4"].what
    assert list((bench.cache / "artifacts").glob("*/manifest.json")) == []


@pytest.mark.parametrize(("stored", "stated", "is_refused"), [
    ("F32", "bfloat16", True), ("F32", "float16", True), ("F32", "float32", False), ("F16", "float16", False),
    ("F16", None, False),
])  # fmt: skip
def test_weights_that_would_be_rounded_when_they_are_read_are_refused(bench, healthy, stored, stated, is_refused):
    folder = bench.source.path
    shapes = read_shapes(folder / "model.safetensors")
    write_safetensors(folder / "model.safetensors", shapes, stored)
    settings = {**json.loads((folder / "config.json").read_text()), "dtype": stated}
    (folder / "config.json").write_text(json.dumps(settings))
    bench.source = resolve_source(str(folder))
    result = bench.run({"int4": healthy["int4"]})["int4"]
    assert isinstance(result, Artifact) is not is_refused
    assert not is_refused or f"config.json says dtype {stated}" in result.what


def test_a_source_that_is_written_to_meanwhile_keeps_nothing(bench, healthy, monkeypatch):
    """It would be found again under the digest of what it was before."""
    weights = bench.source.path / "model.safetensors"

    def smoke_test(_folder, **_options):
        os.utime(weights, ns=(0, 0))
        return {"runtime": runtime_version()}

    monkeypatch.setattr(module, "smoke_test", smoke_test)
    results = bench.run(healthy)
    assert "the model changed while it was read" in results["int4"].what
    assert results["int4"].where == str(weights)
    assert list((bench.cache / "artifacts").glob("*/manifest.json")) == []


@pytest.mark.parametrize(
    ("number", "told"), [(errno.ENOSPC, "the disk is full"), (errno.EROFS, "cannot be read or written: Read-only")]
)
def test_a_disk_that_takes_no_more_is_told_and_nothing_is_kept(bench, healthy, monkeypatch, number, told):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as context:
        context.setattr(artifact_module, "publish", refuse)
        results = bench.run(healthy)
    assert told in results["int4"].what
    assert bench.left_behind() == []
    assert list((bench.cache / "artifacts").glob("*/manifest.json")) == []
    assert isinstance(bench.run(healthy)["int4"], Artifact)
