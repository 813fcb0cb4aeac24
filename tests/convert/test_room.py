"""What does not fit is told before anything starts, with the figures and a way out; what fits is let through."""

from types import SimpleNamespace

import pytest

from harness.convert.room import Needs, Room, misfits
from harness.recipes.recipe import load_recipe

QWEN2, LLAMA2 = 151_936, 32_000  # tokens


def shaped(parameters, width, vocabulary=QWEN2):
    return SimpleNamespace(
        parameter_count=parameters,
        size_bytes=2 * parameters,
        vocabulary_size=vocabulary,
        input_widths=(width, 4 * width),
    )


HALF_BILLION, THREE_BILLION = shaped(494_000_000, 896), shaped(3_090_000_000, 2048)
PICKLED = SimpleNamespace(parameter_count=None, size_bytes=988_000_000, vocabulary_size=151_936, input_widths=())
GIB = 2**30
EXPORT = "fp32 reference export (olive)"
RECIPES = {name: load_recipe(name) for name in ("int4", "int8", "fp16")} | {EXPORT: load_recipe("fp32")}


def misfit(source, memory_gib, disk_gib, recipes=RECIPES):
    room = Room(memory_bytes=memory_gib * GIB, disk_bytes=disk_gib * GIB)
    return misfits(source, recipes, room, may_be_left_out={EXPORT})


@pytest.mark.parametrize(
    ("source", "memory_gib", "disk_gib", "left"),
    [
        (HALF_BILLION, 16, 20, {"int4", "int8", "fp16", EXPORT}),
        (PICKLED, 16, 20, {"int4", "int8", "fp16", EXPORT}),
        (HALF_BILLION, 4, 20, {"int4", "int8", "fp16"}),  # the export needs 4.04 GiB
        (HALF_BILLION, 3.5, 20, {"int8", "fp16"}),
        (HALF_BILLION, 2, 20, set()),
        (HALF_BILLION, 16, 6, {"int4", "int8", "fp16"}),  # 8.4 GiB with the export, 4.5 without
        (HALF_BILLION, 16, 4, set()),
        (THREE_BILLION, 64, 80, {"int4", "int8", "fp16", EXPORT}),
        (THREE_BILLION, 8, 80, set()),
        (THREE_BILLION, 12, 80, {"int4", "int8"}),
        (THREE_BILLION, 17, 80, {"int4", "int8", "fp16"}),
        (THREE_BILLION, 24, 40, {"int4", "int8", "fp16"}),
    ],
)
def test_what_fits_is_made_and_the_export_goes_first(source, memory_gib, disk_gib, left):
    assert set(RECIPES) - set(misfit(source, memory_gib, disk_gib)) == left


def test_the_figures_and_a_way_out_are_told():
    error = misfit(THREE_BILLION, 8, 80)["int4"]
    assert error.what == "int4 needs about 9.0 GiB of memory, 8.0 GiB are free"
    assert "adopt the folder" in str(error)
    error = misfit(THREE_BILLION, 64, 6, {"int4": RECIPES["int4"]})["int4"]
    assert error.what == "converting int4 needs about 6.5 GiB of disk, 6.0 GiB are free"
    assert "--cache-dir" in str(error)


def test_needs_grow_with_the_model():
    small, large = Needs.of(HALF_BILLION), Needs.of(THREE_BILLION)
    for precision in ("fp32", "fp16", "int8", "int4"):
        assert small.memory_bytes(precision) < large.memory_bytes(precision)
        assert 0 < small.disk_bytes([precision]) < small.disk_bytes([precision, "int4"])
    assert small.disk_bytes([]) == 0


@pytest.mark.parametrize(
    ("shape", "precision", "memory_gb", "disk_gb"),
    [
        ((494_000_000, 896), "int4", 3.79, 0.85),
        ((494_000_000, 896), "int8", 2.25, 1.06),
        ((494_000_000, 896), "fp16", 2.66, 1.26),
        ((494_000_000, 896), "fp32", 3.93, 2.52),
        ((1_544_000_000, 1536), "int4", 5.59, 1.90),
        ((1_544_000_000, 1536), "int8", 4.66, 2.54),
        ((1_544_000_000, 1536), "fp16", 7.95, 3.55),
        ((1_544_000_000, 1536), "fp32", 8.80, 7.11),
        ((3_086_000_000, 2048), "int4", 8.69, 3.18),
        ((3_086_000_000, 2048), "int8", 8.27, 4.45),
        ((3_086_000_000, 2048), "fp16", 13.16, 6.79),
        ((1_100_000_000, 2048, LLAMA2), "int4", 2.84, 0.91),
    ],
)
def test_the_estimate_covers_what_conversions_took_and_little_more(shape, precision, memory_gb, disk_gb):
    needs = Needs.of(shaped(*shape))
    assert 1.02 < needs.memory_bytes(precision) / 1e9 / memory_gb < 1.35
    assert 1.02 < needs.disk_bytes([precision]) / 2e9 / disk_gb < 1.2
