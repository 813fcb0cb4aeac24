"""What is refused before anything heavy starts, and what is not."""

import json

import pytest

from harness.errors import SourceError
from harness.source.source import must_be_obtained, resolve_source
from harness.source.weights import read_shapes
from tests.controls.marks import Way, broken
from tests.toys import write_safetensors

SHARDS = {"a.weight": "model-00001-of-00002.safetensors", "b.weight": "model-00002-of-00002.safetensors"}


def test_a_healthy_folder_is_described(toy_source):
    source = resolve_source(str(toy_source))
    assert (source.architecture, source.model_type) == ("Qwen2ForCausalLM", "qwen2")
    assert (source.vocabulary_size, source.context_length, source.has_tied_embeddings) == (8, 64, True)
    assert source.parameter_count == 8 * 32 + 64 * 32
    assert source.input_widths == (32,)
    assert not must_be_obtained(str(toy_source))


def edit_json(name, **changes):
    def plant(folder):
        file = folder / name
        content = json.loads(file.read_text()) if file.exists() else {}
        file.write_text(json.dumps({**content, **changes}))

    return plant


def remove(*names):
    return lambda folder: [(folder / name).unlink() for name in names]


def write(name, content):
    return lambda folder: (folder / name).write_bytes(content)


UP = "model.layers.0.mlp.up_proj.weight"


def edit_header(folder, name, **entries):
    """Have the header of the weights lie."""
    file = folder / "model.safetensors"
    content = file.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    header[name].update(entries)
    raw = json.dumps(header).encode()
    file.write_bytes(len(raw).to_bytes(8, "little") + raw + content[end:])


def poison(folder, number):
    """Put a number into the middle of the first tensor."""
    file = folder / "model.safetensors"
    content = file.read_bytes()
    at = 8 + int.from_bytes(content[:8], "little") + 100
    file.write_bytes(content[:at] + number + content[at + 2 :])


def cut_weights(folder):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])


def shard(folder, names=None, locked=None, **index):
    (folder / "model.safetensors").unlink()
    for name in names or SHARDS.values():
        tensors = [tensor for tensor, place in SHARDS.items() if place == name]
        write_safetensors(folder / name, dict.fromkeys(locked or tensors, (4, 32)))
    (folder / "model.safetensors.index.json").write_text(json.dumps(index or {"metadata": {}, "weight_map": SHARDS}))


