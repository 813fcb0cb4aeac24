"""What stands beside merged weights: the adapter's own tokenizer and template, the base's config with its changes."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from harness.errors import SourceError
from harness.prompts.template_files import find_templates
from harness.source import merge as module
from harness.source.obtain import obtain_source
from harness.toolchain.toolchain import PINS, Toolchain
from harness.toolchain.workspace import Workspace
from tests.controls.marks import Way, healthy
from tests.toys import write_safetensors

UP = "base_model.model.model.layers.0.mlp.up_proj"
LORA = {f"{UP}.lora_A.weight": (4, 32), f"{UP}.lora_B.weight": (64, 4)}
TRAINED = "{{ '<s>' }}{{ messages }}"


@pytest.fixture
def adapter(toy_source, tmp_path):
    folder = tmp_path / "adapter"
    folder.mkdir()
    settings = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "base_model_name_or_path": str(toy_source)}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    write_safetensors(folder / "adapter_model.safetensors", LORA)
    return folder


@pytest.fixture
def says(tmp_path, monkeypatch):
    """What the stub of the worker answers, and the jobs that it was given."""
    told = tmp_path / "says.json"
    told.write_text(json.dumps({"is_untied": False}))
    monkeypatch.setenv("STUB_MERGE", str(told))
    monkeypatch.setattr(module, "WORKER", Path(__file__).with_name("stub_merge.py"))
    return told


@pytest.fixture
def merged(adapter, says, tmp_path):
    """Merges the adapter into the base that it names, or into that of `spec`."""
    workspace = Workspace(cache=tmp_path / "cache", toolchain=Toolchain(python=Path(sys.executable), versions=PINS))

    def merge(spec=adapter, **options):
        return obtain_source(str(spec), workspace, **options)

    return merge


def change(file, **entries):
    content = json.loads(file.read_text()) if file.is_file() else {}
    file.write_text(json.dumps({**content, **entries}))


def jobs(says):
    file = Path(f"{says}.jobs")
    return file.read_text().splitlines() if file.exists() else []


def test_an_adapter_is_merged_once(merged, adapter, toy_source, says):
    first = merged()
    assert (merged(), first.spec) == (first, str(adapter))
    assert first.path != toy_source
    assert len(jobs(says)) == 1
    change(adapter / "adapter_config.json", lora_alpha=16)
    assert merged().path != first.path
    (adapter / "README.md").write_text("words")
    merged()
    assert len(jobs(says)) == 2


def test_a_config_beside_an_adapter_is_its_bases_but_for_the_special_tokens(merged, adapter, toy_source):
    shutil.copyfile(toy_source / "config.json", adapter / "config.json")
    change(adapter / "config.json", eos_token_id=7, max_position_embeddings=5)
    source = merged()
    assert (source.eos_token_ids, source.context_length) == ((7,), 64)


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin", "model-00001-of-00002.safetensors"])
def test_an_adapter_beside_whole_weights_is_no_adapter(merged, toy_source, adapter, name):
    shutil.copyfile(adapter / "adapter_config.json", toy_source / "adapter_config.json")
    (toy_source / "model.safetensors").rename(toy_source / name)
    if name == "model.safetensors":
        (remark,) = merged(toy_source).remarks
        assert "no adapter is merged" in remark
    else:
        with pytest.raises(SourceError, match=r"pickled|no weights"):
            merged(toy_source)


TEMPLATES = {
    "in the tokenizer's config over a file": ("chat_template.jinja", "tokenizer_config.json"),
    "a file over the tokenizer's config": ("tokenizer_config.json", "chat_template.jinja"),
    "a file over a file": ("chat_template.jinja", "chat_template.jinja"),
    "in one config over the other": ("tokenizer_config.json", "tokenizer_config.json"),
    "a processor's file over the tokenizer's config": ("tokenizer_config.json", "chat_template.json"),
}


def put_template(folder, name, text):
    if name.endswith(".json"):
        change(folder / name, chat_template=text)
    else:
        (folder / name).write_text(text)


@healthy("adapters with a template of their own", way=Way.SOURCE)
@pytest.mark.parametrize("name", TEMPLATES)
def test_the_adapters_template_outranks_the_bases(merged, adapter, toy_source, name):
    bases, own = TEMPLATES[name]
    (toy_source / "chat_template.jinja").unlink()
    put_template(toy_source, bases, "{{ messages }}")
    put_template(adapter, own, TRAINED)
    source = merged()
    assert [(found.file, found.text) for found in find_templates(source.path)] == [(own, TRAINED)]
    assert source.remarks == ()


@pytest.mark.parametrize("bases", ["chat_template.jinja", "tokenizer_config.json"])
def test_the_bases_template_stays_where_the_adapter_has_none(merged, adapter, toy_source, bases):
    (toy_source / "chat_template.jinja").unlink()
    put_template(toy_source, bases, "{{ messages }}")
    change(adapter / "tokenizer_config.json", padding_side="left")
    assert [found.text for found in find_templates(merged().path)] == ["{{ messages }}"]


def test_an_adapter_may_bring_the_template_that_its_base_lacks(merged, adapter, toy_source):
    (toy_source / "chat_template.jinja").unlink()
    with pytest.raises(SourceError, match="no chat template"):
        merged()
    put_template(adapter, "chat_template.jinja", TRAINED)
    assert find_templates(merged().path)[0].text == TRAINED


def test_an_adapter_may_say_of_the_end_that_its_base_keeps_silent_about(merged, adapter, toy_source):
    change(toy_source / "config.json", eos_token_id=None)
    with pytest.raises(SourceError, match="nothing says how an answer ends"):
        merged()
    change(adapter / "generation_config.json", eos_token_id=[7])
    assert merged().eos_token_ids == (7,)


def test_both_files_of_an_adapter_are_named_where_their_templates_differ(merged, adapter):
    put_template(adapter, "chat_template.jinja", TRAINED)
    put_template(adapter, "tokenizer_config.json", "{{ messages }}")
    (remark,) = merged().remarks
    assert "chat_template.jinja and tokenizer_config.json hold different chat templates" in remark


def test_nothing_of_the_bases_tokenizer_stays_beside_the_adapters(merged, adapter, toy_source):
    for name in ("added_tokens.json", "special_tokens_map.json", "vocab.json"):
        (toy_source / name).write_text("{}")
    (toy_source / "merges.txt").write_text("")
    change(toy_source / "tokenizer_config.json", eos_token="b")
    vocabulary = {"model": {"vocab": {"c": 0}}, "added_tokens": []}
    (adapter / "tokenizer.json").write_text(json.dumps(vocabulary))
    folder = merged().path
    assert {file.name for file in folder.glob("*.json")} == {"config.json", "tokenizer.json", "tokenizer_config.json"}
    assert json.loads((folder / "tokenizer.json").read_text()) == vocabulary
    assert json.loads((folder / "tokenizer_config.json").read_text()) == {"eos_token": "b"}
    assert not (folder / "merges.txt").exists()


def test_tokens_that_were_added_are_counted_by_the_config(merged, adapter, toy_source):
    embedding = {"base_model.model.model.embed_tokens.weight": (10, 32)}
    write_safetensors(adapter / "adapter_model.safetensors", {**LORA, **embedding})
    with pytest.raises(SourceError, match=r"config\.json says vocab_size 10, but .* has 8 rows"):
        merged()  # the stub leaves the weights as they are


def test_a_head_that_parted_from_its_embedding_is_told_by_the_config(merged, says, toy_source):
    says.write_text(json.dumps({"is_untied": True}))
    assert not merged().has_tied_embeddings
    assert json.loads((toy_source / "config.json").read_text())["tie_word_embeddings"] is True


def test_a_base_whose_config_says_nothing_of_ties_is_tied_where_it_has_no_head(merged, says, toy_source):
    change(toy_source / "config.json", tie_word_embeddings=None)
    merged()
    assert json.loads(jobs(says)[0])["plan"]["tie"]["embedding"] == "model.embed_tokens.weight"


def test_pickled_adapters_are_opened_only_where_that_is_allowed(merged, adapter, says):
    (adapter / "adapter_model.safetensors").rename(f"{says}.safetensors")
    with pytest.raises(SourceError, match=r"the adapter has no adapter_model\.safetensors"):
        merged()
    (adapter / "adapter_model.bin").write_bytes(b"pickle")
    with pytest.raises(SourceError, match="are pickled"):
        merged()
    assert merged(allow_pickle=True).path
    assert merged(allow_pickle=True).path
    assert ["pickled" in json.loads(job) for job in jobs(says)] == [True, False]


def test_a_base_may_be_an_adapter_too(merged, adapter, tmp_path, says):
    second = Path(shutil.copytree(adapter, tmp_path / "second"))
    change(second / "adapter_config.json", base_model_name_or_path=str(adapter), lora_alpha=2)
    merged(second)
    _, job = map(json.loads, jobs(says))
    assert job["files"] == [str(merged().path / "model.safetensors")]


def test_adapters_that_are_each_others_base_are_refused(merged, adapter, tmp_path):
    second = Path(shutil.copytree(adapter, tmp_path / "second"))
    change(second / "adapter_config.json", base_model_name_or_path=str(adapter))
    change(adapter / "adapter_config.json", base_model_name_or_path=str(second))
    with pytest.raises(SourceError, match="is its own base, by way of"):
        merged()


def test_a_quantised_base_is_asked_for_in_its_training_precision(merged, toy_source):
    change(toy_source / "config.json", quantization_config={"quant_method": "bitsandbytes"})
    with pytest.raises(SourceError, match=r"the base is already quantised \(bitsandbytes\)") as refused:
        merged()
    assert "--adapter ADAPTER" in refused.value.next_step
