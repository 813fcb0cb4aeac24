"""What is handed over is whole, and replaces nothing but an older delivery of the same model."""

import errno
import json
import shutil

import pytest

from harness import delivery
from harness.delivery import deliver, require_place
from harness.errors import ConfigError, ConversionError
from harness.model.artifact import describe
from harness.model.inspect import inspect_artifact
from harness.model.recipe import load_recipe
from harness.store import read_proved
from tests.model.conftest import write_artifact


@pytest.fixture
def artifact(tmp_path):
    folder = write_artifact(tmp_path / "cache" / "model")
    return describe(folder, "int4", load_recipe("int4"), inspect_artifact(folder), {}, was_reused=True)


@pytest.fixture
def out(tmp_path):
    return tmp_path / "deep" / "out"


def test_a_folder_holds_the_model_and_what_is_known_of_it(artifact, out):
    require_place(out, ["int4"], "mine")
    folder = deliver(artifact, out, {"model": "mine", "fidelity": None})
    assert folder == out / "int4"
    manifest = read_proved(folder)
    assert (manifest["model"], manifest["fidelity"]) == ("mine", None)
    assert set(manifest["files"]) == {file.name for file in artifact.path.iterdir()}
    assert [entry.name for entry in out.iterdir()] == ["int4"]


def test_the_same_model_may_be_delivered_again(artifact, out):
    require_place(out, ["int4"], "mine")
    deliver(artifact, out, {"model": "mine"})
    require_place(out, ["int4", "int8"], "mine")
    deliver(artifact, out, {"model": "mine", "conversion_s": 2.0})
    assert read_proved(out / "int4")["conversion_s"] == 2.0


def another_model(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "model": "theirs"}))


def a_file_of_the_users(folder):
    (folder / "inference_model.json").write_text("{}")


def no_manifest(folder):
    (folder / "manifest.json").unlink()


def a_foreign_manifest(folder):
    (folder / "manifest.json").write_text('["files"]')


def a_file_in_its_place(folder):
    shutil.rmtree(folder)
    folder.write_text("notes")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (another_model, "holds a variant of another model, theirs"),
        (a_file_of_the_users, "inference_model.json was put there since"),
        (no_manifest, "something that slm-gate did not write"),
        (a_foreign_manifest, "something that slm-gate did not write"),
        (a_file_in_its_place, "something that slm-gate did not write"),
    ],
)
def test_what_is_not_ours_is_not_replaced(artifact, out, change, told):
    require_place(out, ["int4"], "mine")
    deliver(artifact, out, {"model": "mine"})
    change(out / "int4")
    with pytest.raises(ConfigError, match=told):
        require_place(out, ["int8", "int4"], "mine")


def test_a_place_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ConfigError, match="--out"):
            require_place(place, ["int4"], "mine")


def test_a_full_disk_is_told_and_leaves_nothing(artifact, out, monkeypatch):
    require_place(out, ["int4"], "mine")

    def full(_source, target, **_options):
        target.mkdir()
        (target / "half").write_text("")
        raise shutil.Error([("from", "to", "[Errno 28] No space left on device")])

    monkeypatch.setattr(delivery.shutil, "copytree", full)
    with pytest.raises(ConversionError, match="No space left on device"):
        deliver(artifact, out, {"model": "mine"})
    assert list(out.iterdir()) == []


def test_a_failed_manifest_keeps_the_older_delivery(artifact, out, monkeypatch):
    require_place(out, ["int4"], "mine")
    deliver(artifact, out, {"model": "mine", "conversion_s": 1.0})

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(delivery, "publish", full)
    with pytest.raises(ConversionError, match="No space left on device"):
        deliver(artifact, out, {"model": "mine", "conversion_s": 2.0})
    assert read_proved(out / "int4")["conversion_s"] == 1.0
    assert [entry.name for entry in out.iterdir()] == ["int4"]
