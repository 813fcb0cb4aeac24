"""The tutorial's own steps through the `foundry` command line, where it is on PATH (Windows, macOS).

Written from its documentation and tried against a stand-in only: there is no such command for Linux.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from harness.errors import DeployError
from harness.foundry.cache_route import stage_for_cache

_TIMEOUT_S: Final = 300.0


def foundry_command() -> Path | None:
    """The `foundry` command; None where there is none."""
    found = shutil.which("foundry")
    return Path(found) if found else None


def require_command() -> Path:
    """The `foundry` command.

    Raises:
        DeployError: it is not on PATH.
    """
    found = foundry_command()
    if found is None:
        raise DeployError(
            "there is no `foundry` command on PATH",
            next_step="install Foundry Local (Windows, macOS), or name a foundry-local-sdk release instead",
        )
    return found


@contextmanager
def cache_moved_to(command: Path, cache: Path) -> Iterator[None]:
    """While inside, the command searches `cache`; the user's own cache folder is set again afterwards.

    Raises:
        DeployError: the command fails, or does not tell where its cache is.
    """
    before = _cache_location(command)
    _run(command, "cache", "cd", str(cache))
    try:
        yield
    finally:
        _run(command, "cache", "cd", str(before))


def command_difference(
    command: Path, artifact: Path, name: str, question: str, expected: str, *, cache: Path
) -> str | None:
    """Put the artifact into `cache`, and see it listed and answering through the command.

    What goes otherwise than it should, in words; None if nothing. Its answer is looked for in all that is printed.

    Raises:
        DeployError: the artifact is incomplete, or the command fails.
    """
    stage_for_cache(artifact, cache / name, name)
    with cache_moved_to(command, cache):
        if not any(word.partition(":")[0] == name for word in listed_by_command(command)):
            return f"`foundry cache ls` does not list {name}"
        said = answer_by_command(command, name, question)
    return None if expected.strip() in said else f"{expected!r} became {said!r}"


def listed_by_command(command: Path) -> frozenset[str]:
    """Every word that `foundry cache ls` prints, names of models among them.

    Raises:
        DeployError: the command fails.
    """
    return frozenset(_run(command, "cache", "ls").split())


def answer_by_command(command: Path, name: str, question: str) -> str:
    """What `foundry model run NAME --prompt QUESTION` prints.

    Raises:
        DeployError: the command fails, or prints nothing.
    """
    said = _run(command, "model", "run", name, "--prompt", question).strip()
    if not said:
        raise DeployError(f"`foundry model run {name}` printed nothing", where=str(command))
    return said


def _cache_location(command: Path) -> Path:
    said = _run(command, "cache", "location")
    for word in (line.rpartition(": ")[2].strip() for line in reversed(said.splitlines())):
        if word and Path(word).is_dir():
            return Path(word)
    raise DeployError(f"`foundry cache location` names no folder: {said!r}", where=str(command))


def _run(command: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            [str(command), *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DeployError(f"`foundry {' '.join(arguments)}` did not run: {error}", where=str(command)) from error
    if done.returncode != 0:
        raise DeployError(
            f"`foundry {' '.join(arguments)}` ended with status {done.returncode}",
            where=(done.stderr or done.stdout).strip()[-500:],
            next_step="run the command yourself",
        )
    return done.stdout
