"""`slm-gate toolchain`: a script in the conversion environment."""

from __future__ import annotations

from typing import Final

import click

from harness.cli.command import Example, PassingCommand
from harness.cli.terminal import run_program, shown_progress
from harness.system.paths import default_cache
from harness.toolchain.toolchain import ensure_toolchain

EXAMPLES: Final = (
    Example(purpose="run a script that needs torch or transformers", arguments="toolchain my_script.py --its-option 1"),
    Example(purpose="what is installed there", arguments="toolchain -m pip list"),
)


@click.command(
    "toolchain",
    cls=PassingCommand,
    options_metavar="SCRIPT [ARGUMENTS]...",
    examples=EXAMPLES,
    statuses={2: "there is no toolchain and none can be made; any other status is the script's own"},
)
@click.pass_context
def command(context: click.Context) -> int:
    """Run a Python script in the conversion environment (torch, transformers, Olive), which is made on first need.

    SCRIPT and ARGUMENTS are passed to its Python as they stand.
    """
    with shown_progress() as progress:
        toolchain = ensure_toolchain(cache=default_cache(), progress=progress)
    return run_program([toolchain.python, *context.args])
