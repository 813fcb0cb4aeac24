"""The gate's own options: one list, read by pytest's command line and by `slm-gate run --help`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class GateOption:
    """An option that the gate adds to pytest's."""

    flag: str
    """As it is typed: `--model`."""

    help: str
    """One line that says what it does, and the default where there is one."""

    metavar: str | None = None
    """What stands for its value in help texts; None for a switch, which takes no value."""

    @property
    def name(self) -> str:
        """Under which its value is asked for: `cache_dir` for `--cache-dir`."""
        return self.flag.removeprefix("--").replace("-", "_")

    @property
    def is_switch(self) -> bool:
        """Whether the option is on or off and takes no value."""
        return self.metavar is None


GATE_OPTIONS: Final = (
    GateOption(flag="--config", metavar="FILE", help="the gate's configuration (default: gate.toml beside suites/)"),
    GateOption(flag="--model", metavar="DIR_OR_HUB_ID", help="the fine-tuned model, instead of the configured one"),
    GateOption(flag="--device", metavar="PROFILE", help="limits on size, memory and speed: laptop, edge-4gb or here"),
    GateOption(flag="--domain", metavar="PACK_DIR", help="the domain pack, instead of the configured one"),
    GateOption(flag="--data", metavar="FILE", help="a test split (JSON Lines, CSV, ...), read as it is, as the domain"),
    GateOption(flag="--variants", metavar="NAMES", help="comma-separated subset of the configured variants"),
    GateOption(flag="--reference", metavar="FILE", help="judge converted folders by this bundle, without the source"),
    GateOption(flag="--until-decided", help="stop asking as soon as every quality limit is decided"),
    GateOption(flag="--budget", metavar="TIME", help="ask what fits into 20m or 1h; intervals judge what is cut"),
    GateOption(flag="--fresh", help="ask again instead of taking answers that were kept"),
    GateOption(flag="--load", help="also put Foundry Local's web service under load (minutes)"),
    GateOption(flag="--soak", metavar="DURATION", help="with load, for that long (8h, 30m); Ctrl-C judges what it saw"),
    GateOption(flag="--baseline", metavar="NAME", help="also hold the run against a stored one, or a folder"),
    GateOption(flag="--save-baseline", metavar="NAME", help="keep this run in results/baselines/"),
    GateOption(flag="--cache-route", metavar="RELEASE", help="also serve from that foundry-local-sdk's cache folder"),
    GateOption(flag="--toolchain", metavar="PYTHON", help="an existing interpreter with the conversion packages"),
    GateOption(flag="--results-dir", metavar="DIR", help="where records go (default: results/ beside suites/)"),
    GateOption(flag="--cache-dir", metavar="DIR", help="toolchain, artifacts, references (default: the user's cache)"),
)
"""In the order in which help shows them."""
