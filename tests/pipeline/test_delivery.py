"""What is handed over is whole, and replaces nothing but an older delivery of the same model."""

import contextlib
import errno
import json
import multiprocessing
import shutil

import pytest

from harness.artifact.artifact import describe
from harness.artifact.inspect import inspect_artifact
from harness.errors import ConfigError, ConversionError
from harness.pipeline import delivery
from harness.pipeline.delivery import deliver, require_place
from harness.recipes.recipe import load_recipe
from harness.system.store import read_verified
from tests.toys import write_artifact


@pytest.fixture
def artifact(tmp_path):
    folder = write_artifact(tmp_path / "cache" / "model")
    return describe(folder, "int4", load_recipe("int4"), inspect_artifact(folder), {}, was_reused=True)


@pytest.fixture
def out(tmp_path):
    return tmp_path / "deep" / "out"


def visible(folder):
    return [entry.name for entry in folder.iterdir() if not entry.name.startswith(".")]


def test_a_folder_holds_the_model_and_what_is_known_of_it(artifact, out):
    require_place(out, ["int4"], "mine")
    folder = deliver(artifact, out, {"model": "mine", "fidelity": None})
    assert folder == out / "int4"
    manifest = read_verified(folder)
    assert (manifest["model"], manifest["fidelity"]) == ("mine", None)
    assert set(manifest["files"]) == {file.name for file in artifact.path.iterdir()}
    assert visible(out) == ["int4"]


def test_the_same_model_may_be_delivered_again(artifact, out):
    require_place(out, ["int4"], "mine")
    deliver(artifact, out, {"model": "mine"})
    require_place(out, ["int4", "int8"], "mine")
    deliver(artifact, out, {"model": "mine", "conversion_s": 2.0})
    assert read_verified(out / "int4")["conversion_s"] == 2.0


def another_model(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "model": "theirs"}))


def a_file_of_the_users(folder):
    (folder / "inference_model.json").write_text("{}")


def an_edited_file(folder):
    settings = folder / "genai_config.json"
    settings.write_text(settings.read_text().replace("64", "32"))


def a_link(folder):
    folder.rename(folder.with_name("elsewhere"))
    folder.symlink_to(folder.with_name("elsewhere"))


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
        (an_edited_file, "genai_config.json was changed there since"),
        (a_link, "a link is there"),
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
    before = sorted(path.stat().st_size for path in out.rglob("*"))
    with pytest.raises(ConversionError, match=told):  # what was put there while it was converted
        deliver(artifact, out, {"model": "mine"})
    assert sorted(path.stat().st_size for path in out.rglob("*")) == before


def deliver_often(artifact, out, title):
    for _ in range(20):
        with contextlib.suppress(ConversionError):
            deliver(artifact, out, {"model": title})


@pytest.mark.process
def test_two_at_once_leave_one_whole_model(tmp_path, out):
    """Each with a graph of its own: none may stand with the other's settings."""
    require_place(out, ["int4"], "mine")
    made = []
    for title in ("mine", "theirs"):
        folder = write_artifact(tmp_path / title)
        (folder / "tokenizer.json").write_text(json.dumps({"title": title, "filler": [title] * 10_000}))
        made.append(describe(folder, "int4", load_recipe("int4"), inspect_artifact(folder), {}, was_reused=True))
    context = multiprocessing.get_context("spawn")
    both = [context.Process(target=deliver_often, args=(one, out, one.path.name)) for one in made]
    for process in both:
        process.start()
    for process in both:
        process.join()
    manifest = read_verified(out / "int4")
    assert json.loads((out / "int4" / "tokenizer.json").read_text())["title"] == manifest["model"]


def test_a_place_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ConfigError, match="--out"):
            require_place(place, ["int4"], "mine")


def test_a_full_disk_is_told_and_leaves_nothing(artifact, out, monkeypatch):
    require_place(out, ["int4"], "mine")

    def full(_source, target, **_options):
        (target / "half").write_text("")
        raise shutil.Error([("from", "to", "[Errno 28] No space left on device")])

    monkeypatch.setattr("shutil.copytree", full)
    with pytest.raises(ConversionError, match="No space left on device"):
        deliver(artifact, out, {"model": "mine"})
    assert visible(out) == []
    assert not list(out.glob(".int4*"))


def test_a_failed_manifest_keeps_the_older_delivery(artifact, out, monkeypatch):
    require_place(out, ["int4"], "mine")
    deliver(artifact, out, {"model": "mine", "conversion_s": 1.0})

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(delivery, "publish", full)
    with pytest.raises(ConversionError, match="No space left on device"):
        deliver(artifact, out, {"model": "mine", "conversion_s": 2.0})
    assert read_verified(out / "int4")["conversion_s"] == 1.0
    assert visible(out) == ["int4"]
