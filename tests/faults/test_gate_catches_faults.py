"""The gate, run as users run it, turns red for each planted fault, names it, and stays green without one."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness.pack.load import load_pack
from tests.controls.marks import Way, broken, healthy
from tests.faults import plant
from tests.verify.plant_graph import planted

pytestmark = [pytest.mark.toolchain, pytest.mark.slow]
ROOT = Path(__file__).resolve().parents[2]
PACK = ROOT / "fixtures/data/demo/pack"
MACHINE = '[benchmark]\nprompt_tokens = [64, 256]\nmax_s = 1.0\ndisturbed = "told"  # other tests load it'


@pytest.fixture
def gate(tmp_path):
    """Runs the gate with the demo's limits on other variants; returns (exit status, what it printed)."""

    def run(variants, *suites, options=(), env=None, pack=PACK):
        demo = (ROOT / "gate.toml").read_text(encoding="utf-8")
        limits = "\n\n".join(
            block for block in demo[demo.index("# Quality:") :].split("\n\n") if applies(block, variants)
        )
        head = f"[model]\nsource = '{ROOT / 'fixtures/data/demo/model'}'\n[domain]\npack = '{pack}'\n"
        config = tmp_path / "gate.toml"
        config.write_text(f"{head}{variants}\n{MACHINE}\n{limits}", encoding="utf-8")
        targets = [str(ROOT / "suites" / suite) for suite in suites or ("",)]
        command = [sys.executable, "-m", "pytest", "-c", str(ROOT / "pyproject.toml"), *targets]
        command += ["--config", str(config), "--results-dir", str(tmp_path / "results"), "-p", "no:cacheprovider"]
        done = subprocess.run(
            [*command, *options],
            capture_output=True,
            text=True,
            env={**os.environ, **(env or {})},
            cwd=tmp_path,
            timeout=900,
        )
        return done.returncode, done.stdout + done.stderr

    return run


def applies(block, variants):
    """Whether a block of the demo's limits is common, or belongs to a variant that is tried here."""
    return not block.startswith("[variants.") or f"[variants.{block.split('.')[1]}]" in variants


def adopted(folder, precision="int8", name="int8"):
    return f"[variants.{name}]\nartifact = '{folder}'\nprecision = '{precision}'\n"


@pytest.fixture
def copy(demo_artifacts, tmp_path):
    """A copy of a healthy artifact that may be spoilt."""

    def make(variant="int8"):
        return Path(shutil.copytree(demo_artifacts[variant].path, tmp_path / "copy"))

    return make


def assert_red(result, *names):
    status, output = result
    assert status == 1, output[-3000:]
    for name in names:
        assert name in output, output[-6000:]
    assert "Traceback" not in output


@healthy("the demo model in int8, adopted: the whole gate", way=Way.GATE)
@pytest.mark.alone
def test_a_healthy_copy_is_green(gate, copy):
    status, output = gate(adopted(copy()))
    assert status == 0, output[-6000:]
    assert "int8: PASS" in output


def test_what_the_system_refuses_is_told_in_words(gate, tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "artifacts").touch()
    result = gate(
        "[variants.int8]\nrecipe = 'int8'\n", "test_conversion.py", env={"SLM_GATE_CACHE": str(tmp_path / "cache")}
    )
    assert_red(result, "int8: ", "a file cannot be read or written: File exists", str(tmp_path / "cache" / "artifacts"))


@broken("Olive that exits 0 without a model", way=Way.GATE)
def test_olive_that_exits_0_without_a_model(gate, tmp_path):
    (tmp_path / "olive.json").write_text(plant.OLIVE_WITHOUT_A_MODEL)
    result = gate("[variants.int8]\nrecipe = './olive.json'\nprecision = 'int8'\n", "test_conversion.py")
    assert_red(result, "int8: Olive wrote no model", "KeyError")


