"""A copy with exact activations has another attribute and the same weights."""

import os

import pytest

from harness.artifact.artifact import describe
from harness.artifact.exact_activations import has_rounded_activations, with_exact_activations
from harness.artifact.inspect import inspect_artifact
from harness.recipes.recipe import load_recipe
from harness.system.hashing import sha256_of


@pytest.fixture
def int4(make_artifact):
    folder = make_artifact()
    return describe(folder, "int4", load_recipe("int4"), inspect_artifact(folder), {}, was_reused=False)


def test_one_attribute_differs_and_weights_are_linked(int4, tmp_path):
    before = {file.name: sha256_of(file) for file in int4.path.iterdir()}
    with with_exact_activations(int4, tmp_path / "a place") as folder:
        exact = inspect_artifact(folder)
        assert (int4.facts.accuracy_levels, exact.accuracy_levels) == ((4,), (0,))
        assert exact.weights_per_bits == int4.facts.weights_per_bits
        assert (folder / "model.onnx.data").samefile(int4.path / "model.onnx.data")
    assert not folder.exists()
    assert {file.name: sha256_of(file) for file in int4.path.iterdir()} == before


def test_weights_are_copied_where_they_cannot_be_linked(int4, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError("another file system")

    monkeypatch.setattr(os, "link", refuse)
    with with_exact_activations(int4, tmp_path) as folder:
        assert sha256_of(folder / "model.onnx.data") == sha256_of(int4.path / "model.onnx.data")


def test_a_folder_is_gone_whatever_happens_in_it(int4, tmp_path):
    with pytest.raises(RuntimeError), with_exact_activations(int4, tmp_path / "place"):
        raise RuntimeError
    assert list((tmp_path / "place").iterdir()) == []


@pytest.mark.parametrize(("level", "is_rounded"), [(4, True), (0, False)])
def test_whether_activations_are_rounded_is_read_from_the_graph(make_artifact, level, is_rounded):
    folder = make_artifact(accuracy_level=level)
    made = describe(folder, "int4", load_recipe("int4"), inspect_artifact(folder), {}, was_reused=False)
    assert has_rounded_activations(made) is is_rounded
