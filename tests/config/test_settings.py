import pytest

from harness.config.diagnosis import toml_line
from harness.config.load import load_config
from harness.errors import ConfigError

GOOD = """
[model]
source = "org/name"

[domain]
pack = "pack"

[variants.int4]
recipe = "int4"

[variants.int4.limits.ttft_p95_s]
max = 2.0
reason = "slower hardware"

[variants.mine]
artifact = "converted"
precision = "int8"

[limits.ttft_p95_s]
max = 1.0
reason = "a user notices"
"""


def load(tmp_path, text):
    file = tmp_path / "gate.toml"
    file.write_text(text)
    return load_config(file)


def test_a_good_file_loads_with_paths_from_its_own_folder(tmp_path):
    config = load(tmp_path, GOOD)
    assert config.domain.pack == tmp_path / "pack"
    assert config.variants["mine"].artifact == tmp_path / "converted"
    assert config.model.source == "org/name"


def test_a_variants_own_limit_replaces_the_common_one(tmp_path):
    config = load(tmp_path, GOOD)
    assert config.limits_for("int4")["ttft_p95_s"].max == 2.0
    assert config.limits_for("mine")["ttft_p95_s"].max == 1.0


def test_an_olive_file_may_show_its_precision_itself(tmp_path):
    config = load(tmp_path, GOOD.replace('recipe = "int4"', 'recipe = "./mine.json"'))
    assert config.variants["int4"].precision is None
    assert config.variants["int4"].recipe == str(tmp_path / "mine.json")


FAULTS = {
    "unknown key": ("recipe = ", "recipie = ", "did you mean 'recipe'", 9),
    "unknown section": ("[domain]", "[domian]", "did you mean 'domain'", 5),
    "unknown metric": ("[limits.ttft_p95_s]", "[limits.ttft_95_s]", "did you mean 'ttft_p95_s'", 19),
    "limit without reason": ('reason = "a user notices"', "", "reason: is missing", 19),
    "limit with two bounds": ("max = 1.0", "max = 1.0\nmin = 0.0", "exactly one of min and max", 19),
    "artifact without precision": ('precision = "int8"', "", "give precision", 15),
    "transformed, and made here": ("recipe = ", "transformed = true\nrecipe = ", "transformed is for artifacts", 8),
    "wrong type": ("max = 1.0", 'max = "fast"', "valid number", 20),
    "not TOML": ("[model]", "[model", "not valid TOML", None),
}


@pytest.mark.parametrize(("old", "new", "message", "line"), FAULTS.values(), ids=FAULTS)
def test_a_fault_is_named_with_file_and_line(tmp_path, old, new, message, line):
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, GOOD.replace(old, new, 1))
    assert message in str(caught.value)
    assert str(tmp_path / "gate.toml") in str(caught.value)
    if line:
        assert f"line {line}" in str(caught.value)


def test_a_missing_file_is_a_config_error(tmp_path):
    with pytest.raises(ConfigError, match="cannot read"):
        load_config(tmp_path / "none.toml")


def test_an_unknown_variant_gets_a_suggestion(tmp_path):
    with pytest.raises(ConfigError, match="did you mean 'int4'") as caught:
        load(tmp_path, GOOD).with_variants(("in4",))
    assert "int4, mine" in str(caught.value)


def test_toml_line_falls_back_to_the_table():
    assert toml_line("[a]\nx = 1\n[a.b]\ny = 2\n", ("a", "b", "missing")) == 3
    assert toml_line("x = 1", ("nowhere",)) is None


def test_a_cache_route_is_a_release_or_the_command(tmp_path):
    config = load(tmp_path, GOOD)
    assert config.with_cache_route("2.0.1").foundry.cache_route == "2.0.1"
    assert config.with_cache_route("command").foundry.cache_route == "command"
    with pytest.raises(ConfigError, match="'newest' is neither"):
        config.with_cache_route("newest")


def test_what_is_not_asked_for_has_no_limits(tmp_path):
    config = load(tmp_path, GOOD + '[limits.load_same_answer_rate]\nmin = 1.0\nreason = "who asks must not matter"\n')
    plain = config.limits_for("mine")
    assert not {"load_same_answer_rate", "hung_up_client_harms_nobody", "cache_route_serves_model"} & set(plain)
    loaded = config.model_copy(update={"with_load": True}).limits_for("mine")
    assert {"load_same_answer_rate", "hung_up_client_harms_nobody"} <= set(loaded)
    assert "cache_route_serves_model" in config.with_cache_route("2.0.1").limits_for("mine")


