from pathlib import Path

import pytest

from harness.config.given import GivenOptions
from harness.config.load import load_config
from harness.errors import ConfigError

GATE = """
[model]
source = "org/name"

[domain]
pack = "pack"

[variants.int4]
recipe = "int4"

[variants.int8]
recipe = "int8"
"""


@pytest.fixture
def settings(tmp_path):
    (tmp_path / "gate.toml").write_text(GATE)
    return load_config(tmp_path / "gate.toml")


def given(folder, **values):
    return GivenOptions.read(lambda name: values.get(name), folder)


def test_nothing_given_changes_nothing(settings, tmp_path):
    assert given(tmp_path, load=False).over(settings) == settings


def test_a_folder_is_found_from_where_the_command_was_given(settings, tmp_path):
    (tmp_path / "my model").mkdir()
    assert given(tmp_path, model="my model").over(settings).model.source == str(tmp_path / "my model")
    assert given(tmp_path, model="org/other").over(settings).model.source == "org/other"


def test_variants_are_taken_in_the_order_given(settings, tmp_path):
    assert list(given(tmp_path, variants=" int8 , int4").over(settings).variants) == ["int8", "int4"]


def test_a_test_split_stands_in_the_place_of_the_pack(settings, tmp_path):
    assert given(tmp_path, data="rows.jsonl").over(settings).domain.pack == tmp_path / "rows.jsonl"


def test_a_link_to_an_interpreter_stays_a_link(tmp_path):
    (tmp_path / "python").symlink_to(tmp_path / "elsewhere")
    assert given(tmp_path, toolchain="python").path("toolchain") == tmp_path / "python"
    assert given(tmp_path).path("toolchain") is None
    assert given(tmp_path, config="~/gate.toml").path("config") == Path.home() / "gate.toml"


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"domain": "a", "data": "b"}, "two domains"),
        ({"variants": " , "}, "configured are: int4, int8"),
        ({"variants": "int44"}, "did you mean 'int4'"),
        ({"cache_route": "newest"}, "neither a foundry-local-sdk release"),
        ({"device": "leptop"}, "laptop"),
    ],
)
def test_what_cannot_be_is_told(settings, tmp_path, values, told):
    with pytest.raises(ConfigError, match=told):
        given(tmp_path, **values).over(settings)
