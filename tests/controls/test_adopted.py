"""Converted folders with one thing changed, adopted as a user adopts them: faults are told by name, storage is none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.controls.conftest import Told
from tests.controls.marks import Way, broken, healthy
from tests.controls.spoil import Array, Plant, change_json, replaced, save, stored, updated
from tests.verify.plant_graph import Graph

pytestmark = [pytest.mark.toolchain, pytest.mark.slow]

LAYER = "/model/layers.1"
ATTENTION = f"{LAYER}/attn/GroupQueryAttention"
GENAI, TOKENIZER, TEMPLATE = "genai_config.json", "tokenizer.json", "chat_template.jinja"


def graph(change) -> Plant:
    """Operators, the weights left where they are."""

    def plant(folder: Path) -> None:
        model = onnx.load(str(folder / "model.onnx"), load_external_data=False)
        change(Graph(model.graph, folder))
        (folder / "model.onnx").unlink()
        onnx.save(model, str(folder / "model.onnx"))

    return plant


def node(one: Graph, name: str) -> onnx.NodeProto:
    return next(node for node in one.graph.node if node.name == name)


def attribute(name: str, key: str, value: float) -> Plant:
    def change(one: Graph) -> None:
        entries = node(one, name).attribute
        kept = [entry for entry in entries if entry.name != key]
        del entries[:]
        entries.extend([*kept, helper.make_attribute(key, value)])

    return graph(change)


def behind(name: str, op_type: str, **options: float) -> Plant:
    """An operator behind another one."""

    def change(one: Graph) -> None:
        made = node(one, name)
        output, made.output[0] = made.output[0], "planted/before"
        one.add(op_type, "planted/before", output=output, **options)

    return graph(change)


def behind_the_logits(op_type: str, *numbers: object) -> Plant:
    def change(one: Graph) -> None:
        others = [one.constant(number) for number in numbers]
        one.add(op_type, one.behind_the_logits(), *others, output="logits")

    return graph(change)


def without_the_residual(one: Graph) -> None:
    made = node(one, f"{LAYER}/input_layernorm/SkipLayerNorm")
    made.input[1] = made.input[0]


def two_matrices_swapped(one: Graph) -> None:
    gate, up = (node(one, f"{LAYER}/mlp/{name}_proj/MatMulNBits") for name in ("gate", "up"))
    for place in range(1, len(gate.input)):
        gate.input[place], up.input[place] = up.input[place], gate.input[place]


def another_activation(one: Graph) -> None:
    node(one, f"{LAYER}/mlp/act_fn/Sigmoid").op_type = "Tanh"


def noise(one: Graph) -> None:
    random = one.add("RandomNormalLike", one.behind_the_logits(), scale=0.02, dtype=one.type)
    one.add("Add", "planted/logits", random, output="logits")


BAN = np.where(np.arange(320) == 317, -100, 0)

OPERATORS = {
    "half as sure": (behind_the_logits("Mul", 0.5), "1 operator that the source's graph does not have: Mul"),
    "one token is barred": (behind_the_logits("Add", BAN), "1 operator that the source's graph does not have: Add"),
    "logits are cut": (behind_the_logits("Clip", -20, 20), "does not have: Clip"),
    "the sign changes twice": (behind(f"{LAYER}/mlp/Mul", "Neg"), "does not have: Neg"),
    "noise": (graph(noise), "Add, RandomNormalLike"),
    "an activation more": (behind(f"{LAYER}/mlp/Mul", "Relu"), "does not have: Relu"),
    "dropout is left in": (behind(f"{LAYER}/mlp/Mul", "Dropout"), "does not have: Dropout"),
    "another activation": (graph(another_activation), "act_fn/Sigmoid is Tanh, the source gives Sigmoid"),
    "another scale of attention": (attribute(ATTENTION, "scale", 0.3), "has scale 0.3, the source gives 0.25"),
    "a window": (attribute(ATTENTION, "local_window_size", 64), "local_window_size 64, the source gives -1"),
    "a soft cap": (attribute(ATTENTION, "softcap", 50.0), "softcap 50, the source gives 0"),
    "pairs rotated otherwise": (attribute(ATTENTION, "rotary_interleaved", 1), "rotary_interleaved 1"),
    "one layer not rotated": (attribute(ATTENTION, "do_rotary", 0), "do_rotary 0, the source gives 1"),
    "no residual": (graph(without_the_residual), f"{LAYER}/input_layernorm/SkipLayerNorm reads"),
    "two matrices swapped": (graph(two_matrices_swapped), "the weights of /model/layers.1/mlp/gate_proj are not"),
}


@broken("operators of an int8 graph", way=Way.CONVERT)
@pytest.mark.parametrize("fault", OPERATORS)
def test_a_fault_in_the_operators_is_named(adopted: Told, fault: str) -> None:
    plant, told = OPERATORS[fault]
    assert told in adopted("int8", plant)


def named(tensors: dict[str, Array], *parts: str) -> str:
    """The first tensor with all these parts in its name."""
    return next(name for name in tensors if all(part in name for part in parts))


def at(part: str, place: int | tuple[int, ...], change) -> Plant:
    """One value, or one row, of a tensor."""

    def plant(tensors: dict[str, Array]) -> None:
        tensor = tensors[named(tensors, *part.split())]
        view = tensor.reshape(-1) if isinstance(place, int) else tensor
        view[place] = change(view[place])

    return stored(plant)


def rows_swapped(tensors: dict[str, Array]) -> None:
    table = tensors["model.embed_tokens.weight"]
    table[[200, 201]] = table[[201, 200]]


def layers_swapped(tensors: dict[str, Array]) -> None:
    for name in [name for name in tensors if ".layers.0.mlp." in name]:
        other = name.replace("layers.0", "layers.1")
        tensors[name], tensors[other] = tensors[other], tensors[name]


def rows_of_no_token(tensors: dict[str, Array]) -> None:
    table = tensors["model.embed_tokens.weight"]
    tensors["model.embed_tokens.weight"] = np.concatenate([table, table[:64]])


def far_rotations_of_near_ones(tensors: dict[str, Array]) -> None:
    tensors["cos_cache"][400:] = tensors["cos_cache"][:112]


def short_tables(tensors: dict[str, Array]) -> None:
    for name in ("cos_cache", "sin_cache"):
        tensors[name] = tensors[name][:256]


EMBEDDING = "the weights of /model/embed_tokens are not the source's"
STEPS = "steps of quantisation, where rounding costs"
WEIGHTS = {
    "a token's row is empty": ("int4", at("embed_tokens", (300,), np.zeros_like), EMBEDDING),
    "two tokens' rows swapped": ("int4", stored(rows_swapped), EMBEDDING),
    "more rows than tokens": ("int4", stored(rows_of_no_token), EMBEDDING),
    "NaN in a rare token's row": ("int8", at("embed_tokens", (250,), lambda row: row * np.nan), "NaN or infinite"),
    "one scale of the head": ("int4", at("lm_head scales", 311, lambda one: one * 1.5), "the weights of /lm_head are not the source's"),
    "one scale doubled": ("int8", at("layers.1.mlp.down scales", 7, lambda one: one * 2), STEPS),
    "one scale negative": ("int4", at("layers.1.mlp.down scales", 3, np.negative), STEPS),
    "one scale NaN": ("int8", at("layers.1.mlp.down scales", 7, lambda one: one * np.nan), "NaN or infinite"),
    "one zero point": ("int8", at("layers.0.mlp.up qzeros", 5, lambda one: one ^ 4), STEPS),
    "one bit of one weight": ("int4", at("layers.0.attn.o_proj Q4", 100, lambda one: one ^ 0x40), "a weight is off by"),
    "two layers swapped": ("int8", stored(layers_swapped), STEPS),
    "a norm by four thousandths": ("fp16", at("layers.0.input_layernorm", (slice(None),), lambda one: one * one.dtype.type(1.004)), "layers.0.input_layernorm.weight is not the source's"),
    "far positions as near ones": ("int4", stored(far_rotations_of_near_ones), "encodes positions otherwise"),
    "tables of half a context": ("int8", stored(short_tables), "cos_cache ends after 256 positions, the context has 512"),
}  # fmt: skip


@broken("weights", way=Way.CONVERT)
@pytest.mark.parametrize("fault", WEIGHTS)
def test_a_fault_in_the_weights_is_named(adopted: Told, fault: str) -> None:
    precision, plant, told = WEIGHTS[fault]
    assert told in adopted(precision, plant)


def setting(*path: str, value: object) -> Plant:
    """An entry of genai_config.json."""

    def change(content):
        for key in path[:-1]:
            content = content[key]
        content[path[-1]] = value

    return lambda folder: change_json(folder / GENAI, change)


SETTINGS = {
    "one of two ends lost": (setting("model", "eos_token_id", value=2), "end of sequence: the source ends at 0, 2"),
    "the other end lost": (setting("model", "eos_token_id", value=0), "genai_config.json at 0"),
    "an end too many": (setting("model", "eos_token_id", value=[2, 0, 10]), "genai_config.json at 0, 2, 10"),
    "another family": (setting("model", "type", value="llama"), "type llama, the source gives qwen2"),
    "another vocabulary": (setting("model", "vocab_size", value=300), "vocabulary: the source has 320"),
    "more heads": (setting("model", "decoder", "num_key_value_heads", value=4), "num_key_value_heads 4"),
    "sampling": (setting("search", "do_sample", value=True), "do_sample True, the source gives False"),
    "another temperature": (setting("search", "temperature", value=0.3), "temperature 0.3"),
    "answers of 20 tokens at least": (setting("search", "min_length", value=20), "min_length 20"),
    "answers cut at 100": (setting("search", "max_length", value=100), "ends answers at max_length 100"),
    "beams": (setting("search", "num_beams", value=3), "num_beams 3, the source gives 1"),
}


@broken("settings and ends in genai_config.json", way=Way.CONVERT)
@pytest.mark.parametrize("fault", SETTINGS)
def test_a_fault_in_the_settings_is_named(adopted: Told, fault: str) -> None:
    plant, told = SETTINGS[fault]
    assert told in adopted("int8", plant)


def tokenizer(change) -> Plant:
    return lambda folder: change_json(folder / TOKENIZER, change)


def numbers_of_three_digits(content) -> None:
    pattern = content["pre_tokenizer"]["pretokenizers"][0]["pattern"]
    pattern["Regex"] = pattern["Regex"].replace("\\p{N}|", "\\p{N}{1,3}|", 1)


def a_token_in_front(content) -> None:
    sequence = {"Sequence": {"id": "A", "type_id": 0}}
    first = {"SpecialToken": {"id": "<|im_start|>", "type_id": 0}}
    token = {"id": "<|im_start|>", "ids": [1], "tokens": ["<|im_start|>"]}
    content["post_processor"] |= {"single": [first, sequence], "special_tokens": {"<|im_start|>": token}}


NOT_THE_SOURCES = "tokenizer.json is not the source's: its "
TOKENIZERS = {
    "lower case": (lambda one: one.update(normalizer={"type": "Lowercase"}), f"{NOT_THE_SOURCES}normalizer"),
    "no normalizer": (lambda one: one.update(normalizer=None), f"{NOT_THE_SOURCES}normalizer is null"),
    "numbers of three digits": (numbers_of_three_digits, f"{NOT_THE_SOURCES}pre_tokenizer"),
    "a space in front": (lambda one: one["pre_tokenizer"]["pretokenizers"][1].update(add_prefix_space=True), f"{NOT_THE_SOURCES}pre_tokenizer"),
    "a token in front": (a_token_in_front, f"{NOT_THE_SOURCES}post_processor"),
    "two merges in another order": (lambda one: one["model"]["merges"].insert(0, one["model"]["merges"].pop(3)), "tokenizer.json is not the source's: merge 0"),
    "no merges where a word is known": (lambda one: one["model"].update(ignore_merges=True), "ignore_merges True"),
    "a word as a token": (lambda one: one["added_tokens"].append({**one["added_tokens"][0], "id": 320, "content": "filter"}), "its added token 320"),
    "an end that swallows spaces": (lambda one: one["added_tokens"][2].update(rstrip=True), "its added token 2"),
    "an end that is shown": (lambda one: one["added_tokens"][2].update(special=False), "its added token 2"),
    "another decoder": (lambda one: one.update(decoder={"type": "Fuse"}), f"{NOT_THE_SOURCES}decoder"),
}  # fmt: skip


@broken("tokenizer files", way=Way.CONVERT)
@pytest.mark.parametrize("fault", TOKENIZERS)
def test_a_fault_in_the_tokenizer_is_named(adopted: Told, fault: str) -> None:
    change, told = TOKENIZERS[fault]
    assert told in adopted("int4", tokenizer(change))


def in_front(text: str) -> Plant:
    def plant(folder: Path) -> None:
        (folder / TEMPLATE).write_text(text + (folder / TEMPLATE).read_text(encoding="utf-8"), encoding="utf-8")

    return plant


def with_template_in(name: str, old: str = "", new: str = "") -> Plant:
    """The template once more, in another file of the folder."""

    def plant(folder: Path) -> None:
        text = (folder / TEMPLATE).read_text(encoding="utf-8")
        updated(name, chat_template=text.replace(old, new) if old else text)(folder)

    return plant


NO_SYSTEM = "{%- if messages[0]['role'] == 'system' -%}{%- set messages = messages[1:] -%}{%- endif -%}"
TODAY = "{{ '<|im_start|>system\nToday is ' + strftime_now('%d %b %Y') + '<|im_end|>\n' }}"
TEMPLATES = {
    "words of the system lost": in_front(NO_SYSTEM),
    "today's date": in_front(TODAY),
    "a token in front": in_front("<|endoftext|>"),
    "no turn to answer in": in_front("{% set add_generation_prompt = false %}"),
    "no line break behind the assistant": replaced(TEMPLATE, "assistant\n", "assistant"),
    "a space behind each turn": replaced(TEMPLATE, "<|im_end|>' + '\n'", "<|im_end|>' + '\n '"),
    "questions trimmed": replaced(TEMPLATE, "m['content']", "m['content'] | trim"),
    "one question changed": replaced(TEMPLATE, "m['content']", "m['content'] | replace('E4', 'F1')"),
    "the third turn is a user's": replaced(TEMPLATE, "m['role']", "(m['role'] if loop.index < 3 else 'user')"),
    "another one in the tokenizer's config": with_template_in("tokenizer_config.json", "assistant\n", "assistant"),
    "another one in a processor's file": with_template_in("chat_template.json", "assistant\n", "assistant"),
}


@broken("chat templates", way=Way.CONVERT)
@pytest.mark.parametrize("fault", TEMPLATES)
def test_a_fault_in_the_template_is_named(adopted: Told, fault: str) -> None:
    assert "chat template: it is not the source's" in adopted("int8", TEMPLATES[fault])


def with_other_weight_files(*, is_one_file: bool = False, has_file_each: bool = False) -> Plant:
    def plant(folder: Path) -> None:
        model = onnx.load(str(folder / "model.onnx"))
        save(model, folder, is_one_file=is_one_file, has_file_each=has_file_each)

    return plant


def moved_template(folder: Path) -> None:
    with_template_in("tokenizer_config.json")(folder)
    (folder / TEMPLATE).unlink()


def with_windows_line_breaks(folder: Path) -> None:
    content = (folder / TEMPLATE).read_bytes()
    (folder / TEMPLATE).write_bytes(content.replace(b"\n", b"\r\n"))


def rounded_twice(one: Graph) -> None:
    """As some builders do before the last operator."""
    rounded = one.add("Cast", one.behind_the_logits(), to=TensorProto.FLOAT16)
    one.add("Cast", rounded, output="logits", to=one.type)


def more_exact_products(one: Graph) -> None:
    for made in one.graph.node:
        if made.op_type == "MatMulNBits":
            next(entry for entry in made.attribute if entry.name == "accuracy_level").i = 1


def renamed_model_file(folder: Path) -> None:
    (folder / "model.onnx").rename(folder / "decoder.onnx")
    setting("model", "decoder", "filename", value="decoder.onnx")(folder)


def files_of_others(folder: Path) -> None:
    (folder / "README.md").write_text("what it is", encoding="utf-8")
    (folder / "special_tokens_map.json").write_text('{"eos_token": "<|im_end|>"}', encoding="utf-8")
    (folder / ".cache").mkdir()


def merges_as_texts(content) -> None:
    content["model"]["merges"] = [" ".join(pair) for pair in content["model"]["merges"]]


HEALTHY = {
    "as it is": lambda folder: None,
    "weights in the graph's own file": with_other_weight_files(is_one_file=True),
    "weights in a file each": with_other_weight_files(has_file_each=True),
    "tensors written again": stored(lambda tensors: None),
    "another name of the graph": renamed_model_file,
    "ends in another order": setting("model", "eos_token_id", value=[0, 2]),
    "one thread": setting("model", "decoder", "session_options", "intra_op_num_threads", value=1),
    "no optimisation": setting("model", "decoder", "session_options", "graph_optimization_level", value="ORT_DISABLE_ALL"),
    "a prefill in chunks": setting("search", "chunk_size", value=16),
    "a cache of its own": setting("search", "past_present_share_buffer", value=False),
    "a seed": setting("search", "random_seed", value=7),
    "a comment in the template": in_front("{# made by hand #}"),
    "the template in the tokenizer's config": moved_template,
    "the template in both": with_template_in("tokenizer_config.json"),
    "line breaks of Windows": with_windows_line_breaks,
    "merges as texts": tokenizer(merges_as_texts),
    "a class of another name": updated("tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast"),
    "files of others": files_of_others,
    "a cast more": graph(rounded_twice),
}  # fmt: skip


@healthy("folders that were converted elsewhere, or touched since", way=Way.CONVERT)
@pytest.mark.parametrize("precision", ["int4", "fp16"])
@pytest.mark.parametrize("oddity", HEALTHY)
def test_what_is_only_stored_otherwise_passes(adopted: Told, oddity: str, precision: str) -> None:
    assert adopted(precision, HEALTHY[oddity]) == ""


@healthy("products of another accuracy level", way=Way.CONVERT)
@pytest.mark.parametrize("precision", ["int4", "int8"])
def test_another_accuracy_level_of_an_adopted_folder_passes(adopted: Told, precision: str) -> None:
    assert adopted(precision, graph(more_exact_products)) == ""
