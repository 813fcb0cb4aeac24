"""What does not fit is told before anything starts, with the figures and a way out; what fits is let through."""

from types import SimpleNamespace

import pytest

from harness.convert.room import Needs, Room, misfits
from harness.recipes.recipe import load_recipe

HALF_BILLION = SimpleNamespace(parameter_count=494_000_000, size_bytes=988_000_000)
PICKLED = SimpleNamespace(parameter_count=None, size_bytes=988_000_000)
THREE_BILLION = SimpleNamespace(parameter_count=3_090_000_000, size_bytes=6_180_000_000)
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
        (HALF_BILLION, 5, 20, {"int4", "int8", "fp16"}),  # the export needs 5.1 GiB
        (HALF_BILLION, 4.2, 20, {"int8", "fp16"}),
        (HALF_BILLION, 3, 20, set()),
        (HALF_BILLION, 16, 5, {"int4", "int8", "fp16"}),  # 8.5 GiB with the export, 4.6 without
        (HALF_BILLION, 16, 4, set()),
        (THREE_BILLION, 64, 80, {"int4", "int8", "fp16", EXPORT}),
        (THREE_BILLION, 16, 80, set()),
        (THREE_BILLION, 30, 80, {"int4", "int8", "fp16"}),
        (THREE_BILLION, 24, 80, {"int8"}),
    ],
)
def test_what_fits_is_made_and_the_export_goes_first(source, memory_gib, disk_gib, left):
    assert set(RECIPES) - set(misfit(source, memory_gib, disk_gib)) == left


def test_the_figures_and_a_way_out_are_told():
    error = misfit(THREE_BILLION, 8, 80)["int4"]
    assert error.what == "int4 needs about 27.1 GiB of memory, 8.0 GiB are free"
    assert "adopt the folder" in str(error)
    error = misfit(THREE_BILLION, 64, 10, {"int4": RECIPES["int4"]})["int4"]
    assert error.what == "converting int4 needs about 11.5 GiB of disk, 10.0 GiB are free"
    assert "--cache-dir" in str(error)


def test_needs_grow_with_the_model():
    small, large = Needs.of(HALF_BILLION), Needs.of(THREE_BILLION)
    for precision in ("fp32", "fp16", "int8", "int4"):
        assert small.memory_bytes(precision) < large.memory_bytes(precision)
        assert 0 < small.disk_bytes([precision]) < small.disk_bytes([precision, "int4"])
    assert small.disk_bytes([]) == 0