@pytest.mark.parametrize(("lengths", "is_demanded"), [("[64]", False), ("[64, 256]", True)])
def test_one_prompt_length_demands_no_longer_ones(tmp_path, lengths, is_demanded):
    config = load(tmp_path, GOOD + f"[benchmark]\nprompt_tokens = {lengths}\n")
    assert ("longer_prompts_timed" in config.limits_for("mine")) is is_demanded


def test_every_variant_has_the_criteria_whatever_the_file_says(tmp_path):
    limit = load(tmp_path, GOOD).limits_for("mine")["graph_matches_source"]
    assert limit.admits(1.0)
    assert not limit.admits(0.0)


def test_limits_follow_the_precision_and_not_the_name(tmp_path):
    tight = '\n[precisions.int8.limits.ttft_p95_s]\nmax = 0.5\nreason = "int8 is faster"\n'
    config = load(tmp_path, GOOD + tight)
    assert config.limits_for("mine")["ttft_p95_s"].max == 0.5  # an int8 folder, whatever it is called
    assert config.limits_for("int4")["ttft_p95_s"].max == 2.0


DEVICE = '\n[device]\nprofile = "edge-4gb"\n'
OF_THE_MODEL = """
[limits.size_bytes]
max = 67_108_864
reason = "the update channel"
[limits.kld_mean_nats]
max = 0.04
reason = "healthy ones lie below"
[variants.int4.limits.peak_rss_bytes]
max = 1_000_000
reason = "the smallest box"
"""


def test_divergence_on_answers_has_a_default_by_precision(tmp_path):
    config = load(tmp_path, GOOD)
    int4, int8 = (config.limits_for(name)["answer_kld_mean_nats"] for name in ("int4", "mine"))
    assert (int4.max, int8.max) == (0.35, 0.02)
    assert int4.is_default
    own = '[limits.answer_kld_mean_nats]\nmax = 0.001\nreason = "answers are trained"\n'
    limit = load(tmp_path, GOOD + own).limits_for("int4")["answer_kld_mean_nats"]
    assert (limit.max, limit.is_default) == (0.001, False)


def test_a_device_profile_has_limits_and_numbers_of_ones_own_win(tmp_path):
    config = load(tmp_path, GOOD + DEVICE)
    limits = config.limits_for("int4")
    assert limits["peak_rss_bytes"].max == 2 * 2**30
    assert "edge-4gb" in limits["peak_rss_bytes"].reason
    assert limits["ttft_p95_s"].max == 2.0  # the file's own
    assert load(tmp_path, GOOD + DEVICE + OF_THE_MODEL).limits_for("int4")["peak_rss_bytes"].max == 1e6
    assert config.with_device("laptop").limits_for("int4")["peak_rss_bytes"].max == 4 * 2**30
    assert config.with_device("here").limits_for("int4")["peak_rss_bytes"].max > 2**27


@pytest.mark.parametrize("profile", ["laptpo", "phone"])
def test_an_unknown_device_is_refused(tmp_path, profile):
    with pytest.raises(ConfigError, match="there is no device profile"):
        load(tmp_path, GOOD + f'\n[device]\nprofile = "{profile}"\n')
    with pytest.raises(ConfigError, match="there is no device profile") as caught:
        load(tmp_path, GOOD).with_device(profile)
    assert "laptop, edge-4gb, here" in str(caught.value)


def test_limits_that_were_chosen_for_the_configured_model_do_not_judge_another(tmp_path):
    config = load(tmp_path, GOOD + OF_THE_MODEL)
    other = config.with_model("/elsewhere")
    assert other.unchosen == ("ttft_p95_s", "size_bytes", "kld_mean_nats", "peak_rss_bytes")
    assert not set(other.unchosen) & set(other.limits_for("int4"))
    assert other.limits_for("int4")["answer_kld_mean_nats"].max == 0.35
    assert {"graph_matches_source"} <= set(other.limits_for("int4"))
    assert config.unchosen == ()
    assert config.with_model(config.model.source).unchosen == ()


