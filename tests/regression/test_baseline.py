"""A baseline keeps what later runs need, and what was accepted with its reason; what is none is told."""

import json

import pytest

from harness.cli.main import main
from harness.config.regression_limits import REGRESSION_LIMITS
from harness.errors import ConfigError
from harness.regression.baseline import (
    FILE,
    baseline_folder,
    load_baseline,
    new_baseline_folder,
    require_variants,
    save_baseline,
)


@pytest.fixture
def saved(make_baseline, tmp_path):
    folder = tmp_path / "results" / "baselines" / "main"
    save_baseline(make_baseline(), folder)
    return folder


def test_what_was_saved_is_read_back(saved, make_baseline):
    assert load_baseline(saved) == make_baseline()


def test_a_name_and_a_folder_lead_to_it(saved, tmp_path):
    results = tmp_path / "results"
    assert baseline_folder("main", results, tmp_path) == saved
    assert baseline_folder("results/baselines/main", results, tmp_path) == saved


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "no baseline is here"),
        ("{", "not a baseline"),
        ("[]", "not a baseline"),
        ('{"schema_version": 99}', "newer version"),
        ('{"run_id": 3}', "not a baseline"),
    ],
)
def test_what_is_no_baseline_is_told(text, told, saved, tmp_path):
    folder = saved.with_name("other")
    if text is not None:
        folder.mkdir()
        (folder / FILE).write_text(text)
    with pytest.raises(ConfigError, match=told):
        load_baseline(folder)


def test_a_fingerprint_of_another_shape_is_told(saved):
    plain = json.loads((saved / FILE).read_text())
    plain["fingerprint"]["colour"] = "blue"
    (saved / FILE).write_text(json.dumps(plain))
    with pytest.raises(ConfigError, match="not a baseline"):
        load_baseline(saved)


def test_a_mistyped_name_says_which_was_meant(saved):
    with pytest.raises(ConfigError, match="main"):
        load_baseline(saved.with_name("mian"))


@pytest.mark.parametrize("name", ["../main", "", ".hidden", "a/b", "a\\b"])
def test_a_name_that_leads_elsewhere_is_refused(name, tmp_path):
    with pytest.raises(ConfigError, match="no name for a baseline"):
        new_baseline_folder(name, tmp_path)


def test_a_variant_that_it_lacks_is_told(saved):
    with pytest.raises(ConfigError, match="no int8"):
        require_variants(load_baseline(saved), ["int4", "int8"], saved)


def test_accepting_widens_the_limit_and_keeps_the_reason(saved, tmp_path):
    results = str(tmp_path / "results")
    words = ["baseline", "accept", "main", "--results-dir", results, "--metric", "size_ratio", "--up-to", "1.5"]
    assert main([*words, "--reason", "embeddings in fp16"]) == 0
    limit = load_baseline(saved).widened(REGRESSION_LIMITS)["size_ratio"]
    assert limit.max == 1.5
    assert "embeddings in fp16" in limit.reason
    assert set(load_baseline(saved).widened(REGRESSION_LIMITS)) == {"size_ratio"}  # the others stay as they were


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--metric", "size_ratio", "--up-to", "1.5"], "needs --metric and --reason"),
        (["--metric", "size_ratio", "--up-to", "1.5", "--reason", "because"], "says nothing"),
        (["--metric", "size_bytes", "--up-to", "1.5", "--reason", "two words"], "not held against a baseline"),
        (["--metric", "no_such", "--up-to", "1.5", "--reason", "two words"], "no metric"),
        (["--metric", "size_ratio", "--reason", "two words"], "no run here"),
    ],
)
def test_nothing_is_accepted_by_the_way(words, told, saved, tmp_path, capsys):
    before = (saved / FILE).read_bytes()
    assert main(["baseline", "accept", "main", "--results-dir", str(tmp_path / "results"), *words]) == 2
    assert told in capsys.readouterr().err
    assert (saved / FILE).read_bytes() == before


def test_it_is_shown(saved, tmp_path, capsys):
    assert main(["baseline", "show", str(saved)]) == 0
    assert "variant int4" in capsys.readouterr().out
