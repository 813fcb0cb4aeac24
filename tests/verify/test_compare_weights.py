"""Faults that divergence cannot tell from quantisation are told by name."""

import re

import numpy as np
import pytest
from onnx import helper, numpy_helper

from harness.system.progress import SILENT, LineProgress
from harness.toolchain.workspace import Workspace
from harness.verify.compare_weights import compare_with_reference_export
from harness.verify.criteria import findings_of
from harness.verify.fidelity import GraphFidelity, ReferenceExport
from harness.verify.measure import compare_weights
from tests.controls.marks import Way, broken, healthy
from tests.verify.toy_graph import BIAS, BLOCK, EMBEDDING, LAYER, NORM, QKV, ROWS, WIDTH, Model, quantised
from tests.verify.values import EXACT, INT4


@pytest.fixture
def reference_export(tmp_path):
    return Model(32).save(tmp_path / "witness")


@healthy("precisions of a small graph", way=Way.COMPARE)
@pytest.mark.parametrize(("bits", "symmetric"), [(4, True), (4, False), (8, True), (8, False), (16, True), (32, True)])
def test_rounding_is_no_difference(tmp_path, reference_export, bits, symmetric):
    made = Model(bits, symmetric).save(tmp_path / "made")
    found = compare_with_reference_export(made, reference_export)
    assert found.is_named_alike
    assert found.differences == ()
    assert found.rotary_difference == 0


def changed(name, change):
    def plant(model):
        model.tensors[name] = np.ascontiguousarray(change(model.tensors[name]))

    return plant


def without_bias(model):
    model.nodes.pop(f"{LAYER}/qkv_proj/Add")
    model.tensors.pop(BIAS)
    model.nodes[f"{LAYER}/Attention"].input[0] = "product"


def crossed_cache(model):
    node = model.nodes[f"{LAYER}/Attention"]
    node.input[1], node.input[2] = node.input[2], node.input[1]


def one_zero_point_off(points):
    points = points.copy()
    points.flat[5] ^= 0x01
    return points


def one_high_bit_flipped(weights):
    """Of one weight: 4 of 16 steps, 0.7 of a block as a whole."""
    weights = weights.copy()
    weights.flat[100] ^= 0x40
    return weights


def two_swapped(rows):
    return rows[[1, 0, *range(2, len(rows))]]


def last_rows_of_zero(rows):
    rows = rows.copy()
    rows[-2:] = 0
    return rows


def columns_in_another_order(model):
    model.tensors["order"] = np.arange(WIDTH, dtype=np.int32)[::-1] // BLOCK
    model.nodes[f"{LAYER}/qkv_proj/MatMulNBits"].input.append("order")


def with_quantised_embedding(model, bits=8):
    parts = quantised(model.tensors.pop(EMBEDDING).astype(np.float32).T, bits, symmetric=False)
    names = [f"{EMBEDDING}.{name}" for name in ("weight", "scales", "zeros")]
    model.tensors |= dict(zip(names, parts, strict=True))
    options = {"bits": bits, "block_size": BLOCK, "gather_axis": 0, "quantize_axis": 1}
    inputs = [names[0], "input_ids", *names[1:]]
    node = helper.make_node("GatherBlockQuantized", inputs, ["embedded"], "/model/embed_tokens/Gather", **options)
    del model.nodes["/model/embed_tokens/Gather"]
    model.nodes[node.name] = node


def with_a_wrong_quantised_embedding(model):
    with_quantised_embedding(model)
    model.tensors[f"{EMBEDDING}.weight"] = two_swapped(model.tensors[f"{EMBEDDING}.weight"])


def set_to(*keys, value):
    def plant(model):
        place = model.settings
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value

    return plant


def attribute(node, key, value):
    def plant(model):
        entry = next(one for one in model.nodes[node].attribute if one.name == key)
        entry.CopyFrom(helper.make_attribute(key, value))

    return plant