@broken("int4 that claims to be int8", way=Way.GATE)
def test_an_int4_folder_that_claims_to_be_int8(gate, copy):
    assert_red(gate(adopted(copy("int4"))), "int8 is not what was asked for", "int4")


@broken("weights of a layer shuffled", way=Way.GATE)
def test_shuffled_weights_of_one_layer(gate, copy):
    folder = copy()
    plant.shuffle_one_layer(folder)
    result = gate(adopted(folder), "test_precision_comparison.py", "quality/test_domain_relevance.py")
    assert_red(result, "int8: kld_mean_nats", "int8: exact_match_rate")


@broken("a graph that changes its sign behind a letter", way=Way.GATE)
@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_a_graph_that_changes_its_sign_behind_a_letter(gate, demo_artifacts, tmp_path, precision):
    """Of the demo's questions none has one, so that every question is answered as before."""

    def fault(graph):
        graph.times(graph.choose(graph.any_of(range(160, 256)), -1, 1))

    folder = planted(demo_artifacts[precision].path, tmp_path / "planted", fault)
    result = gate(adopted(folder, precision, precision), "test_conversion.py")
    assert_red(result, f"{precision} is not its source rounded", "operators that the source's graph does not have")
    assert "off by 2 of their spread" in result[1]


@broken("a graph that is NaN behind 1,500 tokens", way=Way.GATE)
def test_a_graph_that_breaks_down_behind_1500_tokens(gate, demo_artifacts, tmp_path):
    def fault(graph):
        graph.times(graph.choose(graph.is_long(1500), float("nan"), 1))

    folder = planted(demo_artifacts["int8"].path, tmp_path / "planted", fault)
    result = gate(adopted(folder), "test_conversion.py")
    assert_red(result, "int8 gives logits that are NaN or infinite behind token 1,4")


@broken("a template without the assistant's line break", way=Way.GATE)
def test_a_prompt_template_without_its_assistant_newline(gate, copy):
    folder = copy()
    plant.drop_the_assistants_newline(folder)
    assert_red(gate(adopted(folder), "test_deployment.py"), "chat template: it is not the source's", "assistant")


@broken("a `PromptTemplate` without the assistant's line break", way=Way.GATE)
def test_a_foundry_prompt_template_without_its_assistant_newline(gate, copy):
    template = {
        "system": "<|im_start|>system\\n{Content}<|im_end|>\\n",
        "user": "<|im_start|>user\\n{Content}<|im_end|>\\n",
        "assistant": "<|im_start|>assistant\\n{Content}<|im_end|>\\n",
        "prompt": "<|im_start|>user\\n{Content}<|im_end|>\\n<|im_start|>assistant",
    }
    entries = "\n".join(f'{role} = "{text}"' for role, text in template.items())
    variants = f"{adopted(copy())}[foundry.prompt_template]\n{entries}\n"
    assert_red(gate(variants, "test_deployment.py"), "assistant turn opens without its newline")


@broken("a model that answers prose", way=Way.GATE)
def test_a_model_that_answers_prose(gate, tmp_path, toolchain_python):
    rows = (PACK / "cases.jsonl").read_text(encoding="utf-8").splitlines()
    pack = Path(shutil.copytree(PACK, tmp_path / "pack"))
    (pack / "cases.jsonl").write_text("\n".join(rows[::12]), encoding="utf-8")
    domain = (pack / "domain.toml").read_text(encoding="utf-8").replace("cases = 12", "cases = 2")
    (pack / "domain.toml").write_text(domain, encoding="utf-8")
    load_pack(pack)
    script = Path(__file__).with_name("teach_prose.py")
    source = ROOT / "fixtures/data/demo/model"
    subprocess.run(
        [toolchain_python, script, source, pack / "cases.jsonl", tmp_path / "prose"], check=True, timeout=600
    )
    result = gate(
        "[variants.int8]\nrecipe = 'int8'\n",
        "quality/test_format.py",
        options=["--model", str(tmp_path / "prose")],
        pack=pack,
    )
    assert_red(result, "int8: json_valid_rate", "not JSON")


