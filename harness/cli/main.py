"""The console script: loads the command that is called, and turns errors into messages and exit statuses."""

from __future__ import annotations

import errno
import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Final

import click
from click.exceptions import NoArgsIsHelpError
from click.shell_completion import CompletionItem

from harness.cli.command import PROGRAM, Example, write_examples
from harness.cli.terminal import tolerate_narrow_output
from harness.errors import as_user_error

COMMANDS: Final[Mapping[str, str]] = {
    "run": "run the gate: convert, measure and judge every variant",
    "init": "write gate.toml, a domain pack and a CI workflow to begin with",
    "pack": "read a test split as it is, and draft a domain pack from it",
    "convert": "convert a model into verified variants, a folder each",
    "reference": "keep a model's answers and logits for a pack in one file",
    "inspect": "show what a converted model's graph really is",
    "doctor": "is this environment, or a model folder, able to be deployed",
    "toolchain": "run a Python script in the conversion environment",
    "compare": "is one model, runtime or setting slower than another",
    "baseline": "show what runs are held against, or accept a regression",
    "trend": "draw numbers of stored runs over time",
    "report": "show the tables of a stored run",
}
"""Name -> what help says. `harness/cli/NAME.py` holds the click command, as `command`; it is imported when called."""

EXAMPLES: Final = (
    Example(purpose="gate your own model on your own test split", arguments="run --model ./my-model --data test.jsonl"),
    Example(purpose="what a command does, with examples", arguments="convert --help"),
)
_UNUSABLE_INPUT: Final = 2
_INTERRUPTED: Final = 130


class CommandGroup(click.Group):
    """Knows its commands by name and imports none of them for help and completion."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names, in the order of the work."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command's module; None for a name that is not one."""
        if cmd_name not in COMMANDS:
            return None
        found: click.Command = importlib.import_module(f"harness.cli.{cmd_name}").command
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; an unknown name is a usage error that says which ones come near."""
        if args[0] not in COMMANDS and not ctx.resilient_parsing:
            raise click.NoSuchCommand(args[0], possibilities=COMMANDS, ctx=ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples."""
        write_examples(formatter, EXAMPLES)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete a command's name or an option of the group."""
        names = [CompletionItem(name, help=told) for name, told in COMMANDS.items() if name.startswith(incomplete)]
        return [*names, *click.Command.shell_complete(self, ctx, incomplete)]


def _show_version(context: click.Context, _option: click.Parameter, is_asked: bool) -> None:
    if is_asked and not context.resilient_parsing:
        try:
            print(f"{PROGRAM} {metadata.version(PROGRAM)}")
        except metadata.PackageNotFoundError:
            print(f"{PROGRAM}, not installed: run from a clone")
        context.exit()


@click.group(PROGRAM, cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_version, help="Show the version."
)
def slm_gate() -> None:
    """Decide whether a fine-tuned small language model may ship.

    `slm-gate COMMAND --help` has each command's options and examples.
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status: 0 well, 1 something failed, 2 it could not be tried.

    `slm-gate run` has status 3 too: inconclusive, or no data.
    """
    tolerate_narrow_output()
    try:
        given = sys.argv[1:] if arguments is None else list(arguments)
        status: int = slm_gate.main(given, prog_name=PROGRAM, standalone_mode=False) or 0
        sys.stdout.flush()
        return status
    except click.Abort:
        print(f"{PROGRAM}: interrupted; what was finished is kept", file=sys.stderr)
        return _INTERRUPTED
    except click.UsageError as error:
        print(_usage(error), file=sys.stderr)
        return _UNUSABLE_INPUT
    except BrokenPipeError:  # who read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if sys.platform == "win32" and isinstance(error, OSError) and error.errno == errno.EINVAL:
            return 1  # a closed pipe again, as Windows says it
        told = as_user_error(error)
        if told is None:
            raise
        print(f"{PROGRAM}: {told}", file=sys.stderr)
        return _UNUSABLE_INPUT


def _usage(error: click.UsageError) -> str:
    """What is wrong with the command line, as other errors are told; the group's help where no command is named."""
    if isinstance(error, NoArgsIsHelpError):
        return error.format_message()
    place = error.ctx.command_path if error.ctx else PROGRAM
    what = error.format_message()
    if type(error) is click.BadParameter and error.param is not None:
        is_option = isinstance(error.param, click.Option)
        what = f"{error.param.opts[0] if is_option else error.param.human_readable_name}: {error.message}"
    return f"{place}: {what}\n  next:  {place} --help"


if __name__ == "__main__":
    sys.exit(main())