FAULTS = {
    "a scale of 0": (changed(f"{QKV}.scales", np.zeros_like), "off by inf steps"),
    "larger scales": (changed(f"{QKV}.scales", lambda values: values * 1.05), "times as large"),
    "zero points off by one": (changed(f"{QKV}.zeros", lambda values: values ^ 0x11), "off by 1.1 steps"),
    "one zero point off by one": (changed(f"{QKV}.zeros", one_zero_point_off), "a block is off by"),
    "one bit flipped": (changed(f"{QKV}.weight", one_high_bit_flipped), "a weight is off by 3.7 steps"),
    "heads in another order": (changed(f"{QKV}.weight", lambda values: values[::-1]), "steps of quantisation"),
    "two rows swapped": (changed(f"{QKV}.weight", two_swapped), "steps of quantisation"),
    "the last rows lost": (changed(f"{QKV}.weight", last_rows_of_zero), "steps of quantisation"),
    "columns in another order": (columns_in_another_order, "another order (g_idx)"),
    "two tokens' embeddings swapped": (with_a_wrong_quantised_embedding, "the weights of /model/embed_tokens are not"),
    "no bias": (without_bias, "qkv_proj/Add is missing"),
    "a bias of 0": (changed(BIAS, np.zeros_like), "32 of 32 values, 0 for"),
    "NaN in a rare row": (changed(EMBEDDING, lambda values: values * np.nan), "nan for"),
    "another norm": (changed(NORM, lambda values: values + 0.01), "is not the source's"),
    "short tables": (changed("cos_cache", lambda values: values[:5]), "ends after 5 positions, the context has 8"),
    "another epsilon": (attribute(f"{LAYER}/norm", "epsilon", 1e-5), "epsilon 1e-05, the source gives 1e-06"),
    "fewer heads": (attribute(f"{LAYER}/Attention", "num_heads", 2), "num_heads 2, the source gives 4"),
    "keys for values": (crossed_cache, "reads past.0.value, the source gives past.0.key"),
    "other sampling": (set_to("search", "do_sample", value=True), "do_sample True, the source gives False"),
    "a penalty": (set_to("search", "repetition_penalty", value=1.3), "repetition_penalty 1.3"),
    "answers cut": (set_to("search", "max_length", value=5), "ends answers at max_length 5"),
    "another head size": (set_to("model", "decoder", "head_size", value=4), "head_size 4, the source gives 8"),
    "renamed cache": (
        set_to("model", "decoder", "inputs", value={"past_key_names": "past.%d.value"}),
        "past_key_names past.%d.value",
    ),
}


@broken("weights and settings of a small graph", way=Way.COMPARE)
@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_not_rounding_is_told(tmp_path, reference_export, fault):
    plant, told = FAULTS[fault]
    model = Model(4, symmetric=False)
    plant(model)
    made = model.save(tmp_path / "made")
    assert told in "; ".join(compare_with_reference_export(made, reference_export).differences)


@pytest.mark.parametrize("bits", [4, 8])
def test_a_quantised_embedding_is_compared_too(tmp_path, reference_export, bits):
    model = Model(4)
    with_quantised_embedding(model, bits)
    assert compare_with_reference_export(model.save(tmp_path / "made"), reference_export).differences == ()


def test_layers_of_other_names_are_not_compared_and_settings_are(tmp_path, reference_export):
    model = Model(4, layer="/elsewhere/layers.0")
    set_to("search", "top_k", value=3)(model)
    changed(BIAS, np.zeros_like)(model)
    made = model.save(tmp_path / "made")
    found = compare_with_reference_export(made, reference_export)
    assert not found.is_named_alike
    assert found.differences == ()
    set_to("model", "pad_token_id", value=2)(model)
    assert len(compare_with_reference_export(model.save(tmp_path / "other"), reference_export).differences) == 1


def test_many_differences_are_counted(tmp_path, reference_export):
    model = Model(4)
    model.settings["search"].update(do_sample=True, repetition_penalty=2.0, max_length=3)
    assert (
        compare_with_reference_export(model.save(tmp_path / "made"), reference_export).differences[-1]
        == "1 more of these"
    )


@pytest.fixture
def measured(reference_export, tmp_path):
    """The findings of an artifact whose weights are compared with the reference export's."""

    def measure(made, progress=SILENT, **options):
        workspace = Workspace(cache=tmp_path / "cache", toolchain=None, progress=progress)
        weight_comparison = compare_weights(made, reference_export, workspace, **options)
        return GraphFidelity(
            artifact=made,
            found=INT4,
            reference_export=ReferenceExport(
                path=reference_export.path, found=EXACT, weight_comparison=weight_comparison
            ),
        )

    return measure


