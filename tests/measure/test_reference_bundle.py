"""A reference bundle stands for its source model, and for no other model, pack or way to prompt."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import asdict, replace

import pytest

from harness.errors import ConfigError, SourceError
from harness.measure.reference_bundle import FORMAT, BundleFacts, make_bundle, open_bundle
from harness.pack.load import load_pack
from harness.source.source import resolve_source
from harness.toolchain.workspace import Workspace
from tests.conftest import ROOT

SOURCE = {
    "spec": "my-model",
    "architecture": "Qwen2ForCausalLM",
    "model_type": "qwen2",
    "context_length": 2048,
    "vocabulary_size": 1536,
    "eos_token_ids": [2],
    "has_tied_embeddings": True,
    "parameter_count": 7,
    "input_widths": [256],
    "size_bytes": 14,
    "digest": "d" * 64,
}


@pytest.fixture
def pack(pack_folder):
    return load_pack(pack_folder)


@pytest.fixture
def bundle_file(tmp_path, pack):
    """Writes a bundle with nothing in it but facts and `entries`."""

    def write(entries=(), **changes):
        facts = BundleFacts(
            format=FORMAT,
            source=SOURCE,
            pack_name="toy",
            pack_digest=pack.digest,
            template_options={},
            precision="float32",
            versions={},
            questions={},
            made_at="2026-01-01T00:00:00+00:00",
        )
        file = tmp_path / "toy.reference"
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("bundle.json", json.dumps(asdict(replace(facts, **changes))))
            for name in entries:
                archive.writestr(name, "{}")
        return file

    return write


def test_the_model_is_known_without_its_weights(bundle_file, tmp_path):
    source = open_bundle(bundle_file(["model/config.json"]), tmp_path / "cache").source
    assert (source.digest, source.eos_token_ids, source.has_weights) == ("d" * 64, (2,), False)
    assert (source.path / "config.json").is_file()
    assert "no weights were compared" in source.remarks[0]
    with pytest.raises(SourceError, match="converting needs the source model, of which only a reference bundle is"):
        source.require_weights("converting")


@pytest.mark.parametrize(
    ("changes", "options", "told"),
    [
        ({"pack_digest": "0" * 64}, {}, r"is of the pack toy \(000000000000\), not of .* as it is now"),
        ({"template_options": {"thinking": True}}, {}, "was made with template options {'thinking': True}"),
        ({}, {"thinking": False}, "this run has {'thinking': False}"),
    ],
)
def test_another_pack_or_prompt_is_refused(bundle_file, tmp_path, pack, changes, options, told):
    bundle = open_bundle(bundle_file(**changes), tmp_path / "cache")
    with pytest.raises(ConfigError, match=told) as error:
        bundle.require(pack, options, None)
    assert "slm-gate reference" in str(error.value)


def test_another_model_is_refused_and_the_same_taken(bundle_file, tmp_path, pack):
    bundle = open_bundle(bundle_file(), tmp_path / "cache")
    bundle.require(pack, {}, None)
    bundle.require(pack, {}, bundle.source)
    with pytest.raises(ConfigError, match=r"of another model \(d{12}\) than the one that is configured \(e{12}\)"):
        bundle.require(pack, {}, replace(bundle.source, digest="e" * 64))


def test_nothing_but_a_bundles_own_files_is_unpacked(bundle_file, tmp_path):
    hostile = ["../evil", "model/../../evil", "model/run.py", "answers.json", "/tmp/evil", "model/sub/config.json"]
    bundle = open_bundle(bundle_file(hostile), tmp_path / "cache")
    files = {file.relative_to(bundle.folder).as_posix() for file in bundle.folder.rglob("*") if file.is_file()}
    assert files == {"bundle.json", "answers.json", "manifest.json"}
    assert not list(tmp_path.rglob("evil"))


@pytest.mark.parametrize(
    ("content", "told"),
    [(None, "there is no such"), (b"PK nonsense", "no whole reference bundle"), (b"", "no whole reference bundle")],
)
def test_what_is_no_bundle_is_told(tmp_path, content, told):
    file = tmp_path / "bad.reference"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=told):
        open_bundle(file, tmp_path / "cache")


def test_another_format_is_told(bundle_file, tmp_path):
    with pytest.raises(ConfigError, match=f"has format 99, this version reads {FORMAT}"):
        open_bundle(bundle_file(format=99), tmp_path / "cache")


def test_facts_that_lack_something_are_told(bundle_file, tmp_path):
    with pytest.raises(ConfigError, match="no whole reference bundle"):
        open_bundle(bundle_file(source={"spec": "x"}), tmp_path / "cache")


@pytest.fixture(scope="module")
def small_pack(tmp_path_factory):
    """A few of the demo's questions."""
    folder = tmp_path_factory.mktemp("bundle") / "pack"
    shutil.copytree(ROOT / "fixtures/data/demo/pack", folder)
    rows = (folder / "cases.jsonl").read_text(encoding="utf-8").splitlines()
    (folder / "cases.jsonl").write_text("\n".join(rows[::24]) + "\n", encoding="utf-8")
    return folder


@pytest.mark.toolchain
@pytest.mark.slow
def test_a_converted_folder_is_judged_without_the_source(small_pack, demo_artifact, toolchain_on_demand, tmp_path):
    workspace = Workspace(cache=tmp_path / "cache", toolchain=toolchain_on_demand)
    file = tmp_path / "demo.reference"
    make_bundle(resolve_source(str(ROOT / "fixtures/data/demo/model")), load_pack(small_pack), workspace, file)
    options = ["--model", demo_artifact, "--domain", small_pack, "--reference", file]
    options += ["--cache-dir", tmp_path / "elsewhere", "--results-dir", tmp_path / "results"]
    suites = ["suites/test_conversion.py", "suites/quality/test_format.py", "suites/test_precision_comparison.py"]
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *suites, *options]
    done = subprocess.run(
        [str(part) for part in command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "SLM_GATE_TOOLCHAIN": ""},
        check=False,
    )
    record = json.loads((tmp_path / "results/latest/run.json").read_text(encoding="utf-8"))
    (variant,) = record["variants"].values()
    assert not variant["problems"], done.stdout
    outcomes = {check["metric"]: check["outcome"] for check in variant["checks"]}
    assert set(outcomes.values()) == {"pass"}, done.stdout
    assert {"graph_matches_source", "tokenizer_matches_source", "json_valid_rate"} <= set(outcomes)
    assert "reference bundle" in record["model"]["remarks"][0]
    assert not (tmp_path / "elsewhere/toolchains").exists()
    assert "reference bundle" in done.stdout