def pickle_instead(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


FAULTS = {
    "no config": (remove("config.json"), "no config.json"),
    "an empty tokenizer": (write("tokenizer.json", b"{}"), "holds no vocabulary"),
    "a tokenizer without tokens": (edit_json("tokenizer.json", model={"vocab": {}}), "holds no vocabulary"),
    "broken config": (write("config.json", b"{"), "not valid JSON"),
    "config is a list": (write("config.json", b"[]"), "not a JSON object"),
    "an encoder": (edit_json("config.json", architectures=["BertModel"]), "BertModel"),
    "no architecture": (edit_json("config.json", architectures=None), "not named"),
    "own code": (edit_json("config.json", auto_map={"AutoModel": "x.Y"}), "auto_map"),
    "own tokenizer code": (edit_json("tokenizer_config.json", auto_map={"AutoTokenizer": "x.Y"}), "auto_map"),
    "quantised": (edit_json("config.json", quantization_config={"quant_method": "gptq"}), "gptq"),
    "no vocabulary size": (edit_json("config.json", vocab_size=None), "vocab_size"),
    "other embedding": (edit_json("config.json", vocab_size=9), "8 rows"),
    "no weights": (remove("model.safetensors"), "no weights"),
    "cut weights": (cut_weights, "damaged"),
    "garbage weights": (write("model.safetensors", b"garbage!garbage!"), "damaged"),
    "empty weights": (write("model.safetensors", b""), "damaged"),
    "NaN": (lambda folder: poison(folder, b"\x00\x7e"), "embed_tokens.weight holds NaN or infinity"),
    "infinity": (lambda folder: poison(folder, b"\x00\xfc"), "embed_tokens.weight holds NaN or infinity"),
    "a wrong shape": (lambda folder: edit_header(folder, UP, shape=[64, 33]), "2112 x F16, and gives it 4096 bytes"),
    "two tensors in one place": (
        lambda folder: edit_header(folder, UP, data_offsets=[0, 4096]),
        "places model.layers.0.mlp.up_proj.weight at 0, where 512 is next",
    ),
    "LFS pointer": (write("model.safetensors", b"version https://git-lfs"), "LFS"),
    "pickled weights": (pickle_instead, "pickle"),
    "a shard missing": (lambda folder: shard(folder, [SHARDS["a.weight"]]), "model-00002"),
    "a tensor missing": (lambda folder: shard(folder, locked=["c.weight"]), "a.weight"),
    "index without metadata": (lambda folder: shard(folder, weight_map=SHARDS), "no `metadata`"),
    "broken index": (lambda folder: shard(folder, metadata={}), "index"),
    "shard elsewhere": (
        lambda folder: shard(folder, metadata={}, weight_map={"a.weight": "../model-00001-of-00002.safetensors"}),
        "incomplete",
    ),
    "deep config": (write("config.json", b"[" * 100_000), "not valid JSON"),
    "no tokenizer": (remove("tokenizer.json"), "no tokenizer"),
    "too many tokens": (edit_json("tokenizer.json", added_tokens=[{"id": 8}]), "token id 8"),
    "no template": (remove("chat_template.jinja"), "chat template"),
}


@broken("source models with a fault", way=Way.SOURCE)
@pytest.mark.parametrize(("plant", "told"), FAULTS.values(), ids=FAULTS)
def test_a_planted_fault_is_named(toy_source, plant, told):
    plant(toy_source)
    with pytest.raises(SourceError, match=told) as caught:
        resolve_source(str(toy_source))
    assert str(toy_source) in caught.value.where


def test_one_file_counts_beside_an_index_as_for_transformers(toy_source):
    before = resolve_source(str(toy_source))
    (toy_source / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": SHARDS}))
    assert resolve_source(str(toy_source)).digest == before.digest


def test_only_matrices_shape_the_blocks(toy_source):
    before = resolve_source(str(toy_source)).input_widths
    tensors = dict(read_shapes(toy_source / "model.safetensors"))
    write_safetensors(toy_source / "model.safetensors", {**tensors, "foo.adapter": (5, 7)})
    assert resolve_source(str(toy_source)).input_widths == before


@pytest.mark.parametrize(
    "change",
    [
        shard,
        lambda folder: (remove("chat_template.jinja")(folder), edit_json("tokenizer_config.json", chat_template="x")(folder)),
        lambda folder: (remove("tokenizer.json")(folder), write("tokenizer.model", b"x")(folder)),
        edit_json("config.json", max_position_embeddings=None),
    ],
    ids=["shards", "template in tokenizer_config", "sentencepiece", "no context length"],
)  # fmt: skip
def test_other_layouts_are_taken(toy_source, change):
    change(toy_source)
    resolve_source(str(toy_source))


def test_pickles_and_own_code_need_the_users_word(toy_source):
    pickle_instead(toy_source)
    assert resolve_source(str(toy_source), allow_pickle=True).parameter_count is None
    edit_json("config.json", auto_map={"AutoModel": "x.Y"})(toy_source)
    assert resolve_source(str(toy_source), allow_pickle=True, trust_remote_code=True).trust_remote_code


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("/no/such/folder", "no such folder"),
        ("~nobody-of-this-name/x", "no such folder"),
        ("words with blanks", "hub id"),
        ("a/b/c", "hub id"),
    ],
)
def test_what_is_no_folder_is_named(spec, told):
    with pytest.raises(SourceError, match=told):
        resolve_source(spec)


def test_a_file_is_no_model(toy_source):
    with pytest.raises(SourceError, match="must be a folder"):
        resolve_source(str(toy_source / "config.json"))


def test_a_hub_id_that_is_not_in_the_local_cache_is_refused_in_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    assert must_be_obtained("acme/widget")
    with pytest.raises(SourceError, match="hub id") as caught:
        resolve_source("acme/widget")
    assert "give the folder" in caught.value.next_step


def test_other_kinds_of_folder_are_told_apart(tmp_path):
    (tmp_path / "genai_config.json").write_text("{}")
    with pytest.raises(SourceError, match="already converted"):
        resolve_source(str(tmp_path))
    (tmp_path / "genai_config.json").unlink()
    (tmp_path / "adapter_config.json").write_text("{}")
    assert must_be_obtained(str(tmp_path))
    with pytest.raises(SourceError, match="LoRA adapter"):
        resolve_source(str(tmp_path))


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "chat_template.jinja", "generation_config.json"])
def test_the_digest_follows_what_shapes_answers(toy_source, name):
    before = resolve_source(str(toy_source)).digest
    (toy_source / "README.md").write_text("words")
    assert resolve_source(str(toy_source)).digest == before
    file = toy_source / name
    file.write_text((file.read_text() if file.exists() else "{}") + " ")
    assert resolve_source(str(toy_source)).digest != before


def test_the_digest_follows_the_weights(toy_source):
    before = resolve_source(str(toy_source)).digest
    raw = bytearray((toy_source / "model.safetensors").read_bytes())
    raw[-1] ^= 1
    (toy_source / "model.safetensors").write_bytes(raw)
    assert resolve_source(str(toy_source)).digest != before
