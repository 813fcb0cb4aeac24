"""The real thing: Olive, transformers and onnxruntime-genai on a tiny model."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.artifact.adopt import adopt
from harness.artifact.artifact import Artifact
from harness.artifact.facts import precision_of
from harness.convert.convert import convert
from harness.errors import ArtifactError, ConversionError, InvalidPromptError, ToolchainError
from harness.recipes.recipe import load_recipe
from harness.runtime.genai import GenaiSession
from harness.runtime.smoke_test import smoke_test
from harness.source.obtain import obtain_source
from harness.source.reference_logits import ReferenceLogits
from harness.source.reference_session import ReferenceSession
from harness.stats.divergence import log_softmax
from harness.system.paths import REPOSITORY
from harness.toolchain.workspace import Workspace
from harness.verify.criteria import fine_tune_findings
from harness.verify.measure import measure_fidelity
from harness.verify.tokenizer import compare_tokenizer
from tests.controls.marks import Way, broken

pytestmark = pytest.mark.toolchain


@pytest.fixture(scope="module")
def reference(tiny_source, toolchain):
    session = ReferenceSession(tiny_source, toolchain)
    yield session
    session.close()


def user(text):
    return [{"role": "user", "content": text}]


QUESTIONS = [user("Error E4?"), user("The quick brown fox"), user("x" * 40), user("")]


def test_every_built_in_recipe_gives_what_it_names(converted):
    assert all(isinstance(result, Artifact) for result in converted.values()), converted
    assert {name: precision_of(result.facts) for name, result in converted.items()} == {n: n for n in converted}
    assert converted["int8"].recipe.block_size == 64  # the largest that divides 64 and 128
    assert converted["int4"].size_bytes < converted["int8"].size_bytes < converted["fp32"].size_bytes


def test_the_second_time_is_read_from_the_cache(converted, tiny_source, shared_cache, toolchain):
    class Untouchable:
        versions = toolchain.versions

        def __call__(self):
            raise AssertionError("nothing needs converting")

    recipes = {name: load_recipe(name) for name in converted}
    again = convert(tiny_source, recipes, Workspace(cache=shared_cache, toolchain=Untouchable()))
    assert all(result.was_reused for result in again.values())


def test_the_fp32_graph_is_the_source_model(converted, reference):
    session = GenaiSession(converted["fp32"].path)
    prompt = "".join(reference.render(question) for question in QUESTIONS)
    assert session.encode(prompt) == reference.encode(prompt)
    token_ids = reference.encode(prompt)
    ours, theirs = log_softmax(reference.logits(token_ids)), log_softmax(session.logits(token_ids))
    assert (np.exp(ours) * (ours - theirs)).sum(axis=-1).mean() < 1e-6
    assert (ours.argmax(axis=-1) == theirs.argmax(axis=-1)).all()


def test_the_reference_answers_alike_in_a_batch_alone_and_in_onnx(converted, reference):
    session = GenaiSession(converted["fp32"].path)
    together = reference.answer_many(QUESTIONS, max_new_tokens=12)
    alone = [reference.answer(question, max_new_tokens=12) for question in QUESTIONS]
    onnx = [session.answer(question, max_new_tokens=12) for question in QUESTIONS]
    tokens = [answer.token_ids for answer in together]
    assert tokens == [answer.token_ids for answer in alone] == [answer.token_ids for answer in onnx]


def test_the_reference_refuses_what_does_not_fit_and_goes_on(reference):
    answers = reference.answer_many([user("x " * 600), user("x")], max_new_tokens=3)
    assert isinstance(answers[0], InvalidPromptError)
    assert len(answers[1].token_ids) == 3
    assert len(reference.answer(user("x"), max_new_tokens=5, min_new_tokens=5).token_ids) == 5


@pytest.fixture(scope="module")
def misled(tiny_source, shared_workspace, tmp_path_factory):
    """Users' Olive files that Olive does not obey, each with its outcome."""
    folder = tmp_path_factory.mktemp("misled")
    builder = {"type": "ModelBuilder"}
    passes = {
        "int8": {"build": {**builder, "precision": "int8"}},
        "fp16": {"build": {**builder, "precision": "fp16"}},
        "ignored": {
            "build": {**builder, "precision": "int4", "quantization_config": {"block_size": 128, "is_symmetric": False}}
        },
        "renamed": {
            "build": {**builder, "precision": "fp32"},
            "quantize": {"type": "OnnxBlockWiseRtnQuantization", "bits": 8},
        },
        "newer names": {"build": {**builder, "precision": "int4", "extra_options": {"block_size": 64}}},
        "obeyed": {"build": {**builder, "precision": "int4", "int4_block_size": 64, "int4_accuracy_level": 1}},
        "whole rows": {
            "quantize": {"type": "Rtn", "bits": 8, "group_size": -1, "sym": False, "lm_head": True},
            "build": {**builder, "precision": "int4"},
        },
    }
    recipes = {}
    for name, content in passes.items():
        file = folder / f"{name}.json"
        file.write_text(json.dumps({"passes": content}))
        recipes[name] = load_recipe(str(file))
    return convert(tiny_source, recipes, shared_workspace)


