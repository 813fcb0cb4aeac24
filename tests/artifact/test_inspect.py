"""Facts read from graphs, and how they are held against what was asked."""

import json
import os

import onnx
import pytest
from onnx import TensorProto, helper

from harness.artifact.facts import discrepancies, precision_of
from harness.artifact.genai_config import set_target
from harness.artifact.inspect import inspect_artifact
from harness.artifact.onnx_file import stored_tensors
from harness.config.target import CPU, Target
from harness.errors import ArtifactError
from harness.recipes.recipe import Recipe, load_recipe

HALF = {"bits": 16, "kind": TensorProto.FLOAT16}


def resolved(precision, **options):
    return load_recipe(precision, **options).resolved()


@pytest.mark.parametrize(
    ("options", "precision", "bytes_per_weight"),
    [
        ({}, "int4", 0.5 + 4 / 32),
        ({"bits": 8, "block_size": 128, "symmetric": False}, "int8", 1 + 4 / 128 + 1 / 128),
        (HALF, "fp16", 2.0),
        ({"bits": 32}, "fp32", 4.0),
    ],
)
def test_a_graph_tells_its_precision(make_artifact, options, precision, bytes_per_weight):
    facts = inspect_artifact(make_artifact(**options))
    assert precision_of(facts) == precision
    assert facts.bytes_per_weight == pytest.approx(bytes_per_weight)
    assert discrepancies(facts, resolved(precision)) == []


def test_config_and_storage_are_read(make_artifact):
    facts = inspect_artifact(make_artifact(symmetric=False))
    assert (facts.context_length, facts.vocabulary_size, facts.eos_token_ids) == (64, 8, (2, 0))
    assert (facts.block_sizes, facts.symmetries, facts.accuracy_levels) == ((32,), (False,), (4,))
    assert facts.weight_bytes == {"float32": 64 * 128 * 4 + 64 * 4 * 4, "uint8": 64 * 64 + 64 * 2}
    assert (facts.logits_type, facts.cache_types, facts.cast_count) == ("float32", ("float32",), 0)
    assert facts.op_counts["MatMulNBits"] == 1
    assert json.loads(json.dumps(facts.as_dict()))["weights_per_bits"] == {"4": 64 * 128}


@pytest.mark.parametrize(
    ("options", "head", "embedding"),
    [
        ({}, "int4", "float32"),
        ({"bits": 8}, "int8", "float32"),
        (HALF, "float16", "float16"),
        ({"bits": 32}, "float32", "float32"),
    ],
)
def test_embedding_and_head_tell_what_they_are_stored_as(make_artifact, options, head, embedding):
    facts = inspect_artifact(make_artifact(**options))
    assert (facts.head_type, facts.embedding_type) == (head, embedding)


def test_the_head_is_found_behind_what_scales_and_casts_its_logits(make_artifact):
    folder = make_artifact(bits=8)
    model = onnx.load(folder / "model.onnx", load_external_data=False)
    product = next(node for node in model.graph.node if node.op_type == "MatMulNBits")
    product.output[0] = "raw"
    model.graph.node.append(onnx.helper.make_node("Div", ["raw", "scale"], ["scaled"]))
    model.graph.node.append(onnx.helper.make_node("Cast", ["scaled"], ["logits"], to=TensorProto.FLOAT))
    onnx.save(model, folder / "model.onnx")
    assert inspect_artifact(folder).head_type == "int8"


def test_a_quantised_embedding_is_told_by_its_bits(make_artifact):
    folder = make_artifact()
    model = onnx.load(folder / "model.onnx", load_external_data=False)
    lookup = next(node for node in model.graph.node if node.op_type == "Gather")
    lookup.op_type, lookup.domain = "GatherBlockQuantized", "com.microsoft"
    lookup.attribute.append(onnx.helper.make_attribute("bits", 8))
    onnx.save(model, folder / "model.onnx")
    assert inspect_artifact(folder).embedding_type == "int8"


