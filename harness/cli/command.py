"""What the commands share: help with examples and exit statuses, options passed on to another program, parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

PROGRAM: Final = "slm-gate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A command line that can be copied, and what it is for."""

    purpose: str
    arguments: str
    """What follows `slm-gate`."""


class GateCommand(click.Command):
    """A command whose help ends with examples and with the meaning of its exit statuses."""

    def __init__(
        self,
        *args: Any,
        examples: Sequence[Example],
        statuses: Mapping[int, str] | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(*args, **settings)
        self.examples = tuple(examples)
        self.statuses = dict(statuses or {})

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse them as click does; a usage error knows its command, so that the message can name its help."""
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            error.ctx = error.ctx or ctx
            raise

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the two sections after the options."""
        write_examples(formatter, self.examples)
        if self.statuses:
            with formatter.section("Exit status"):
                formatter.write_dl([(f"{status:d}", meaning) for status, meaning in self.statuses.items()])


def write_examples(formatter: click.HelpFormatter, examples: Sequence[Example]) -> None:
    """Write each example on a line of its own, never wrapped, so that it can be copied."""
    with formatter.section("Examples"):
        for example in examples:
            formatter.write(f"{'':{formatter.current_indent}}# {example.purpose}\n")
            formatter.write(f"{'':{formatter.current_indent}}{PROGRAM} {example.arguments}\n")


class PassingCommand(GateCommand):
    """Hands its arguments on as they stand; its own parameters are for help and completion only."""

    def __init__(self, *args: Any, has_help_anywhere: bool = False, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.has_help_anywhere = has_help_anywhere
        """Whether `--help` is the command's wherever it stands, or only as the first argument."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep all arguments for the callback (`ctx.args`), or print help and leave."""
        asking = args if self.has_help_anywhere else args[:1]
        if not ctx.resilient_parsing and set(asking) & set(ctx.help_option_names):
            print(ctx.get_help())
            ctx.exit()
        ctx.args = list(args)
        return ctx.args


class NonEmpty(click.types.StringParamType):
    """Text; raises a usage error for the empty text that an unset shell variable leaves."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the text unchanged."""
        if not str(value).strip():
            self.fail("is empty", param, ctx)
        return str(value)


class NonEmptyPath(click.Path):
    """A path, whether or not anything is there; raises a usage error for an empty one."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Return the path as it was written."""
        return Path(NonEmpty().convert(value, param, ctx))


TEXT: Final = NonEmpty()
PATH: Final = NonEmptyPath()