@broken("ends that the configs forgot, answers of free text", way=Way.GATE)
def test_answers_of_free_text_that_never_end(gate, tmp_path):
    """Every answer is right as far as it goes, so that nothing but their ends tells."""
    source = Path(shutil.copytree(ROOT / "fixtures/data/demo/model", tmp_path / "endless"))
    for name in ("config.json", "generation_config.json"):
        settings = json.loads((source / name).read_text(encoding="utf-8"))
        (source / name).write_text(json.dumps({**settings, "eos_token_id": 1533}), encoding="utf-8")
    pack = Path(shutil.copytree(PACK, tmp_path / "pack"))
    plant.ask_for_free_text(pack, every=36)
    options = ["--model", str(source)]
    result = gate("[variants.int8]\nrecipe = 'int8'\n", "quality/test_format.py", options=options, pack=pack)
    assert_red(result, "int8: truncated_answer_rate = 100.0 %", "warning: answers may never end")


@broken("a native leak of 64 bytes a request", way=Way.GATE)
@pytest.mark.skipif(sys.platform == "win32", reason="the leak is planted through a POSIX shared object")
def test_a_native_leak_of_64_bytes_per_request(gate, copy, leaky_library, tmp_path):
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(plant.LEAKY_SITE)
    env = {"PYTHONPATH": str(site), "PLANT_LEAK": str(leaky_library)}
    result = gate(adopted(copy()), "quality/test_memory_leaks.py", options=["-k", "genai"], env=env)
    assert_red(result, "sitecustomize.py")
    _, output = result
    told = re.findall(r"int8: leak_bytes_per_request = ([\d.]+) B", output)[0]
    # With malloc's header it is 80; a hole of 96 is given away as a whole, since 16 are too few for a chunk.
    assert 80 <= float(told) <= 96


@broken("answers that degrade beyond 600 tokens", way=Way.GATE)
def test_answers_that_degrade_beyond_600_tokens(gate, copy):
    folder = copy()
    plant.break_positions_beyond(folder, 600)
    assert_red(
        gate(adopted(folder), "quality/test_length_consistency.py"),
        "int8: length_drop_points",
        "100.0 % of 12 at 500, 0.0 % of 12 at 1500",
    )


@broken("an operator that no runtime knows", way=Way.GATE)
def test_a_variant_that_cannot_be_loaded(gate, copy):
    folder = copy()
    plant.use_an_unknown_operator(folder)
    assert_red(gate(adopted(folder), "test_conversion.py"), "int8", "SkipSimplifiedLayerNormalizationV9")


@broken("adopted folders that are not the source's", way=Way.GATE)
@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (plant.end_answers_elsewhere, "end of sequence: the source ends at"),
        (plant.forget_most_merges, "tokenizer.json is not the source's"),
        (plant.break_positions_beyond, "encodes positions otherwise than its source"),
    ],
)
def test_an_adopted_folder_that_is_not_the_sources(gate, copy, fault, told):
    folder = copy()
    fault(folder)
    assert_red(gate(adopted(folder), "test_conversion.py"), told)


@broken("an `inference_model.json` of another family", way=Way.GATE)
def test_an_inference_model_of_another_family_beside_an_adopted_folder_is_named(gate, copy):
    folder = copy()
    turns = {role: f"<|{role}|>\n{{Content}}<|end|>\n" for role in ("system", "user", "assistant")}
    template = {**turns, "prompt": turns["user"] + "<|assistant|>\n"}
    (folder / "inference_model.json").write_text(json.dumps({"Name": "tiny-phi", "PromptTemplate": template}))
    result = gate(adopted(folder), "test_deployment.py")
    assert_red(result, "inference_model_matches", "'<|user|>' in place of '<|im_start|>user")
