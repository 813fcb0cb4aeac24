import errno
import json
import multiprocessing
import os
import sys
from pathlib import Path

import pytest

from harness.errors import ConfigError
from harness.system import store as module
from harness.system.paths import default_cache, require_cache
from harness.system.store import MANIFEST, build_once, clear_staging_dirs, read_verified, write_atomically


def build(folder):
    (folder / "sub").mkdir()
    (folder / "sub" / "data").write_bytes(b"weights")
    return {"made": "once"}


def test_the_second_call_reuses(tmp_path):
    manifest, reused = build_once(tmp_path / "entry", build)
    assert (manifest["made"], reused) == ("once", False)
    assert build_once(tmp_path / "entry", build)[1]


def spoil_content(folder):
    (folder / "sub" / "data").write_bytes(b"wEights")


def remove_file(folder):
    (folder / "sub" / "data").unlink()


def add_file(folder):
    (folder / "stranger").write_bytes(b"")


def break_manifest(folder):
    (folder / MANIFEST).write_text("{")


def remove_manifest(folder):
    (folder / MANIFEST).unlink()


@pytest.mark.parametrize("spoil", [spoil_content, remove_file, add_file, break_manifest, remove_manifest])
def test_a_damaged_entry_is_never_trusted_but_rebuilt(tmp_path, spoil):
    folder = tmp_path / "entry"
    build_once(folder, build)
    spoil(folder)
    assert read_verified(folder) is None
    notices = []
    _, reused = build_once(folder, build, lambda: notices.append("damaged"))
    assert not reused
    assert notices == ["damaged"]
    assert read_verified(folder) is not None


def test_what_build_raises_leaves_nothing(tmp_path):
    def fail(folder):
        (folder / "half").write_bytes(b"half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        build_once(tmp_path / "entry", fail)
    assert not (tmp_path / "entry").exists()
    assert not [path for path in tmp_path.iterdir() if path.suffix != ".lock"]


def die_while_building(folder):
    def build(aside):
        (aside / "half").write_bytes(b"x")
        os._exit(9)

    build_once(folder, build)


def count_builds(folder, log):
    def slow(aside):
        with log.open("a") as stream:
            stream.write("built\n")
        return build(aside)

    build_once(folder, slow)


def test_a_killed_builder_leaves_nothing_that_is_trusted(tmp_path):
    process = multiprocessing.get_context("spawn").Process(target=die_while_building, args=(tmp_path / "entry",))
    process.start()
    process.join()
    assert process.exitcode == 9
    assert read_verified(tmp_path / "entry") is None
    assert not build_once(tmp_path / "entry", build)[1]


def test_what_a_killed_builder_left_is_removed(tmp_path):
    (tmp_path / ".entry-0123abcd").mkdir()
    (tmp_path / ".entry-0123abcd" / "half").touch()
    build_once(tmp_path / "entry", build)
    assert not (tmp_path / ".entry-0123abcd").exists()


def test_nothing_else_that_is_hidden_there_is_removed(tmp_path):
    others = [".entry-notes", ".entry-0123abcd-mine", ".entry-other-0123abcd", ".entry"]
    for name in others:
        (tmp_path / name).mkdir()
    build_once(tmp_path / "entry", build)
    assert all((tmp_path / name).is_dir() for name in others)


def test_what_stood_there_stays_until_something_stands_there_again(tmp_path):
    (tmp_path / ".entry-0123abcd-former").mkdir()

    def fail(aside):
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        build_once(tmp_path / "entry", fail)
    assert (tmp_path / ".entry-0123abcd-former").is_dir()
    build_once(tmp_path / "entry", build)
    clear_staging_dirs(tmp_path / "entry")
    assert not (tmp_path / ".entry-0123abcd-former").exists()


def test_two_builders_build_once(tmp_path):
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=count_builds, args=(tmp_path / "entry", tmp_path / "log")) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert (tmp_path / "log").read_text() == "built\n"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no umask")
def test_what_is_built_is_open_to_whom_the_umask_allows(tmp_path):
    before = os.umask(0o002)
    try:
        build_once(tmp_path / "kind" / "entry", build)
    finally:
        os.umask(before)
    assert (tmp_path / "kind" / "entry").stat().st_mode & 0o777 == 0o775
    assert (tmp_path / "kind" / "entry.lock").stat().st_mode & 0o777 == 0o664


def test_what_may_not_be_read_is_not_taken_for_damaged(tmp_path, monkeypatch):
    build_once(tmp_path / "entry", build)

    def refuse(file):
        raise PermissionError(errno.EACCES, "Permission denied", str(file))

    monkeypatch.setattr(module, "sha256_of", refuse)
    with pytest.raises(PermissionError):
        build_once(tmp_path / "entry", build)
    monkeypatch.undo()
    assert build_once(tmp_path / "entry", build)[1]


def test_a_cache_is_an_absolute_folder_that_can_be_written(tmp_path, monkeypatch):
    monkeypatch.setenv("SLM_GATE_CACHE", "~/mine")
    assert default_cache() == Path.home() / "mine"
    monkeypatch.setenv("SLM_GATE_CACHE", "here")
    monkeypatch.chdir(tmp_path)
    assert default_cache() == tmp_path / "here"
    assert require_cache(default_cache()).is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="the cache cannot be written: File exists") as caught:
        require_cache(tmp_path / "file")
    assert "SLM_GATE_CACHE" in caught.value.next_step


def test_write_atomically_replaces_and_leaves_no_other_file(tmp_path):
    file = tmp_path / "deep" / "run.json"
    write_atomically(file, json.dumps(1))
    write_atomically(file, json.dumps(2))
    assert file.read_text() == "2"
    assert list(file.parent.iterdir()) == [file]