def test_a_named_device_judges_the_other_model_by_its_own_limits(tmp_path):
    other = load(tmp_path, GOOD + OF_THE_MODEL).with_model("/elsewhere").with_device("laptop")
    assert other.limits_for("int4")["size_bytes"].max == 4 * 2**30
    assert other.unchosen == ("kld_mean_nats",)


QUALITY = """
[limits.length_drop_points]
max = 9.0
reason = "of twelve questions one may flip"
"""


def test_limits_on_answers_judge_another_model_and_other_questions_and_that_is_told(tmp_path):
    config = load(tmp_path, GOOD + QUALITY)
    assert config.borrowed == ()
    for other in (config.with_model("/elsewhere"), config.with_pack(tmp_path / "test.jsonl")):
        assert "length_drop_points" in other.borrowed
        assert other.limits_for("int4")["length_drop_points"].max == 9.0
        assert not {"kld_mean_nats", "size_bytes"} & set(other.borrowed)
    assert config.with_model(config.model.source).borrowed == ()
    assert config.with_pack(config.domain.pack).borrowed == ()


MISLEADING = {
    "max of a rate": ("exact_match_rate", "max = 0.95", "did you mean min = 0.95"),
    "min of a loss": ("exact_match_loss_points", "min = 3.0", "did you mean max = 3"),
    "min of a time": ("ttft_p50_s", "min = 0.5", "did you mean max = 0.5"),
    "max of a speed": ("decode_tokens_per_second", "max = 20", "did you mean min = 20"),
    "per cent": ("top1_agreement", "min = 95", "did you mean min = 0.95"),
    "beyond per cent": ("top1_agreement", "min = 950", "can never decide"),
    "criterion": ("graph_matches_source", "min = 1.0", "has its limit built in"),
}


@pytest.mark.parametrize(("metric", "bound", "told"), MISLEADING.values(), ids=MISLEADING)
@pytest.mark.parametrize("table", ["limits", "variants.mine.limits", "precisions.int4.limits"])
def test_a_limit_that_would_not_say_what_was_meant_is_refused(tmp_path, table, metric, bound, told):
    with pytest.raises(ConfigError, match=told) as caught:
        load(tmp_path, f'{GOOD}\n[{table}.{metric}]\n{bound}\nreason = "because it must"\n')
    assert "line 2" in str(caught.value)


FIELDS_TOO = {
    "kinds where there are none": ("length_drop_points", 'max = 9.0\nkinds = { a = { max = 9.0, reason = "short" } }', "not measured by kind"),
    "the wrong way": ("exact_match_rate", "max = 0.95", "did you mean min = 0.95"),
    "an unknown metric": ("exact_mach_rate", "min = 0.95", "did you mean 'exact_match_rate'"),
}  # fmt: skip


@pytest.mark.parametrize(("metric", "body", "told"), FIELDS_TOO.values(), ids=FIELDS_TOO)
@pytest.mark.parametrize("table", ["limits", "variants.mine.limits", "precisions.int4.limits"])
def test_what_is_wrong_with_a_limit_is_told_before_its_fields_and_with_them(tmp_path, table, metric, body, told):
    with pytest.raises(ConfigError, match=told) as caught:
        load(tmp_path, f'{GOOD}\n[{table}.{metric}]\n{body}\nreason = "no"\n')
    assert "; reason: " in str(caught.value) or "; kinds" in str(caught.value)
    assert "at least 8 characters" in str(caught.value)


def test_a_sound_limit_with_a_short_reason_is_told_by_its_reason(tmp_path):
    with pytest.raises(ConfigError, match=r"exact_match_rate\.reason: String should have at least 8"):
        load(tmp_path, f'{GOOD}\n[variants.mine.limits.exact_match_rate]\nmin = 0.9\nreason = "no"\n')


def test_a_reference_bundle_judges_what_is_converted_already(tmp_path):
    config = load(tmp_path, GOOD)
    with pytest.raises(ConfigError, match="int4: to be converted, which a reference bundle cannot do") as caught:
        config.require_converted()
    assert "--model ONNX_FOLDER" in str(caught.value)
    config.with_variants(("mine",)).require_converted()
    adopted = config.with_model("/onnx").with_adopted("onnx", config.variants["mine"])
    adopted.require_converted()
    assert (list(adopted.variants), adopted.configured_source) == (["onnx"], "org/name")
