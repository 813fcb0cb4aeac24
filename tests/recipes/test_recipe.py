"""What a variant is asked to be, and what Olive is told."""

import json
from pathlib import Path

import pytest

from harness.config.settings import VariantSettings
from harness.config.target import Target
from harness.errors import ConfigError
from harness.recipes.recipe import Recipe, load_recipe, olive_run_config

PLACES = (Path("m"), Path("out"), Path("cache"))


def test_defaults_are_written_out():
    int4 = load_recipe("int4").resolved()
    assert (int4.block_size, int4.symmetric, int4.accuracy_level, int4.algorithm) == (32, True, 4, "default")
    int8 = load_recipe("int8").resolved((256, 768))
    assert (int8.block_size, int8.symmetric, int8.accuracy_level, int8.algorithm) == (128, False, 4, "rtn")
    assert load_recipe("fp16").resolved() == load_recipe("fp16")
    assert load_recipe("int4", accuracy_level=0).resolved().accuracy_level == 0
    assert load_recipe("int4", algorithm="k_quant").resolved().symmetric is False


@pytest.mark.parametrize(("widths", "block_size"), [((), 128), ((128, 64), 64), ((48,), 16), ((40,), 128)])
def test_int8_groups_divide_every_matrix_where_they_can(widths, block_size):
    assert load_recipe("int8").resolved(widths).block_size == block_size


@pytest.mark.parametrize(
    ("precision", "options", "told"),
    [
        ("fp16", {"block_size": 32}, "block_size does not apply to fp16"),
        ("fp32", {"symmetric": True}, "symmetric does not apply to fp32"),
        ("fp16", {"accuracy_level": 1}, "accuracy_level"),
        ("fp32", {"algorithm": "rtn"}, "algorithm"),
        ("int4", {"block_size": 48}, "block_size = 48"),
        ("int4", {"block_size": 512}, "block_size = 512"),
        ("int8", {"block_size": 8}, "block_size = 8"),
        ("int4", {"accuracy_level": 5}, "accuracy_level = 5"),
        ("int4", {"algorithm": "magic"}, "algorithm = 'magic'"),
        ("int8", {"algorithm": "k_quant_mixed"}, "k_quant_mixed"),
        ("int4", {"algorithm": "k_quant", "symmetric": True}, "symmetric"),
    ],
)
def test_an_option_that_cannot_be_is_named(precision, options, told):
    with pytest.raises(ConfigError, match=told):
        load_recipe(precision, **options)


def test_an_unknown_recipe_is_named():
    with pytest.raises(ConfigError, match="int3"):
        load_recipe("int3")
    with pytest.raises(ConfigError, match="cannot make"):
        load_recipe("int4", precision="int8")


def test_options_reach_olive():
    passes = olive_run_config(load_recipe("int4", block_size=64, symmetric=False, algorithm="rtn"), *PLACES)["passes"]
    build = passes["build"]
    assert (build["int4_block_size"], build["int4_is_symmetric"], build["int4_algo_config"]) == (64, False, "rtn")
    int8 = olive_run_config(load_recipe("int8", block_size=64, symmetric=True, accuracy_level=1), *PLACES)["passes"]
    assert int8["quantize"] == {"type": "Rtn", "bits": 8, "group_size": 64, "sym": True, "lm_head": True}
    assert int8["build"]["extra_options"]["int4_accuracy_level"] == 1
    fp16 = olive_run_config(load_recipe("fp16"), *PLACES)
    assert fp16["passes"]["build"]["precision"] == "fp16"
    assert fp16["systems"]["local"]["accelerators"][0]["device"] == "gpu"  # Olive refuses it for CPU


def test_a_workflow_is_built_for_its_target():
    target = Target.of("CUDAExecutionProvider")
    for precision in ("int4", "fp16"):
        config = olive_run_config(load_recipe(precision, target=target), *PLACES)
        assert config["systems"]["local"]["accelerators"] == [target.accelerator]
    settings = VariantSettings(recipe="int4", provider="CUDAExecutionProvider")
    recipe = Recipe.from_settings(settings)
    assert recipe.as_dict()["target"] == {"provider": "CUDAExecutionProvider", "device": "gpu"}
    assert recipe.fingerprint() != load_recipe("int4").fingerprint()


@pytest.mark.parametrize("precision", ["int4", "int8", "fp16", "fp32"])
def test_the_builder_trusts_no_remote_code_by_itself(precision):
    config = olive_run_config(load_recipe(precision), *PLACES)
    assert config["passes"]["build"]["extra_options"]["hf_remote"] is False
    assert "load_kwargs" not in config["input_model"]
    trusting = olive_run_config(load_recipe(precision), *PLACES, trust_remote_code=True)
    assert trusting["passes"]["build"]["extra_options"]["hf_remote"] is True


@pytest.fixture
def olive_file(tmp_path):
    def write(content):
        file = tmp_path / "olive.json"
        file.write_text(content if isinstance(content, str) else json.dumps(content))
        return str(file)

    return write


