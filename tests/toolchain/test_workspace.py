"""What every step of the pipeline is given."""

import pytest

from harness.errors import ConfigError
from harness.system.progress import LineProgress
from harness.toolchain.workspace import Workspace
from tests.toys import NoToolchain


def test_logs_are_in_the_cache_unless_a_run_has_its_own(tmp_path):
    workspace = Workspace(cache=tmp_path / "cache", toolchain=NoToolchain())
    assert workspace.log("int4.olive") == tmp_path / "cache" / "logs" / "int4.olive.log"
    assert workspace.log("int4.olive").parent.is_dir()
    own = Workspace(cache=tmp_path / "cache", toolchain=NoToolchain(), logs=tmp_path / "run")
    assert own.log("a").parent == tmp_path / "run"


def test_a_log_is_named_so_that_every_system_takes_it(tmp_path):
    workspace = Workspace(cache=tmp_path, toolchain=NoToolchain())
    assert workspace.log("fp32 reference export (olive)-1.olive").name == "fp32-reference-export-olive-1.olive.log"
    assert workspace.log("a/b:c").name == "a-b-c.log"


def test_it_is_opened_over_a_cache_that_can_be_written(tmp_path):
    lines = []
    workspace = Workspace.open(tmp_path / "new", progress=LineProgress(lines.append))
    workspace.notify("reading")
    assert (lines, workspace.cache.is_dir()) == (["reading"], True)
    assert "torch" in workspace.toolchain.versions
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="the cache cannot be written"):
        Workspace.open(tmp_path / "file")
