"""`slm-gate convert` as a user runs it, on a tiny model; conversions are shared through one cache."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest

from harness.cli import main as cli
from harness.convert.convert import convert
from harness.recipes.recipe import load_recipe
from harness.source.source import resolve_source
from harness.system.store import read_verified
from harness.toolchain.workspace import Workspace
from tests.controls.marks import Way, broken, healthy

pytestmark = pytest.mark.toolchain


@pytest.fixture
def run(converted, shared_cache, toolchain, monkeypatch, capsys):
    """Runs the command; its exit status, what it printed, and what it complained of."""
    monkeypatch.setenv("SLM_GATE_CACHE", str(shared_cache))

    def command(*arguments):
        options = ["--toolchain", str(toolchain.python)]
        status = cli.main(["convert", *map(str, arguments), *options])
        shown = capsys.readouterr()
        assert "Traceback" not in shown.err
        return status, shown.out, shown.err

    return command


def test_each_variant_comes_with_all_that_was_verified(run, tiny_source, tmp_path):
    variants = "int4,int8:symmetric=true"
    status, shown, _ = run(tiny_source.path, "--variants", variants, "--out", tmp_path)
    assert status == 0
    assert "nats short    nats long" in shown
    assert "block size       32 (32)" in shown
    for name, nats in (("int4", 1.0), ("int8-symmetric-true", 0.05)):
        manifest = read_verified(tmp_path / name)
        assert manifest["model"] == str(tiny_source.path)
        assert manifest["source"] == tiny_source.as_dict()
        assert 0 < manifest["fidelity"]["variant"]["long_kld_nats"] < nats
        assert manifest["fidelity"]["reference_export"]["long_kld_nats"] < 1e-6
        assert manifest["recipe"]["symmetric"] is True
        assert manifest["facts"]["symmetries"] == [True]
        assert manifest["versions"]["olive-ai"]
        assert manifest["conversion_s"] > 0


@pytest.mark.slow
def test_answers_that_may_never_end_are_warned_of_and_the_warning_is_kept(run, tiny_source, tmp_path):
    endless = shutil.copytree(tiny_source.path, tmp_path / "endless")
    for name in ("config.json", "generation_config.json"):
        settings = json.loads((endless / name).read_text())
        (endless / name).write_text(json.dumps({**settings, "eos_token_id": 0}))
    status, shown, _ = run(endless, "--variants", "int8", "--no-fidelity", "--out", tmp_path / "out")
    assert status == 0
    assert "warning: answers may never end: the chat template closes a turn with '<|im_end|>' (2)" in shown
    (remark,) = read_verified(tmp_path / "out" / "int8")["source"]["remarks"]
    assert '"eos_token_id": [0, 2]' in remark


def test_without_fidelity_nothing_is_measured_and_that_is_said(run, tiny_source, tmp_path):
    status, shown, _ = run(tiny_source.path, "--variants", "int8", "--no-fidelity", "--out", tmp_path)
    assert status == 0
    assert "was not measured (--no-fidelity)" in shown
    assert "reference export" not in shown
    assert read_verified(tmp_path / "int8")["fidelity"] is None


@pytest.mark.slow
def test_a_model_that_transformers_cannot_run_is_the_reason_for_all_variants(run, tiny_source, tmp_path):
    """The converter says something else of each of them."""
    broken = shutil.copytree(tiny_source.path, tmp_path / "broken")
    settings = json.loads((broken / "config.json").read_text())
    (broken / "config.json").write_text(json.dumps({**settings, "hidden_act": "sillu"}))
    status, _, told = run(broken, "--variants", "int4,int8", "--out", tmp_path / "out")
    assert status == 1
    assert "int4, int8: transformers cannot use the model: KeyError: 'sillu'" in told
    assert told.count("sillu") == 1


@healthy("an adapter that was trained", way=Way.CONVERT)
@pytest.mark.slow
def test_an_adapter_that_is_in_the_weights_is_told_from_its_base(run, make_adapter, tmp_path):
    status, shown, _ = run(make_adapter(size=0.1), "--variants", "int8", "--out", tmp_path)
    assert status == 0
    found = read_verified(tmp_path / "int8")["fidelity"]["variant"]
    assert found["long_kld_nats"] < found["base_kld_nats"]
    assert "nats from the fine-tuned model" in shown


@broken("an adapter that changes nothing", way=Way.CONVERT)
def test_an_adapter_that_changes_nothing_is_refused_and_nothing_delivered(run, make_adapter, tiny_source, tmp_path):
    adapter, out = make_adapter(size=0.0), tmp_path / "out"
    status, _, told = run(tiny_source.path, "--adapter", adapter, "--variants", "int8", "--out", out)
    assert status == 2
    assert "the adapter changes nothing: merged, every weight is what its base has" in told
    assert not out.exists() or list(out.iterdir()) == []


def test_an_adopted_folder_is_compared_with_its_source(run, converted, tiny_source, tmp_path):
    status, shown, told = run(converted["int4"].path, "--source", tiny_source.path, "--out", tmp_path)
    assert (status, told) == (0, "")
    assert shown.count("model: smoke test") == 1
    manifest = read_verified(tmp_path / "model")
    assert manifest["fidelity"]["reference_export"]["long_kld_nats"] < 1e-6
    assert (manifest["source"]["digest"], manifest["versions"]) == (tiny_source.digest, {})


@healthy("an adopted folder with a shorter context", way=Way.CONVERT)
@pytest.mark.slow
def test_an_adopted_folder_with_a_shorter_context_is_compared_as_far_as_it_goes(run, converted, tiny_source, tmp_path):
    folder = Path(shutil.copytree(converted["int8"].path, tmp_path / "short"))
    file = folder / "genai_config.json"
    settings = json.loads(file.read_text())
    settings["model"]["context_length"] = settings["search"]["max_length"] = 128
    file.write_text(json.dumps(settings))
    status, shown, told = run(folder, "--source", tiny_source.path)
    assert (status, told) == (0, "")
    assert "the last of 127 random tokens" in shown


@pytest.fixture(scope="module")
def other_theta(tiny_source, shared_cache, toolchain, tmp_path_factory):
    """The tiny model in int4 as a converter makes it that loses the rope theta: rightly shaped, fluent and wrong."""
    folder = shutil.copytree(tiny_source.path, tmp_path_factory.mktemp("theta") / "model")
    config = json.loads((folder / "config.json").read_text())
    config["rope_parameters"]["rope_theta"] = 500.0
    (folder / "config.json").write_text(json.dumps(config))
    source = resolve_source(str(folder))
    return convert(source, {"int4": load_recipe("int4")}, Workspace(cache=shared_cache, toolchain=toolchain))[
        "int4"
    ].path


@broken("an adopted folder with another rope theta", way=Way.CONVERT)
@pytest.mark.slow
def test_an_adopted_folder_with_another_rope_theta_is_refused(run, other_theta, tiny_source, tmp_path):
    status, _, told = run(other_theta, "--source", tiny_source.path, "--out", tmp_path / "out")
    assert status == 1
    assert "encodes positions otherwise than its source" in told
    assert list((tmp_path / "out").iterdir()) == []


@broken("a norm that int4 hides", way=Way.CONVERT)
def test_a_norm_that_int4_hides_is_told(run, converted, tiny_source, tmp_path):
    folder = Path(shutil.copytree(converted["int4"].path, tmp_path / "changed"))
    model = onnx.load(str(folder / "model.onnx"))
    norm = next(tensor for tensor in model.graph.initializer if tensor.name == "model.layers.1.input_layernorm.weight")
    norm.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(norm) * np.float32(1.01), norm.name))
    (folder / "model.onnx.data").unlink()
    onnx.save(model, str(folder / "model.onnx"), save_as_external_data=True, location="model.onnx.data")
    status, _, told = run(folder, "--source", tiny_source.path)
    assert status == 1
    assert "changed is not its source rounded: model.layers.1.input_layernorm.weight is not the source's" in told


@pytest.mark.parametrize("backend", ["olive", "genai"])
@pytest.mark.slow
def test_the_sources_penalties_are_kept_and_missed_in_folders_without_them(run, tiny_source, tmp_path, backend):
    """The builder of this toolchain leaves them out; the model would repeat itself."""
    source = Path(shutil.copytree(tiny_source.path, tmp_path / "source"))
    stated = json.loads((source / "generation_config.json").read_text())
    penalties = {"repetition_penalty": 1.3, "no_repeat_ngram_size": 4}
    (source / "generation_config.json").write_text(json.dumps({**stated, **penalties}))
    status, _, told = run(source, "--variants", f"int8:backend={backend}", "--out", tmp_path / "out")
    assert (status, told) == (0, "")
    folder = tmp_path / "out" / f"int8-backend-{backend}"
    settings = json.loads((folder / "genai_config.json").read_text())
    assert settings["search"] | penalties == settings["search"]
    settings["search"]["repetition_penalty"] = 1.0
    (folder / "genai_config.json").write_text(json.dumps(settings))
    status, _, told = run(folder, "--source", source)
    assert status == 1
    assert "repetition_penalty 1.0, the source gives 1.3" in told


@broken("caches of two layers crossed", way=Way.CONVERT)
def test_crossed_caches_that_no_prefill_shows_are_told(run, converted, tiny_source, tmp_path):
    """Two layers read each other's past: nothing is wrong until a second token is made."""
    folder = Path(shutil.copytree(converted["int8"].path, tmp_path / "crossed"))
    model = onnx.load(str(folder / "model.onnx"), load_external_data=False)
    other = {"past_key_values.0.key": "past_key_values.1.key", "past_key_values.1.key": "past_key_values.0.key"}
    for node in model.graph.node:
        node.input[:] = [other.get(name, name) for name in node.input]
    onnx.save(model, str(folder / "model.onnx"))
    status, _, told = run(folder, "--source", tiny_source.path, "--transformed")
    assert status == 1
    assert "its key-value cache is not carried on correctly" in told


