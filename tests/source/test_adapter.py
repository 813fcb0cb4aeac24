"""What an adapter's settings say of its base and of each module."""

import json

import pytest

from harness.errors import SourceError
from harness.source.adapter import Adapter, read_adapter
from tests.controls.marks import Way, broken

Q, V, DOWN = "model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.v_proj", "model.layers.11.mlp.down_proj"
HEALTHY = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "base_model_name_or_path": "base"}


@pytest.fixture
def written(tmp_path):
    """Reads the adapter of these settings."""

    def write(**settings):
        (tmp_path / "adapter_config.json").write_text(json.dumps({**HEALTHY, **settings}))
        return read_adapter(tmp_path)

    return write


def adapter(tmp_path, **settings):
    return Adapter(folder=tmp_path, settings={**HEALTHY, **settings})


@broken("kinds of adapter that are not merged", way=Way.SOURCE)
@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"peft_type": "IA3"}, "type IA3"),
        ({"peft_type": None}, "type None"),
        ({"init_lora_weights": "pissa_niter_4"}, "init_lora_weights = 'pissa_niter_4', which changes the base"),
        ({"init_lora_weights": "olora"}, "olora"),
        ({"init_lora_weights": "loftq"}, "loftq"),
        ({"init_lora_weights": "lora_ga"}, "lora_ga"),
        ({"layer_replication": [[0, 2]]}, "layer_replication"),
        ({"target_parameters": ["mlp.experts.gate_up_proj"]}, "target_parameters"),
        ({"alora_invocation_tokens": [1]}, "alora_invocation_tokens"),
        ({"kasa_config": {"beta": 1}, "use_qalora": True}, "use_qalora, kasa_config"),
    ],
    ids=[
        "IA3",
        "no type",
        "PiSSA",
        "OLoRA",
        "LoftQ",
        "LoRA-GA",
        "repeated layers",
        "parameters as targets",
        "activated LoRA",
        "two at once",
    ],
)
def test_what_is_not_merged_is_refused_by_its_name_and_with_a_way_out(written, settings, told):
    with pytest.raises(SourceError, match=told) as refused:
        written(**settings)
    assert "merge it with peft (merge_and_unload())" in refused.value.next_step


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"modules_to_save": "lm_head"}, "modules_to_save is 'lm_head'"),
        ({"rank_pattern": ["q_proj"]}, "rank_pattern is"),
        ({"layers_to_transform": "1"}, "layers_to_transform is '1'"),
        ({"trainable_token_indices": 3}, "trainable_token_indices is 3"),
        ({"target_modules": "(q_proj"}, r"'\(q_proj' in adapter_config.json is no regular expression"),
        ({"alpha_pattern": {"*.q_proj": 2}}, "is no regular expression"),
    ],
)
def test_settings_that_peft_does_not_write_are_refused(written, settings, told):
    with pytest.raises(SourceError, match=told):
        written(**settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"init_lora_weights": "orthogonal", "eva_config": None, "loftq_config": {}},
        {"init_lora_weights": "eva", "eva_config": {"rho": 2.0}},
        {"init_lora_weights": False, "qalora_group_size": 16, "megatron_core": "megatron.core"},
        {"init_lora_weights": True, "loftq_config": {"loftq_bits": 4}, "velora_config": {"num_groups": 8}},
        {"use_dora": True, "use_rslora": True, "fan_in_fan_out": True, "bias": "all", "lora_bias": True},
    ],
)
def test_what_counts_while_training_only_is_no_reason_to_refuse(written, settings):
    assert written(**settings).remarks == ()


def test_a_setting_that_nobody_knows_is_told(written):
    assert written(use_magic=True, use_other=None).remarks == (
        "the adapter's setting use_magic is not known, and has no effect",
    )


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"base_model_name_or_path": None}, "does not name its base"),
        ({"base_model_name_or_path": ""}, "does not name its base"),
        ({"revision": "v2"}, "revision = 'v2'"),
    ],
)
def test_a_base_that_cannot_be_told_is_asked_for(written, settings, told):
    with pytest.raises(SourceError, match=told) as refused:
        written(**settings).base_spec()
    assert "slm-gate convert BASE --adapter ADAPTER" in refused.value.next_step