@broken("Olive files that are not obeyed", way=Way.CONVERT)
@pytest.mark.parametrize(
    ("name", "kind", "told"),
    [
        ("int8", ConversionError, "KeyError: <Precision.INT8"),
        ("fp16", ConversionError, "no fp16 for CPU"),
        (
            "ignored",
            ConversionError,
            "block_size requested 128, the graph has 32; is_symmetric requested false, the graph has true",
        ),
        ("renamed", ArtifactError, "the graph calls it"),
        ("newer names", ArtifactError, "block_size: asked 64, the graph has 32"),
    ],
)
def test_a_workflow_that_olive_does_not_obey_is_told(misled, name, kind, told):
    assert type(misled[name]) is kind
    assert told in misled[name].what


def test_a_users_workflow_that_works_is_taken(misled):
    facts = misled["obeyed"].facts
    assert (facts.block_sizes, facts.accuracy_levels) == ((64,), (1,))


def test_a_group_for_each_row_is_compared_with_the_graph(misled, bare_workspace):
    rows = misled["whole rows"]
    assert (rows.recipe.block_size, rows.facts.block_sizes, rows.facts.blocks_per_row) == (-1, (64, 128), (1,))
    with pytest.raises(ArtifactError, match="asked one block for each row, the graph has rows of 1, 2 blocks"):
        adopt(misled["obeyed"].path, replace(misled["obeyed"].recipe, block_size=-1), "mine", bare_workspace)


@pytest.fixture
def copied(converted, tmp_path):
    def copy(variant):
        return Path(shutil.copytree(converted[variant].path, tmp_path / variant))

    return copy


def test_a_healthy_folder_is_adopted(copied, bare_workspace):
    artifact = adopt(copied("int4"), load_recipe("int4"), "mine", bare_workspace)
    assert artifact.facts.block_sizes == (32,)


@broken("int4 that is said to be int8", way=Way.CONVERT)
def test_int4_that_is_said_to_be_int8_is_refused(copied, bare_workspace):
    with pytest.raises(ArtifactError, match="asked int8, the graph's matrices are int4"):
        adopt(copied("int4"), load_recipe("int8"), "mine", bare_workspace)


@broken("weights that are cut short", way=Way.CONVERT)
def test_cut_weights_are_refused(copied, bare_workspace):
    folder = copied("int8")
    file = folder / "model.onnx.data"
    with file.open("r+b") as stream:
        stream.truncate(file.stat().st_size - 1)
    with pytest.raises(ArtifactError, match="cut short: tensor"):
        adopt(folder, load_recipe("int8"), "mine", bare_workspace)


def poison(folder):
    file = folder / "model.onnx.data"
    file.write_bytes(b"\xff" * file.stat().st_size)


def drop_template(folder):
    (folder / "chat_template.jinja").unlink()


def forget_the_question(folder):
    (folder / "chat_template.jinja").write_text("{{ '<|im_start|>assistant\n' }}")


def break_the_graph(folder):
    file = folder / "model.onnx"
    file.write_bytes(file.read_bytes().replace(b"MatMul", b"MutMal"))


def break_the_tokenizer(folder):
    (folder / "tokenizer.json").write_text("{}")


@broken("folders that cannot answer", way=Way.CONVERT)
@pytest.mark.parametrize(
    ("plant", "told"),
    [
        (poison, "NaN or infinite"),
        (drop_template, "its chat template failed"),
        (forget_the_question, "leaves the user's words out"),
        (break_the_graph, "loading it failed"),
        (break_the_tokenizer, "its tokenizer failed"),
    ],
)
def test_a_model_that_cannot_answer_is_refused(copied, tmp_path, plant, told):
    folder = copied("fp32")
    plant(folder)
    with pytest.raises(ArtifactError, match=told):
        smoke_test(folder, log=tmp_path / "log")


def cut_merges(settings):
    settings["model"]["merges"] = settings["model"]["merges"][:10]


def forget_a_control_token(settings):
    settings["added_tokens"] = settings["added_tokens"][:-1]


def swap_two_tokens(settings):
    vocabulary = settings["model"]["vocab"]
    vocabulary["0"], vocabulary["1"] = vocabulary["1"], vocabulary["0"]


@broken("tokenizers that talk and are not the source's", way=Way.CONVERT)
@pytest.mark.parametrize(
    ("plant", "told"),
    [
        (cut_merges, "merge 10 is None, the source's"),
        (forget_a_control_token, "its added token 2 is null"),
        (swap_two_tokens, "its vocabulary has '0' as"),
    ],
)
def test_a_tokenizer_that_is_not_the_sources_is_refused(
    copied, converted, tiny_source, shared_cache, toolchain, tmp_path, plant, told
):
    folder = copied("int4")
    file = folder / "tokenizer.json"
    settings = json.loads(file.read_text())
    plant(settings)
    file.write_text(json.dumps(settings))
    smoke_test(folder, log=tmp_path / "log")  # it loads, and it talks
    workspace = Workspace(cache=shared_cache, toolchain=toolchain)
    planted = replace(converted["int4"], path=folder, digest=plant.__name__)
    found = compare_tokenizer(planted, ReferenceLogits(tiny_source, workspace), workspace)
    with pytest.raises(ArtifactError, match=r"tokenizer\.json is not the source's") as caught:
        found.require()
    assert told in caught.value.what
    assert sum(count.differing for count in found.counts.values()) > 0