def rewrite_weights(source, folder, change):
    """A copy of the source; `change` takes its header, and returns bytes to append."""
    shutil.copytree(source, folder)
    file = folder / "model.safetensors"
    content = file.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    added = change(header)
    raw = json.dumps(header).encode()
    file.write_bytes(len(raw).to_bytes(8, "little") + raw + content[end:] + added)
    return folder


@broken("a tensor that the source lacks", way=Way.CONVERT)
@pytest.mark.slow
def test_a_tensor_that_the_source_lacks_is_not_made_up(run, tiny_source, tmp_path):
    def rename(header):
        header["model.norm.misspelt"] = header.pop("model.norm.weight")
        return b""

    source = rewrite_weights(tiny_source.path, tmp_path / "lacking", rename)
    status, _, told = run(source, "--variants", "int8", "--out", tmp_path / "out")
    assert status == 1
    assert "the weights lack model.norm.weight" in told


@broken("a head that its config ties", way=Way.CONVERT)
@pytest.mark.slow
def test_an_output_head_that_its_config_ties_is_told(run, tiny_source, tmp_path):
    """transformers reads the embeddings, and Olive's quantiser the head."""

    def add_head(header):
        embeddings = header["model.embed_tokens.weight"]
        end = max(entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__")
        numbers = np.random.default_rng(0).normal(size=embeddings["shape"]).astype(np.float16).tobytes()
        header["lm_head.weight"] = {**embeddings, "data_offsets": [end, end + len(numbers)]}
        return numbers

    source = rewrite_weights(tiny_source.path, tmp_path / "headed", add_head)
    status, _, told = run(source, "--variants", "int8", "--out", tmp_path / "out")
    assert status == 1
    assert "the weights of /lm_head are not the source's" in told


def test_without_its_source_only_the_folder_itself_is_verified(run, other_theta):
    status, shown, _ = run(other_theta)
    assert status == 0
    assert "nothing says what it was converted from" in shown


def test_another_models_tokenizer_is_told_even_without_fidelity(run, converted, tiny_source, tmp_path):
    folder = Path(shutil.copytree(converted["int4"].path, tmp_path / "cut"))
    settings = json.loads((folder / "tokenizer.json").read_text())
    settings["model"]["merges"] = settings["model"]["merges"][:10]
    (folder / "tokenizer.json").write_text(json.dumps(settings))
    status, _, told = run(folder, "--source", tiny_source.path, "--no-fidelity")
    assert status == 1
    assert "tokenizer.json is not the source's" in told
