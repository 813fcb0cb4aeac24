"""Merges held against live PEFT: the model that was trained, in nats."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from harness.source.obtain import obtain_source
from harness.system.paths import default_cache
from harness.system.store import build_once
from harness.toolchain.toolchain import quiet_environment
from harness.toolchain.workspace import Workspace
from tests.controls.marks import Way, healthy

pytestmark = [pytest.mark.toolchain, pytest.mark.slow]

SCRIPT = Path(__file__).with_name("live_peft.py")
TINY_MODEL = Path(__file__).parents[1] / "tiny_model.py"
PEFT = ("peft==0.21.2", "accelerate==1.15.0", "psutil==7.2.2")
"""For these tests only: the gate merges without it."""

FLOAT32_NATS = 1e-9
"""What float32 leaves of a merge: PEFT's own reach 1e-11."""

QV = ["q_proj", "v_proj"]
ROWS = {"embed_tokens": [1, 5], "lm_head": [5, 7]}


def case(base, *, tokens_added=0, **config):
    return {"base": base, "tokens_added": tokens_added, "config": {"target_modules": QV, **config}}


CASES = {
    "plain": case("untied"),
    "all_linear": case("tied", target_modules="all-linear"),
    "one_expression": case("untied", target_modules=r".*layers\.1\.(self_attn\.q_proj|mlp\.up_proj)"),
    "layers_to_transform": case("untied", layers_to_transform=[1], layers_pattern="layers"),
    "exclude_modules": case("untied", exclude_modules=["1.self_attn.q_proj"]),
    "rslora": case("untied", use_rslora=True),
    "patterns": case("untied", rank_pattern={"v_proj": 8, r"layers\.0\.self_attn\.q_proj": 2},
                     alpha_pattern={r"1\.self_attn\.v_proj": 3}, use_rslora=True),
    "dora": case("tied", target_modules=[*QV, "down_proj"], use_dora=True),
    "dora_patterns": case("untied", use_dora=True, rank_pattern={"v_proj": 3}, alpha_pattern={"q_proj": 1}),
    "dora_embedding": case("untied", target_modules=[*QV, "embed_tokens"], use_dora=True),
    "bias_all": case("tied", target_modules=["q_proj"], bias="all"),
    "bias_lora_only": case("tied", target_modules=["q_proj"], bias="lora_only"),
    "lora_bias": case("tied", target_modules=["q_proj"], lora_bias=True),
    "fan_in_fan_out": case("untied", fan_in_fan_out=True),
    "lora_on_embedding": case("untied", target_modules=[*QV, "embed_tokens"]),
    "lora_on_head": case("untied", target_modules=[*QV, "lm_head"]),
    "lora_on_tied_embedding": case("tied", target_modules=[*QV, "embed_tokens"]),
    "lora_on_tied_head": case("tied", target_modules=[*QV, "lm_head"]),
    "lora_on_tied_both": case("tied", target_modules=[*QV, "lm_head", "embed_tokens"]),
    "lora_kept_tied": case("tied", target_modules=[*QV, "embed_tokens"], ensure_weight_tying=True),
    "saved_embedding": case("untied", modules_to_save=["embed_tokens"]),
    "saved_head": case("untied", modules_to_save=["lm_head"]),
    "saved_tied_embedding": case("tied", modules_to_save=["embed_tokens"]),
    "saved_tied_head": case("tied", modules_to_save=["lm_head"]),
    "saved_tied_both": case("tied", modules_to_save=["embed_tokens", "lm_head"]),
    "saved_kept_tied": case("tied", modules_to_save=["embed_tokens"], ensure_weight_tying=True),
    "saved_norms_and_block": case("untied", modules_to_save=["norm", "1.mlp"]),
    "rows": case("untied", trainable_token_indices={"embed_tokens": [1, 5]}),
    "rows_of_both": case("untied", trainable_token_indices=ROWS),
    "rows_of_tied": case("tied", trainable_token_indices=[1, 5]),
    "rows_of_tied_both_alike": case("tied", trainable_token_indices={"embed_tokens": [1, 5], "lm_head": [1, 5]}),
    "rows_of_tied_both": case("tied", trainable_token_indices=ROWS),
    "rows_of_tied_head": case("tied", trainable_token_indices={"lm_head": [5, 7]}),
    "resized": case("untied", tokens_added=2),
    "resized_saved": case("untied", tokens_added=2, modules_to_save=["embed_tokens", "lm_head"]),
    "resized_tied": case("tied", tokens_added=2),
    "resized_tied_saved_embedding": case("tied", tokens_added=3, modules_to_save=["embed_tokens"]),
    "resized_tied_rows": case("tied", tokens_added=2, trainable_token_indices=[320, 321]),
    "resized_tied_lora": case("tied", tokens_added=2, target_modules=[*QV, "embed_tokens"]),
    "lora_on_scaled_embedding": case("scaled", target_modules=[*QV, "embed_tokens"]),
    "rows_of_scaled": case("scaled", trainable_token_indices={"embed_tokens": [1, 5]}),
    "mica": case("untied", init_lora_weights="mica"),
    "orthogonal": case("untied", init_lora_weights="orthogonal"),
}  # fmt: skip

