"""Variants in one word each: what they ask for, and what their folders are called."""

import pytest

from harness.config.variants import parse_variants
from harness.errors import ConfigError
from harness.recipes.recipe import Recipe


def given(settings):
    return settings.model_dump(exclude_unset=True, exclude={"recipe"})


@pytest.mark.parametrize(
    ("text", "name", "recipe", "options"),
    [
        ("int4", "int4", "int4", {}),
        (
            "int4:block_size=128:symmetric=false",
            "int4-block_size-128-symmetric-false",
            "int4",
            {"block_size": 128, "symmetric": False},
        ),
        ("int8:algorithm=k_quant", "int8-algorithm-k_quant", "int8", {"algorithm": "k_quant"}),
        ("int4:backend=genai", "int4-backend-genai", "int4", {"backend": "genai"}),
        ("recipes/My Olive.json", "my-olive", "recipes/My Olive.json", {}),
        (r"C:\recipes\mine.json", "mine", r"C:\recipes\mine.json", {}),
        (r"C:\a=b\mine.json:precision=int8", "mine-precision-int8", r"C:\a=b\mine.json", {"precision": "int8"}),
        (
            "D:/r/mine.json:accuracy_level=0",
            "mine-accuracy_level-0",
            "D:/r/mine.json",
            {"accuracy_level": 0},
        ),
    ],
)
def test_a_variant_is_a_recipe_and_its_options(text, name, recipe, options):
    found = parse_variants(text)
    assert {one: (settings.recipe, given(settings)) for one, settings in found.items()} == {name: (recipe, options)}


def test_variants_of_one_recipe_stand_beside_each_other():
    found = parse_variants(" int4, int4:block_size=64 ,int4:block_size=128,")
    assert {name: settings.block_size for name, settings in found.items()} == {
        "int4": None,
        "int4-block_size-64": 64,
        "int4-block_size-128": 128,
    }
    assert Recipe.from_settings(found["int4-block_size-64"]).block_size == 64


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "names none"),
        (" , ", "names none"),
        ("int4,int4", "same folder, int4"),
        ("a/mine.json,b/mine.json", "same folder, mine"),
        ("int4:blok_size=64", "unknown option 'blok_size' (did you mean 'block_size'?)"),
        ("int4:artifact=x", "unknown option 'artifact'"),
        ("int4:block_size=64:block_size=32", "block_size is given twice"),
        ("int4:64", "not of the form key=value"),
        ("int4:", "not of the form key=value"),
        ("int4:block_size=", "block_size=: input should be a valid integer"),
        ("int4:block_size=many", "block_size=many: input should be a valid integer"),
        ("int4:symmetric=perhaps", "symmetric=perhaps: input should be a valid boolean"),
        ("int4:backend=onnx", "backend=onnx: input should be 'olive' or 'genai'"),
    ],
)
def test_what_cannot_be_is_named(text, told):
    with pytest.raises(ConfigError) as caught:
        parse_variants(text)
    assert told in caught.value.what
