"""A planted fault for every rule by which Foundry Local skips a folder, and a healthy folder that has none."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.cli.main import main
from harness.foundry.registration import diagnose_folder, reads_prompt_template, shipped_template_problem
from harness.prompts.prompt_template import derive_prompt_template, write_inference_model

pytestmark = pytest.mark.toolchain
OLD, NEW = "2.0.1", "2.2.1"
TUTORIAL = {
    "user": "<|im_start|>user\n{Content}<|im_end|>\n",
    "assistant": "<|im_start|>assistant\n{Content}<|im_end|>\n",
}
TUTORIAL["prompt"] = "<|im_start|>user\n{Content}<|im_end|>\n<|im_start|>assistant"
MakeModel = Callable[..., Path]


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def make_model(cache: Path, demo_artifact: Path) -> MakeModel:
    def make(name: str = "healthy", *, at: Path | None = None) -> Path:
        folder = Path(shutil.copytree(demo_artifact, at or cache / name, dirs_exist_ok=True))
        write_inference_model(folder, name, prompt_template=None)
        return folder

    return make


def faults(folder: Path, **options: object) -> list[str]:
    found = list(diagnose_folder(folder, **options))
    assert found
    assert all(one.fix for one in found if not one.is_ok)
    return [f"{one.subject}: {one.found}" for one in found if not one.is_ok]


def describe(folder: Path, content: str) -> None:
    (folder / "inference_model.json").write_text(content, encoding="utf-8")


def test_a_healthy_folder_has_no_fault_on_either_route(make_model: MakeModel, cache: Path) -> None:
    folder = make_model()
    assert faults(folder, release=NEW) == []
    assert faults(folder, release=OLD, cache_root=cache) == []
    assert faults(cache, release=OLD) == []


def test_a_converted_folder_can_be_registered_as_it_is(demo_artifact: Path) -> None:
    assert faults(demo_artifact, release=NEW) == []


@pytest.mark.parametrize(
    ("plant", "told"),
    [
        (lambda f: (f / "genai_config.json").unlink(), "model files: there is no genai_config.json"),
        (lambda f: (f / "genai_config.json").write_text("{"), "genai_config.json cannot be read"),
        (lambda f: (f / "model.onnx").unlink(), "model.onnx is missing"),
        pytest.param(lambda f: (f / "model.onnx.data").unlink(), "model files: ", id="no weights"),
        pytest.param(lambda f: (f / "model.onnx.data").write_bytes(b"half"), "model files: ", id="half the weights"),
        (lambda f: (f / "tokenizer.json").unlink(), "tokenizer.json is missing"),
        (lambda f: (f / "download.tmp").write_text(""), "download.tmp: it is there"),
        (lambda f: describe(f, '{"Name": '), "not valid JSON"),
        (lambda f: describe(f, "[]"), "not a JSON object"),
        (lambda f: describe(f, '{"Version": "1"}'), "Name: there is no name"),
        (lambda f: describe(f, '{"Name": "", "Version": "1"}'), "Name: there is no name but ''"),
        (lambda f: describe(f, '{"Name": 5, "Version": "1"}'), "Name: there is no name but 5"),
        (lambda f: describe(f, '{"name": "x", "Version": "1"}'), "Name: it is written 'name'"),
        (lambda f: describe(f, '{"Name": "x"}'), "Version: there is none"),
        (lambda f: describe(f, '{"Name": "a b", "Version": "1"}'), "model id a b:1: its name must be"),
        (
            lambda f: describe(f, json.dumps({"Name": "x", "Version": "1", "PromptTemplate": TUTORIAL})),
            "the assistant turn opens without its newline",
        ),
        (lambda f: describe(f, '{"Name": "x", "Version": "1", "PromptTemplate": "x"}'), "it is not an object"),
    ],
)
def test_a_planted_fault_is_the_one_that_is_told(
    make_model: MakeModel, plant: Callable[[Path], object], told: str
) -> None:
    folder = make_model()
    plant(folder)
    found = faults(folder, release=NEW)
    assert len(found) == 1, found
    assert told in found[0]


@pytest.mark.parametrize(
    ("model_id", "told"),
    [("demo", "no version"), ("demo:", "whole number"), ("demo:01", "whole number"), (":1", "name")],
)
def test_an_id_that_cannot_be_registered_is_told(make_model: MakeModel, model_id: str, told: str) -> None:
    assert told in "".join(faults(make_model(), release=NEW, model_id=model_id))


def test_files_in_the_cache_root_itself_are_told(make_model: MakeModel, cache: Path) -> None:
    make_model("loose", at=cache)
    assert any("in the cache root itself" in one for one in faults(cache, release=OLD, cache_root=cache))
    make_model("healthy")
    assert any("in the cache root itself" in one for one in faults(cache, release=OLD))


def test_a_folder_outside_the_cache_is_told(make_model: MakeModel, cache: Path, tmp_path: Path) -> None:
    make_model()
    outside = make_model("outside", at=tmp_path / "elsewhere")
    assert "not below the cache root" in "".join(faults(outside, release=OLD, cache_root=cache))


def test_the_wrong_route_for_the_release_is_told(make_model: MakeModel, cache: Path) -> None:
    found = faults(make_model(), release=NEW, cache_root=cache)
    assert found == ["healthy: route: foundry-local-sdk 2.2.1 finds cache folders and does not list them"]


def test_two_models_of_one_name_are_told(make_model: MakeModel, cache: Path) -> None:
    make_model("one")
    write_inference_model(make_model("two"), "one", prompt_template=None)
    assert faults(cache, release=OLD) == [
        "name one: one and two share it; Foundry lists only one of them and does not say which"
    ]


def test_nothing_to_look_at_is_a_fault(tmp_path: Path) -> None:
    assert "no folder with one" in "".join(faults(tmp_path))
    assert "is no folder" in "".join(faults(tmp_path / "none"))


def test_the_command_line_says_it(make_model: MakeModel, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_model()
    assert main(["doctor", str(folder)]) == 0
    (folder / "download.tmp").write_text("")
    assert main(["doctor", str(folder), "--cache-root", str(cache), "--release", OLD]) == 1
    said = capsys.readouterr().out
    assert "FIX healthy: download.tmp" in said
    assert "next: finish the copy" in said


PHI = {
    "system": "<|system|>\n{Content}<|end|>\n",
    "user": "<|user|>\n{Content}<|end|>\n",
    "assistant": "<|assistant|>\n{Content}<|end|>\n",
    "prompt": "<|user|>\n{Content}<|end|>\n<|assistant|>\n",
}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (
            json.dumps({"Name": "x", "PromptTemplate": PHI}),
            "at the beginning, '<|user|>' in place of '<|im_start|>user",
        ),
        (json.dumps({"Name": "x", "PromptTemplate": TUTORIAL}), "the assistant turn opens without its newline"),
        (json.dumps({"Name": "x", "PromptTemplate": {**PHI, "prompt": "no place"}}), "must contain {Content}"),
        (json.dumps({"Name": "x", "PromptTemplate": ["a"]}), "it is not an object"),
        ('{"Name": ', "it is not valid JSON"),
        ("[]", "it is not a JSON object"),
    ],
    ids=["another family's", "the tutorial's", "no place for words", "a list", "half a file", "no object"],
)
def test_a_shipped_file_that_says_something_else_is_told(make_model: MakeModel, content: str, told: str) -> None:
    folder = make_model()
    describe(folder, content)
    problem = shipped_template_problem(folder)
    assert problem is not None
    assert told in problem


def test_a_shipped_file_that_is_right_or_is_not_there_has_no_problem(make_model: MakeModel) -> None:
    folder = make_model()
    template = derive_prompt_template(folder)
    for content in ({"Name": "x"}, {"Name": "x", "PromptTemplate": template}, {"PromptTemplate": template}):
        describe(folder, json.dumps(content))
        assert shipped_template_problem(folder) is None
    (folder / "inference_model.json").unlink()
    assert shipped_template_problem(folder) is None


def test_what_four_strings_cannot_say_is_not_held_against_them(make_model: MakeModel) -> None:
    folder = make_model()
    dated = "{{ strftime_now('%Y') }}" + (folder / "chat_template.jinja").read_text(encoding="utf-8")
    (folder / "chat_template.jinja").write_text(dated, encoding="utf-8")
    describe(folder, json.dumps({"Name": "x", "PromptTemplate": PHI}))
    assert shipped_template_problem(folder) is None


@pytest.mark.parametrize(
    ("route", "reads"),
    [(None, False), ("command", True), ("0.5.1", True), ("1.2.0", True), ("2.0.1", False), ("10.0", False)],
)
def test_releases_before_2_read_the_prompt_template(route: str | None, reads: bool) -> None:
    assert reads_prompt_template(route) is reads