def test_a_users_file_stays_as_written_but_for_its_places(olive_file):
    passes = {"b": {"type": "ModelBuilder", "precision": "int4", "int4_block_size": 128}}
    name = olive_file({"input_model": {"type": "HfModel", "task": "x", "model_path": "elsewhere"}, "passes": passes})
    config = olive_run_config(load_recipe(name), *PLACES)
    assert config["passes"] == passes
    assert config["input_model"] == {"type": "HfModel", "task": "x", "model_path": "m"}
    assert (config["output_dir"], config["cache_dir"]) == ("out", "cache")


@pytest.mark.parametrize(
    ("passes", "precision", "options"),
    [
        ({"b": {"type": "ModelBuilder", "precision": "int4", "int4_block_size": 16}}, "int4", (16, None, None)),
        ({"b": {"type": "ModelBuilder", "precision": "int4", "extra_options": {"int4_accuracy_level": 1}}}, "int4",
         (None, None, 1)),
        ({"b": {"type": "ModelBuilder", "config": {"precision": "int4", "int4_is_symmetric": False}}}, "int4",
         (None, False, None)),
        ({"q": {"type": "Rtn", "bits": 8, "group_size": 64, "sym": True}, "b": {"type": "ModelBuilder", "precision":
         "int4"}}, "int8", (64, True, None)),
        ({"q": {"type": "Gptq", "bits": 4, "group_size": -1}}, "int4", (-1, None, None)),
        ({"q": {"type": "Rtn", "group_size": 64}, "b": {"type": "ModelBuilder", "precision": "int4"}}, "int4",
         (64, None, None)),
        ({"b": {"type": "ModelBuilder"}, "q": {"type": "OnnxKQuantQuantization", "bits": 8, "block_size": 64,
         "accuracy_level": 4}}, "int8", (64, None, 4)),
        ({"q": {"type": "Rtn", "bits": 8, "group_size": 64}, "b": {"type": "ModelBuilder", "precision": "int4",
         "int4_block_size": 64, "int4_accuracy_level": 1}}, "int8", (64, None, 1)),
        ({"b": {"type": "ModelBuilder", "precision": "int4", "extra_options": {"int4_block_size": "64"}}}, "int4",
         (64, None, None)),
        ({"b": {"type": "ModelBuilder", "precision": "int4", "extra_options": {"block_size": 64, "is_symmetric": False,
         "accuracy_level": 1}}}, "int4", (64, False, 1)),
        ({"b": {"type": "ModelBuilder", "precision": "fp32"}, "h": {"type": "OnnxFloatToFloat16"}}, "fp16", (None,) * 3),
        ({"b": {"type": "ModelBuilder", "precision": "int8"}}, "int8", (None,) * 3),
    ],
)  # fmt: skip
def test_what_a_users_file_asks_for_is_read(olive_file, passes, precision, options):
    recipe = load_recipe(olive_file({"passes": passes}))
    assert recipe.precision == precision
    assert (recipe.block_size, recipe.symmetric, recipe.accuracy_level) == options


@pytest.mark.parametrize("size", [0, 8, 48, "100", 512])
@pytest.mark.parametrize("name", ["group_size", "int4_block_size", "block_size"])
def test_a_block_size_that_would_be_rounded_is_refused(olive_file, name, size):
    if name == "group_size":
        passes = {"q": {"type": "KQuant", "bits": 8, "group_size": size}}
    else:
        passes = {"b": {"type": "ModelBuilder", "precision": "int4", "extra_options": {name: size}}}
    with pytest.raises(ConfigError, match=f"block_size = {size} is invalid"):
        load_recipe(olive_file({"passes": passes}))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"int4_block_size": -1}, "int4_block_size = -1 of ModelBuilder is invalid"),
        ({"int4_block_size": 64.0}, "int4_block_size = 64.0 of ModelBuilder is invalid"),
        ({"int4_is_symmetric": "false"}, "int4_is_symmetric = 'false' of ModelBuilder is invalid"),
        ({"int4_accuracy_level": 7}, "accuracy_level = 7 is invalid"),
        ({"int4_algo_config": "awq"}, "algorithm = 'awq' is invalid"),
        ({"algo_config": "k_quant"}, "algo_config = 'k_quant' of ModelBuilder has no effect"),
        ({"exclude_lm_haed": True}, r"exclude_lm_haed in extra_options of ModelBuilder .* mean 'exclude_lm_head'"),
    ],
)
def test_a_value_that_an_option_cannot_have_is_refused(olive_file, options, told):
    passes = {"b": {"type": "ModelBuilder", "precision": "int4", "extra_options": options}}
    with pytest.raises(ConfigError, match=told):
        load_recipe(olive_file({"passes": passes}))