def test_only_the_users_own_passes_may_do_more_than_round(tmp_path, measured):
    model = Model(4)
    without_bias(model)
    made = model.save(tmp_path / "made")
    (finding,) = findings_of(measured(made))
    assert re.match(r"theirs is not its source rounded: .*qkv_proj/Add is missing", finding.what)
    made.recipe.olive_config = tmp_path / "olive.json"
    assert findings_of(measured(made)) == []


def test_other_rotary_tables_are_refused_even_in_the_users_own_graph(tmp_path, measured):
    model = Model(4)
    changed("cos_cache", lambda values: values * 0.9995)(model)  # half precision
    made = model.save(tmp_path / "made")
    assert findings_of(measured(made)) == []
    changed("cos_cache", lambda values: values * 0.9)(model)
    made = model.save(tmp_path / "other")
    made.recipe.olive_config = tmp_path / "olive.json"
    (finding,) = findings_of(measured(made))
    assert "differ by up to 0.1 (another rope theta" in finding.what


def test_a_comparison_is_made_once_for_the_same_content(tmp_path, measured):
    told = []
    made = Model(4).save(tmp_path / "made")
    first, again = (measured(made, progress=LineProgress(told.append)) for _ in range(2))
    assert told == ["theirs: comparing its weights with the source's"]
    assert first.reference_export == again.reference_export
    model = Model(4)
    without_bias(model)
    assert measured(
        model.save(tmp_path / "other"), progress=LineProgress(told.append)
    ).reference_export.weight_comparison.differences
    assert (
        measured(made, progress=LineProgress(told.append), is_transformed=True).reference_export
        == first.reference_export
    )
    assert len(told) == 3


def test_a_constants_type_is_no_difference_and_its_value_is(tmp_path, reference_export):
    def scaled(bits, kind, value):
        model, name = Model(bits), f"/model/constants/{kind}/0.22"
        number = numpy_helper.from_array(np.array(value, np.float16 if kind == "FLOAT16" else np.float32))
        nodes = [
            helper.make_node("Constant", [], [name], f"/model/constant_nodes/{kind}/0.22", value=number),
            helper.make_node("Mul", ["qkv", name], ["scaled"], f"{LAYER}/Mul"),
        ]
        model.nodes |= {node.name: node for node in nodes}
        return model.save(tmp_path / f"{kind}-{value}")

    exact = scaled(32, "FLOAT", 0.22)
    assert compare_with_reference_export(scaled(16, "FLOAT16", 0.22), exact).differences == ()
    told = compare_with_reference_export(scaled(16, "FLOAT16", 0.44), exact).differences
    assert "value 0.439941, the source gives 0.22" in told[0]


def test_weights_that_were_transformed_by_the_users_word_are_left_to_divergence(tmp_path, reference_export):
    model = Model(4)
    changed(NORM, lambda values: values * 1.5)(model)
    made = model.save(tmp_path / "made")
    assert compare_with_reference_export(made, reference_export, is_transformed=True).differences == ()
    assert compare_with_reference_export(made, reference_export).differences
    set_to("model", "pad_token_id", value=2)(model)
    settings = compare_with_reference_export(
        model.save(tmp_path / "other"), reference_export, is_transformed=True
    ).differences
    assert "pad_token_id 2" in settings[0]


@pytest.mark.parametrize("pieces", [1, 7])
def test_matrices_are_unpacked_in_pieces(tmp_path, reference_export, monkeypatch, pieces):
    monkeypatch.setattr("harness.verify.compare_weights._PIECE", WIDTH * ROWS // pieces)
    plant, told = FAULTS["zero points off by one"]
    model = Model(4, symmetric=False)
    assert compare_with_reference_export(model.save(tmp_path / "healthy"), reference_export).differences == ()
    plant(model)
    assert told in compare_with_reference_export(model.save(tmp_path / "made"), reference_export).differences[0]


def test_a_number_that_half_precision_cannot_hold_is_told(tmp_path):
    def large(bits):
        model = Model(bits)
        values = np.full_like(model.tensors[NORM], 1.0, dtype=np.float32)
        values[3] = 1e5
        with np.errstate(over="ignore"):
            model.tensors[NORM] = values.astype(model.tensors[NORM].dtype)
        return model.save(tmp_path / str(bits))

    exact = large(32)
    assert "inf for 1e+05 at [3]" in compare_with_reference_export(large(16), exact).differences[0]
