"""`slm-gate doctor`: is this environment, or a model folder, able to be deployed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click

from harness.cli.command import PATH, TEXT, Example, GateCommand
from harness.errors import ConfigError
from harness.foundry.diagnostic import Diagnostic
from harness.foundry.doctor import diagnose_environment
from harness.foundry.registration import diagnose_folder
from harness.system.paths import default_cache

EXAMPLES: Final = (
    Example(purpose="can this machine convert, run and deploy", arguments="doctor"),
    Example(purpose="would Foundry Local list and load this model", arguments="doctor converted/int4"),
    Example(
        purpose="the same for the cache-folder route of an older release",
        arguments="doctor converted/int4 --cache-root ./foundry-cache --release 2.0.1 --id my-model:1",
    ),
)


@click.command(
    "doctor", cls=GateCommand, examples=EXAMPLES, statuses={0: "nothing to fix", 1: "something to fix, marked FIX"}
)
@click.argument("folder", type=PATH, required=False)
@click.option("--cache-root", type=PATH, metavar="DIR", help="the folder that Foundry Local searches")
@click.option("--id", "model_id", type=TEXT, metavar="NAME:VERSION", help="what the model is to be registered as")
@click.option("--release", type=TEXT, help="foundry-local-sdk that serves it (the installed one)")
@click.option("--toolchain", "python", type=PATH, metavar="PYTHON", help="an existing interpreter to look at")
def command(
    folder: Path | None, cache_root: Path | None, model_id: str | None, release: str | None, python: Path | None
) -> int:
    """Look at everything that the gate needs on this machine; or, with FOLDER, at a model.

    FOLDER is a model folder, or a whole model cache of Foundry Local.
    """
    if folder is None:
        _refuse_idle({"--cache-root": cache_root, "--id": model_id, "--release": release}, "name the model folder too")
        return _show(diagnose_environment(default_cache(), python))
    _refuse_idle({"--toolchain": python}, "leave out the folder: the toolchain belongs to the environment")
    return _show(diagnose_folder(folder, cache_root=cache_root, model_id=model_id, release=release))


def _refuse_idle(options: dict[str, object], next_step: str) -> None:
    """Raise a `ConfigError` for the first option that was given and would have no effect."""
    for option, value in options.items():
        if value is not None:
            raise ConfigError(f"{option} would have no effect", next_step=next_step)


def _show(diagnostics: Iterator[Diagnostic]) -> int:
    is_ok = True
    for one in diagnostics:
        is_ok &= one.is_ok
        print(f"{'ok ' if one.is_ok else 'FIX'} {one.subject}: {one.found}", flush=True)
        if one.fix:
            print(f"      next: {one.fix}")
    return 0 if is_ok else 1