@pytest.mark.parametrize(
    ("options", "asked", "told"),
    [
        ({}, resolved("int8"), "precision: asked int8, the graph's matrices are int4 (0.62 bytes for each weight)"),
        ({"bits": 8}, resolved("int4"), "precision: asked int4"),
        ({"bits": 32}, resolved("int4"), "precision: asked int4"),
        ({}, resolved("fp16"), "precision: asked fp16"),
        ({"block_size": 64}, resolved("int4"), "block_size: asked 32, the graph has 64"),
        ({"symmetric": False}, resolved("int4"), "symmetric: asked true, the graph has zero points"),
        ({}, resolved("int4", symmetric=False), "symmetric: asked false, the graph has no zero points"),
        ({"accuracy_level": 1}, resolved("int4"), "accuracy_level: asked 4, the graph has 1"),
        ({"logits": "logits_Q8"}, resolved("int4"), "the graph calls it logits_Q8"),
        ({"bits": 16, "kind": TensorProto.FLOAT}, resolved("fp16"), "logits type: fp16 has float16"),
        ({"kind": TensorProto.FLOAT16}, resolved("int4"), "key-value cache: int4 has float32, the graph has float16"),
    ],
)
def test_what_differs_from_what_was_asked_is_named(make_artifact, options, asked, told):
    problems = discrepancies(inspect_artifact(make_artifact(**options)), asked)
    assert any(told in problem for problem in problems), problems


def test_a_size_that_the_precision_does_not_allow_is_told(make_artifact):
    file = make_artifact(bits=8, block_size=128) / "model.onnx"
    model = onnx.load(file, load_external_data=False)
    matrix = next(node for node in model.graph.node if node.op_type == "MatMulNBits")
    next(entry for entry in matrix.attribute if entry.name == "bits").i = 4
    onnx.save(model, file)
    problems = discrepancies(inspect_artifact(file.parent), load_recipe("int4"))
    assert problems == ["size: 1.03 bytes for each weight, where 0.5 to 0.539 would do"]


def test_a_matrix_that_is_stored_with_the_embedding_has_a_size_too(make_artifact):
    """A tied head reads the embedding's tensor through a Reshape."""
    file = make_artifact() / "model.onnx"
    model = onnx.load(file, load_external_data=False)
    matrix = next(node for node in model.graph.node if node.op_type == "MatMulNBits")
    model.graph.node.insert(0, onnx.helper.make_node("Reshape", [matrix.input[1], "shape"], ["reshaped"]))
    matrix.input[1] = "reshaped"
    onnx.save(model, file)
    assert inspect_artifact(file.parent).bytes_per_weight == 0.5 + 4 / 32


def test_only_what_is_stated_is_compared_with_a_folder_made_elsewhere(make_artifact):
    facts = inspect_artifact(make_artifact(block_size=128, symmetric=False, kind=TensorProto.FLOAT16))
    assert discrepancies(facts, load_recipe("int4"), is_adopted=True) == []
    assert discrepancies(facts, load_recipe("int4", block_size=32), is_adopted=True)
    assert discrepancies(facts, load_recipe("int8"), is_adopted=True)


def test_a_provider_that_was_not_asked_for_is_named(make_artifact):
    folder = make_artifact()
    file = folder / "genai_config.json"
    settings = json.loads(file.read_text())
    settings["model"]["decoder"]["session_options"]["provider_options"] = [{"cuda": {}}]
    file.write_text(json.dumps(settings))
    facts = inspect_artifact(folder)
    assert any("cuda" in problem for problem in discrepancies(facts, resolved("int4")))


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("CUDAExecutionProvider", []),
        ("CPUExecutionProvider", ["provider: asked CPUExecutionProvider, the config asks for cuda"]),
    ],
)
def test_a_config_is_set_to_its_target_and_compared_with_it(make_artifact, asked, told):
    folder, cuda = make_artifact(), Target.of("CUDAExecutionProvider")
    set_target(folder, cuda)
    facts = inspect_artifact(folder)
    assert facts.providers == ("cuda",)
    assert discrepancies(facts, load_recipe("int4", target=Target.of(asked))) == told
    set_target(folder, CPU)
    assert inspect_artifact(folder).providers == ()
    (missing,) = discrepancies(inspect_artifact(folder), load_recipe("int4", target=cuda))
    assert missing == "provider: asked CUDAExecutionProvider, the config asks for CPU"


def cut(name, share):
    def plant(folder):
        file = folder / name
        file.write_bytes(file.read_bytes()[: int(file.stat().st_size * share)])

    return plant


def point_outside(folder):
    file = folder / "model.onnx"
    file.write_bytes(file.read_bytes().replace(b"model.onnx.data", b"../../etc/passw"))


def place_at(folder, key, value):
    """Say of the first tensor's external data that it is elsewhere in its file."""
    model = onnx.load(str(folder / "model.onnx"), load_external_data=False)
    tensor = model.graph.initializer[0]
    for entry in tensor.external_data:
        if entry.key == key:
            entry.value = value
    (folder / "model.onnx").write_bytes(model.SerializeToString())