def test_the_sources_own_tokenizer_passes(converted, tiny_source, shared_cache, toolchain):
    workspace = Workspace(cache=shared_cache, toolchain=toolchain)
    found = compare_tokenizer(converted["fp16"], ReferenceLogits(tiny_source, workspace), workspace)
    found.require()
    assert (found.refused, found.deviations, found.pipeline) == (0, (), None)
    assert {name for name, count in found.counts.items() if count.differing} <= {"scripts"}


@broken("an adapter that was not applied", way=Way.CONVERT)
def test_an_adapter_that_was_not_applied_is_told(tiny_source, converted, shared_cache, toolchain):
    """The folder is called fine-tuned; its weights are the base model's."""
    workspace = Workspace(cache=shared_cache, toolchain=toolchain)
    reference_logits = ReferenceLogits(tiny_source, workspace, base=tiny_source, with_logits=True)
    reference_logits.ensure()
    int4 = converted["int4"]
    (finding,) = fine_tune_findings(measure_fidelity(int4, reference_logits, workspace), int4)
    assert "exactly what its base model says" in finding.what


GATE = """
import sys
sys.path.insert(0, {repository!r})
from pathlib import Path
from harness.convert.convert import convert
from harness.recipes.recipe import load_recipe
from harness.source.source import resolve_source
from harness.toolchain.toolchain import verify_toolchain
from harness.toolchain.workspace import Workspace
workspace = Workspace(cache=Path({cache!r}), toolchain=verify_toolchain(Path({python!r})))
convert(resolve_source({source!r}), {{"int4": load_recipe("int4")}}, workspace)
"""


def test_a_gate_killed_in_mid_conversion_leaves_nothing_that_is_trusted(tiny_source, toolchain, tmp_path):
    cache = tmp_path / "cache"
    places = {"repository": str(REPOSITORY), "source": str(tiny_source.path), "cache": str(cache)}
    code = GATE.format(**places, python=str(toolchain.python))
    gate = subprocess.Popen([sys.executable, "-P", "-c", code])
    store = cache / "artifacts"
    wait_for(lambda: list(store.glob(".*-*/started")))
    os.kill(gate.pid, signal.SIGKILL)
    gate.wait()
    assert list(store.glob("*/manifest.json")) == []

    class Asked:
        versions = toolchain.versions

        def __call__(self):
            raise ToolchainError("it wants to convert again")

    again = convert(tiny_source, {"int4": load_recipe("int4")}, Workspace(cache=cache, toolchain=Asked()))["int4"]
    assert isinstance(again, ToolchainError)


def wait_for(condition, timeout_s=60.0):
    end_s = time.perf_counter() + timeout_s
    while not condition():
        assert time.perf_counter() < end_s, "waited too long"
        time.sleep(0.01)


COMPARE = """
import sys, torch
from safetensors.torch import load_file
merged, expected, base = sys.argv[1:]
name = "model.layers.0.mlp.down_proj.weight"
tensors, old = load_file(merged), load_file(base)
assert torch.equal(tensors.pop(name), torch.load(expected))
assert old.pop(name) is not None and all(torch.equal(tensors[key], old[key]) for key in old)
"""


def test_a_lora_adapter_is_merged_into_its_base(tiny_source, toolchain, make_adapter, tmp_path):
    adapter, cache = make_adapter(size=1.0), tmp_path / "cache"
    source = obtain_source(str(adapter), Workspace(cache=cache, toolchain=toolchain))
    assert source.digest != tiny_source.digest
    merged, base = (folder / "model.safetensors" for folder in (source.path, tiny_source.path))
    subprocess.run([toolchain.python, "-c", COMPARE, merged, adapter / "expected.pt", base], check=True)

    def untouchable():
        raise AssertionError("nothing needs merging")

    assert obtain_source(str(adapter), Workspace(cache=cache, toolchain=untouchable)).digest == source.digest


UNATTENDED = """
import contextlib
from olive.workflows import run
with contextlib.suppress(Exception):
    run({"input_model": {"type": "HfModel", "model_path": "/nowhere/at/all"}})
"""


@pytest.mark.slow
def test_a_conversion_looks_nobody_up_and_olive_left_alone_would(looked_up, tiny_source, toolchain, tmp_path):
    convert_it = [sys.executable, "-m", "harness.cli.main", "convert", tiny_source.path, "--variants", "int4,int8"]
    options = ["--out", tmp_path / "out", "--toolchain", toolchain.python]
    assert looked_up([*convert_it, *options], SLM_GATE_CACHE=str(tmp_path / "cache")) == set()
    assert looked_up([toolchain.python, "-c", UNATTENDED])
