"""`slm-gate run`: the gate from any working directory."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

import click

from harness.checks.verdict import ExitStatus
from harness.cli.command import Example, PassingCommand
from harness.cli.terminal import run_program
from harness.config.diagnosis import did_you_mean
from harness.config.options import GATE_OPTIONS, GateOption
from harness.errors import GateError
from harness.system.paths import REPOSITORY

EXAMPLES: Final = (
    Example(purpose="gate what gate.toml names (the demo model, until you change it)", arguments="run"),
    Example(purpose="gate your own model on your own test split", arguments="run --model ./my-model --data test.jsonl"),
    Example(purpose="the same on a domain pack", arguments="run --model ./my-model --domain ./my-pack"),
    Example(purpose="one variant, by one suite", arguments="run --variants int4 suites/performance/test_latency.py"),
    Example(
        purpose="in CI: a report for the build server, records kept as build artifacts",
        arguments="run --config ci/gate.toml --results-dir gate-results --junit-xml gate.xml",
    ),
)
STATUSES: Final = {
    ExitStatus.PASS: "pass: every check of every variant passed",
    ExitStatus.FAIL: "fail: a check failed, or something broke while it was measured",
    ExitStatus.UNUSABLE_INPUT: "unusable input: configuration, domain pack, model or command line; nothing was judged",
    ExitStatus.UNDECIDED: "inconclusive, no data or incomplete: the numbers cannot decide, or there are none",
    130: "interrupted with Ctrl-C",
}
_PYTEST_STATUSES: Final = {4: ExitStatus.UNUSABLE_INPUT, 5: ExitStatus.UNDECIDED}
"""pytest's own statuses: 4 is a usage error, 5 says that nothing was collected. Others are the gate's."""

_WITH_VALUE: Final = frozenset(
    {option.flag for option in GATE_OPTIONS if not option.is_switch}
    | {"-c", "-k", "-m", "-n", "-o", "-p", "-r", "-W", "--deselect", "--ignore", "--ignore-glob", "--junit-xml"}
)
"""Options that are followed by a value, the gate's and the usual ones of pytest: what follows is not a path to run."""


def _as_parameter(option: GateOption) -> click.Option:
    return click.Option([option.flag], metavar=option.metavar, is_flag=option.is_switch, help=option.help)


@click.command(
    "run",
    cls=PassingCommand,
    has_help_anywhere=True,
    params=[_as_parameter(option) for option in GATE_OPTIONS],
    options_metavar="[OPTIONS] [PYTEST OPTIONS]",
    examples=EXAMPLES,
    statuses=STATUSES,
)
@click.pass_context
def command(context: click.Context) -> int:
    """Convert the model, measure every variant, judge it by gate.toml, and name the smallest one that passes.

    It is `pytest suites/`, from any folder. Every option of pytest is passed on (-k, -x, -v, -n ...); `pytest --help`
    lists them.
    """
    suites = REPOSITORY / "suites"
    if not suites.is_dir():
        raise GateError(
            "the suites are not beside the package",
            where=str(suites),
            next_step="install from a clone of the repository: pip install -e .",
        )
    arguments = _from_any_folder(context.args)
    paths = [] if _names_part_of(suites, arguments) else [suites]
    configuration = REPOSITORY / "pyproject.toml"
    status = run_program([sys.executable, "-m", "pytest", "-c", configuration, *paths, *arguments])
    return _PYTEST_STATUSES.get(status, status)


def _names_part_of(suites: Path, arguments: Sequence[str]) -> bool:
    """Whether a path or test id below `suites` is among the arguments; values of options do not count."""
    for before, argument in pairwise(["", *arguments]):
        if _is_place(before, argument):
            place = Path(argument.partition("::")[0]).resolve()
            if suites.resolve() in (place, *place.parents):
                return True
    return False


def _from_any_folder(arguments: Sequence[str]) -> list[str]:
    """The arguments, with the repository in front of paths and test ids that begin with `suites/` and are not here.

    Raises:
        GateError: the repository has no such suite either.
    """
    return [
        _in_repository(argument) if _is_place(before, argument) and _is_of_the_repository(argument) else argument
        for before, argument in pairwise(["", *arguments])
    ]


def _in_repository(argument: str) -> str:
    """The place of a suite; checked here, as pytest blames the options that it has not yet loaded instead."""
    place = REPOSITORY / argument.partition("::")[0]
    if not place.exists():
        known = [file.relative_to(REPOSITORY).as_posix() for file in (REPOSITORY / "suites").rglob("test_*.py")]
        raise GateError(
            f"no such suite: {argument}{did_you_mean(argument.partition('::')[0], known)}",
            where=str(place),
            next_step=f"there are: {', '.join(sorted(known))}",
        )
    return str(REPOSITORY / argument)


def _is_place(before: str, argument: str) -> bool:
    return not argument.startswith("-") and before not in _WITH_VALUE


def _is_of_the_repository(argument: str) -> bool:
    place = Path(argument.partition("::")[0])
    return place.parts[:1] == ("suites",) and not place.exists()