@pytest.mark.parametrize(
    ("passes", "told"),
    [
        ({"b": {"type": "ModelBuilder", "precision": "int4", "int4_block_size": 64, "extra_options":
         {"int4_block_size": 128}}}, "int4_block_size = 64 of ModelBuilder, int4_block_size = 128 of ModelBuilder"),
        ({"q": {"type": "Rtn", "bits": 8, "group_size": 64}, "b": {"type": "ModelBuilder", "precision": "int4",
         "int4_block_size": 128}}, "group_size = 64 of Rtn, int4_block_size = 128 of ModelBuilder"),
        ({"q": {"type": "Rtn", "bits": 8, "sym": False}, "b": {"type": "ModelBuilder", "precision": "int4",
         "int4_is_symmetric": True}}, "sym = False of Rtn, int4_is_symmetric = True of ModelBuilder"),
    ],
)  # fmt: skip
def test_options_that_contradict_each_other_are_refused(olive_file, passes, told):
    with pytest.raises(ConfigError, match=f"set twice: {told}"):
        load_recipe(olive_file({"passes": passes}))


def test_an_option_without_effect_on_the_precision_is_refused(olive_file):
    passes = {"b": {"type": "ModelBuilder", "precision": "fp32", "int4_block_size": 64}}
    with pytest.raises(ConfigError, match="block_size does not apply to fp32"):
        load_recipe(olive_file({"passes": passes}))


def test_an_adapter_that_olive_would_not_merge_is_refused(olive_file):
    content = {"input_model": {"adapter_path": "lora"}, "passes": {"b": {"type": "ModelBuilder", "precision": "int4"}}}
    with pytest.raises(ConfigError, match="adapter_path in input_model is not supported"):
        load_recipe(olive_file(content))


@pytest.mark.parametrize(
    "stated",
    [
        {"input_model": {"type": "HfModel", "config": {"model_path": "another"}}},
        {"engine": {"output_dir": "elsewhere"}},
        {"workflow_id": "../../elsewhere"},
    ],
)
def test_what_would_win_over_the_model_and_the_folders_is_refused(olive_file, stated):
    with pytest.raises(ConfigError, match="the gate sets the model and the folders"):
        load_recipe(olive_file({**stated, "passes": {"b": {"type": "ModelBuilder", "precision": "int4"}}}))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (
            {"input_model": "x", "passes": {"b": {"type": "ModelBuilder"}}},
            "input_model in the Olive file is not an object",
        ),
        ({"passes": {"b": {"type": "ModelBuilder", "extra_options": []}}}, "extra_options of b"),
        ({"passes": {"b": [{"type": "ModelBuilder", "config": []}]}}, "config of b"),
    ],
)
def test_what_must_be_an_object_is_told(olive_file, content, told):
    with pytest.raises(ConfigError, match=told):
        load_recipe(olive_file(content))


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"passes": {}}'])
def test_a_useless_file_is_refused(olive_file, content):
    with pytest.raises(ConfigError, match="Olive file"):
        load_recipe(olive_file(content))


def test_a_file_that_hides_its_precision_needs_it_stated(olive_file):
    name = olive_file({"passes": {"b": {"type": "SomethingElse"}}})
    with pytest.raises(ConfigError, match="precision"):
        load_recipe(name)
    assert load_recipe(name, precision="int8").precision == "int8"


def test_the_fingerprint_follows_content_not_names(olive_file, tmp_path):
    file = Path(olive_file({"passes": {"b": {"type": "ModelBuilder", "precision": "int4"}}}))
    before = load_recipe(str(file)).fingerprint()
    other = tmp_path / "other.json"
    other.write_text(file.read_text())
    assert load_recipe(str(other)).fingerprint() == before
    other.write_text(file.read_text().replace("int4", "fp32"))
    assert load_recipe(str(other)).fingerprint() != before
    assert load_recipe("int4").fingerprint() != load_recipe("int4", block_size=64).fingerprint()


def test_settings_become_recipes(tmp_path):
    made = Recipe.from_settings(VariantSettings(recipe="int8", block_size=64))
    assert (made.precision, made.block_size, made.symmetric) == ("int8", 64, None)
    adopted = Recipe.from_settings(VariantSettings(artifact=tmp_path, precision="int4", symmetric=True))
    assert (adopted.precision, adopted.symmetric) == ("int4", True)
    with pytest.raises(ConfigError, match="block_size does not apply"):
        Recipe.from_settings(VariantSettings(recipe="fp16", block_size=64))


def test_the_runtimes_own_builder_has_its_own_bounds():
    int8 = load_recipe("int8", backend="genai").resolved((64,))
    assert (int8.block_size, int8.symmetric, int8.accuracy_level, int8.algorithm) == (32, True, 4, "default")
    assert int8.fingerprint() != load_recipe("int8", block_size=32, symmetric=True, algorithm="default").fingerprint()
    with pytest.raises(ConfigError, match="backend"):
        load_recipe("fp16", backend="genai")
    with pytest.raises(ConfigError, match="k_quant_mixed"):
        load_recipe("int4", backend="genai", algorithm="k_quant_mixed")