def configure(folder, change):
    file = folder / "genai_config.json"
    settings = json.loads(file.read_text())
    change(settings)
    file.write_text(json.dumps(settings))


def say_twice(folder, key, value):
    file = folder / "genai_config.json"
    file.write_text(file.read_text().replace(f'"{key}"', f'"{key}": {value}, "{key}"'))


@pytest.mark.parametrize(
    ("plant", "told"),
    [
        (lambda folder: (folder / "model.onnx").unlink(), "model.onnx is missing"),
        (lambda folder: (folder / "model.onnx.data").unlink(), "which holds tensor embed, is missing"),
        (lambda folder: (folder / "genai_config.json").unlink(), "genai_config.json is missing"),
        (lambda folder: (folder / "genai_config.json").write_text("{"), "unreadable"),
        (lambda folder: (folder / "genai_config.json").write_text('{"model": {}}'), "no decoder"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "tokenizer is missing"),
        (lambda folder: (folder / "model.onnx").write_bytes(b"not a graph at all"), "model.onnx"),
        (lambda folder: (folder / "model.onnx").write_bytes(b""), "empty graph"),
        (cut("model.onnx", 0.6), "model.onnx"),
        (cut("model.onnx.data", 0.99), "cut short: tensor scales"),
        (cut("model.onnx.data", 0.5), "cut short: tensor embed"),
        (point_outside, "points out of its folder"),
        (lambda folder: place_at(folder, "offset", "somewhere"), "the offset of tensor .* is no number: 'somewhere'"),
        (lambda folder: place_at(folder, "offset", "-64"), "is cut short"),
        (lambda folder: say_twice(folder, "eos_token_id", 5), "'eos_token_id' is in it twice"),
        (lambda folder: configure(folder, lambda settings: settings.update(search=[])), "or search is a group"),
        (
            lambda folder: configure(folder, lambda settings: settings["model"]["decoder"].update(session_options=[1])),
            "is a group of settings",
        ),
    ],
)
def test_a_planted_fault_in_the_folder_is_named(make_artifact, plant, told):
    folder = make_artifact()
    plant(folder)
    with pytest.raises(ArtifactError, match=told) as caught:
        inspect_artifact(folder)
    assert str(folder) in caught.value.where


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ArtifactError, match="no such folder"):
        inspect_artifact(tmp_path / "nowhere")


def test_mixed_bits_are_named_unless_the_algorithm_mixes(make_artifact):
    from dataclasses import replace

    facts = replace(inspect_artifact(make_artifact(symmetric=False)), weights_per_bits={4: 90, 8: 10})
    asked = Recipe(name="int4", precision="int4", symmetric=False)
    assert discrepancies(facts, asked) == ["bits: asked 4 for every matrix, the graph has 10 % in 8 bits"]
    assert discrepancies(facts, replace(asked, algorithm="k_quant_mixed", symmetric=False)) == []


def test_stored_tensors_are_read_while_foundry_local_has_a_link_to_their_file(make_artifact, tmp_path):
    folder = make_artifact(bits=8)
    os.link(folder / "model.onnx.data", tmp_path / "linked")
    found = stored_tensors(folder, "model.onnx", ("embed",))
    assert found["embed"].shape == (64, 128)
    assert (found["embed"] == 1).all()


def test_stored_tensors_of_branches_are_read(make_artifact):
    """Where a graph chooses between two rotary tables, as longrope does."""
    folder = make_artifact()
    model = onnx.load(str(folder / "model.onnx"), load_external_data=False)

    def branch(name, value):
        table = helper.make_tensor("", TensorProto.FLOAT, [2], [value, value])
        node = helper.make_node("Constant", [], [name], value=table)
        return helper.make_graph([node], name, [], [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2])])

    branches = {"then_branch": branch("cos_cache_large", 0.5), "else_branch": branch("cos_cache_small", 1.0)}
    model.graph.node.append(helper.make_node("If", ["is_long"], ["cos_cache"], **branches))
    onnx.save(model, str(folder / "model.onnx"))
    found = stored_tensors(folder, "model.onnx", ("cos_cache",))
    assert {name: values.tolist() for name, values in found.items()} == {
        "cos_cache_large": [0.5, 0.5],
        "cos_cache_small": [1.0, 1.0],
    }


def test_stored_tensors_that_are_cut_short_are_refused(make_artifact):
    folder = make_artifact(bits=8)
    with (folder / "model.onnx.data").open("r+b") as stream:
        stream.truncate(100)
    with pytest.raises(ArtifactError, match="cut short"):
        stored_tensors(folder, "model.onnx", ("embed",))