PEFT_MERGES_OTHERWISE = {
    "lora_on_tied_embedding", "lora_on_tied_head", "lora_on_tied_both", "lora_kept_tied", "rows_of_tied_both",
    "resized_tied_lora",
}  # fmt: skip
"""Where `merge_and_unload` writes into a matrix that embedding and head share, and warns of it."""


@pytest.fixture(scope="session")
def peft_python(toolchain):
    """Runs a script with the toolchain's packages and peft, which is installed into the cache for these tests."""
    folder = default_cache() / "tests" / f"{'-'.join(PEFT)}-{toolchain.versions['transformers']}"

    def install(aside):
        command = [toolchain.python, "-m", "pip", "install", "--quiet", "--no-deps", "--target", aside / "site", *PEFT]
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
        if done.returncode and not os.environ.get("CI"):
            pytest.skip(f"peft cannot be installed here: {done.stderr.strip().splitlines()[-1]}")
        assert done.returncode == 0, done.stderr
        for made in (aside / "site").rglob("__pycache__"):
            shutil.rmtree(made)
        return {}

    build_once(folder, install)
    environment = {
        **os.environ,
        **quiet_environment(),
        "PYTHONPATH": str(folder / "site"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }

    def run(*arguments):
        command = [str(part) for part in (toolchain.python, *arguments)]
        return subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout

    return run


@pytest.fixture(scope="session")
def bases(peft_python, tmp_path_factory):
    """Folders of tiny models in float32: a head of its own (Llama), one that is the embedding (Qwen2), and an embedding
    whose rows are multiplied on their way (Gemma 3)."""
    root = tmp_path_factory.mktemp("bases")
    folders = {"untied": root / "llama", "tied": root / "qwen2", "scaled": root / "gemma3"}
    peft_python(TINY_MODEL, root, *(folder.name for folder in folders.values()))
    widen = (
        "import sys, transformers\n"
        "for folder in sys.argv[1:]:\n"
        "    transformers.AutoModelForCausalLM.from_pretrained(folder, dtype='float32').save_pretrained(folder)\n"
    )
    peft_python("-c", widen, *folders.values())
    return folders


@pytest.fixture(scope="session")
def found(peft_python, bases, toolchain, tmp_path_factory):
    """For each case, the divergence of our merge and of others from the live model."""
    root = tmp_path_factory.mktemp("adapters")
    workspace = Workspace(cache=tmp_path_factory.mktemp("cache"), toolchain=toolchain)
    folders = {kind: str(folder) for kind, folder in bases.items()}
    peft_python(SCRIPT, "make", root, json.dumps(folders), json.dumps(CASES))
    merged = {}
    for name, one in CASES.items():
        source = obtain_source(str(root / name), workspace)
        assert source.remarks == (), name
        merged[name] = {
            "adapter": str(root / name),
            "base": folders[one["base"]],
            "merged": str(source.path),
            "tokens_added": one["tokens_added"],
        }
    return json.loads(peft_python(SCRIPT, "compare", json.dumps(merged)))


@healthy("adapters that PEFT has saved", way=Way.MERGE)
@pytest.mark.parametrize("name", CASES)
def test_a_merge_computes_what_the_live_model_does(found, name):
    assert found[name]["merged"] < FLOAT32_NATS
    assert found[name]["base"] > 1e-3


@pytest.mark.parametrize("name", [name for name in CASES if name not in PEFT_MERGES_OTHERWISE])
def test_a_merge_computes_what_pefts_does(found, name):
    assert found[name]["peft_merged"] < FLOAT32_NATS


@pytest.mark.parametrize("name", sorted(PEFT_MERGES_OTHERWISE))
def test_where_peft_merges_another_model_than_was_trained_the_live_one_counts(found, name):
    assert found[name]["reloaded"] < FLOAT32_NATS
    assert found[name]["peft_merged"] > 1e-6
