"""Bad input gets one clear message before anything long starts: what, where, what next; no traceback."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.process
ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "fixtures/data/demo/model"


@pytest.fixture
def refused(tmp_path):
    """Runs the gate and returns its message; it must end with the status of unusable input."""

    def run(*options, env=None):
        command = [sys.executable, "-m", "pytest", "-c", str(ROOT / "pyproject.toml"), str(ROOT / "suites")]
        done = subprocess.run(
            [*command, "--results-dir", str(tmp_path / "results"), *map(str, options)],
            capture_output=True, text=True, cwd=tmp_path, timeout=120, env={**os.environ, **(env or {})},
        )  # fmt: skip
        output = done.stdout + done.stderr
        assert done.returncode == 2, output
        assert "Traceback" not in output
        return output

    return run


def model_without(tmp_path, *names, **config):
    folder = Path(shutil.copytree(DEMO, tmp_path / "a model"))
    for name in names:
        (folder / name).unlink(missing_ok=True)
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**settings, **config}))
    return folder


def test_a_cache_that_cannot_be_written(refused, tmp_path):
    (tmp_path / "file").touch()
    output = refused(env={"SLM_GATE_CACHE": str(tmp_path / "file")})
    assert "the cache cannot be written" in output
    assert "SLM_GATE_CACHE" in output
    assert not (tmp_path / "results").exists()


def test_no_such_model(refused):
    assert "no such folder" in refused("--model", "./nowhere")


def test_a_hub_id_without_network(refused, tmp_path):
    output = refused("--model", "someone/some-model", env={"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)})
    assert "someone/some-model" in output


def test_not_a_causal_language_model(refused, tmp_path):
    folder = model_without(tmp_path, architectures=["BertForMaskedLM"])
    assert "BertForMaskedLM" in refused("--model", folder)


def test_no_tokenizer(refused, tmp_path):
    assert "tokenizer" in refused("--model", model_without(tmp_path, "tokenizer.json"))


def test_no_chat_template(refused, tmp_path):
    folder = model_without(tmp_path, "chat_template.jinja")
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings.pop("chat_template", None)
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    assert "chat template" in refused("--model", folder)


def test_truncated_weights(refused, tmp_path):
    folder = model_without(tmp_path)
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])
    assert "model.safetensors" in refused("--model", folder)


def test_no_such_pack(refused):
    assert "no such domain pack" in refused("--domain", "nowhere")


def test_a_pack_that_misleads(refused, tmp_path):
    folder = Path(shutil.copytree(ROOT / "fixtures/data/demo/pack", tmp_path / "pack"))
    (folder / "response.schema.json").write_text("{}")
    assert "accepts every JSON value" in refused("--domain", folder)


def test_a_test_split_that_cannot_be_asked(refused, tmp_path):
    (tmp_path / "split.jsonl").write_text('{"prompt": "p", "chosen": "a", "rejected": "b"}')
    assert "holds preferences" in refused("--data", "split.jsonl")


def test_a_test_split_that_is_not_there(refused):
    assert "nowhere.jsonl" in refused("--data", "nowhere.jsonl")


def test_two_domains(refused):
    assert "name two domains" in refused("--data", "a.jsonl", "--domain", "b")


def test_an_unknown_variant(refused):
    output = refused("--variants", "in4")
    assert "did you mean 'int4'" in output


def test_a_typo_in_the_configuration(refused, tmp_path):
    text = (ROOT / "gate.toml").read_text().replace("block_size", "blocksize")
    (tmp_path / "mine.toml").write_text(text)
    output = refused("--config", "mine.toml")
    assert "did you mean 'block_size'" in output
    assert "mine.toml, line" in output


def test_no_such_configuration(refused):
    assert "cannot read the configuration" in refused("--config", "none.toml")


def test_a_limit_on_a_kind_that_no_question_is_of(refused, tmp_path):
    config = tmp_path / "gate.toml"
    text = (ROOT / "gate.toml").read_text(encoding="utf-8").replace('"fixtures/', f'"{ROOT.as_posix()}/fixtures/')
    config.write_text(f"{text}\n[limits.exact_match_rate.kinds]\ncod = {{ min = 0.9 }}\n", encoding="utf-8")
    output = refused("--config", config)
    assert "limits.exact_match_rate.kinds.cod" in output
    assert "did you mean 'code'?" in output
    assert "it counts the kinds code, symptom, part_number" in output