def test_a_base_is_found_beside_its_adapter_and_never_in_it(written, tmp_path):
    (tmp_path / "base").mkdir()
    assert written(revision="main").base_spec() == str(tmp_path / "base")
    assert written(base_model_name_or_path="acme/widget").base_spec() == "acme/widget"
    with pytest.raises(SourceError, match="names itself"):
        written(base_model_name_or_path=str(tmp_path)).base_spec()


@pytest.mark.parametrize(
    ("settings", "module", "expected"),
    [
        ({}, Q, (4, 2.0)),
        ({"use_rslora": True}, Q, (4, 4.0)),
        ({"lora_alpha": 2.5}, Q, (4, 0.625)),
        ({"rank_pattern": {"q_proj": 16}, "alpha_pattern": {r"layers\.1\..*": 2}}, Q, (16, 0.5)),
        ({"rank_pattern": {"q_proj": 16}, "alpha_pattern": {r"layers\.1\..*": 2}}, V, (4, 0.5)),
        ({"rank_pattern": {"^model.layers.0.self_attn.q_proj": 2}}, Q, (2, 4.0)),
        ({"rank_pattern": {"proj": 2}}, Q, (4, 2.0)),  # no whole part of the name
        ({"rank_pattern": {"q_proj": 2, r".*\.q_proj": 8}}, Q, (2, 4.0)),
    ],
)
def test_rank_and_factor_of_a_module(tmp_path, settings, module, expected):
    assert adapter(tmp_path, **settings).scale(module) == expected


@pytest.mark.parametrize("settings", [{"r": 0}, {"r": None}, {"lora_alpha": None}, {"r": "4"}])
def test_an_adapter_without_rank_or_factor_is_refused(tmp_path, settings):
    with pytest.raises(SourceError, match="which is no LoRA"):
        adapter(tmp_path, **settings).scale(Q)


@pytest.mark.parametrize(
    ("settings", "targeted"),
    [
        ({}, {Q, V, DOWN}),
        ({"target_modules": "all-linear"}, {Q, V, DOWN}),
        ({"target_modules": ["q_proj", "down_proj"]}, {Q, DOWN}),
        ({"target_modules": ["proj"]}, set()),
        ({"target_modules": [V]}, {V}),
        ({"target_modules": r".*\.(q|v)_proj"}, {Q, V}),
        ({"target_modules": "q_proj"}, set()),  # an expression must match the whole name
        ({"target_modules": ["q_proj", "v_proj"], "exclude_modules": ["0.self_attn.q_proj"]}, {V}),
        ({"target_modules": ["q_proj", "v_proj"], "exclude_modules": r".*layers\.1\..*"}, {Q}),
        ({"target_modules": ["q_proj", "v_proj", "down_proj"], "layers_to_transform": 1}, {V}),
        ({"target_modules": ["q_proj", "v_proj"], "layers_to_transform": [0], "layers_pattern": "layers"}, {Q}),
        ({"target_modules": ["q_proj", "v_proj"], "layers_to_transform": [0], "layers_pattern": ["h"]}, set()),
        ({"target_modules": ["q_proj", "down_proj"], "layers_to_transform": []}, {Q, DOWN}),
        ({"target_modules": ["q_proj", "down_proj"], "modules_to_save": ["mlp"]}, {Q}),
    ],
)
def test_the_modules_that_peft_puts_lora_on(tmp_path, settings, targeted):
    one = adapter(tmp_path, **settings)
    assert {module for module in (Q, V, DOWN) if one.is_targeted(module)} == targeted


def test_the_modules_that_are_saved_whole_and_the_rows_that_are(tmp_path):
    one = adapter(tmp_path, modules_to_save=["1.mlp", "lm_head"], trainable_token_indices=[3])
    assert one.is_saved_whole("model.layers.1.mlp.up_proj")
    assert one.is_saved_whole("lm_head")
    assert not one.is_saved_whole("model.layers.1.mlpx")
    assert one.token_indices("model.embed_tokens") == (3,)
    assert one.token_indices("lm_head") is None
    assert adapter(tmp_path, trainable_token_indices={"lm_head": [1]}).token_indices("lm_head") == (1,)
