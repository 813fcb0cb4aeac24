"""What a command line gives: gate options with their values, put over the configuration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness.config.duration import parse_duration_s
from harness.config.options import GATE_OPTIONS
from harness.config.settings import GateConfig
from harness.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenOptions:
    """The gate's options as one command line gives them."""

    values: dict[str, str | bool | None]
    """By name (`cache_dir`); switches are True or False, what was not given is None."""

    folder: Path
    """Where relative paths start: the folder in which the command was given."""

    @classmethod
    def read(cls, option: Callable[[str], str | bool | None], folder: Path) -> GivenOptions:
        """All of `GATE_OPTIONS`, from what answers to their names."""
        return cls(values={one.name: option(one.name) for one in GATE_OPTIONS}, folder=folder)

    def text(self, name: str) -> str | None:
        """An option's value as it was typed; None when it was not given."""
        value = self.values[name]
        return value if isinstance(value, str) else None

    def is_on(self, name: str) -> bool:
        """Whether a switch was given."""
        return self.values[name] is True

    def path(self, name: str) -> Path | None:
        """An option's value as an absolute path; links stay, as a venv's python must."""
        value = self.text(name)
        return self.folder / Path(value).expanduser() if value else None

    def over(self, settings: GateConfig) -> GateConfig:
        """The configuration, with what the command line replaces of it.

        Raises:
            ConfigError: options contradict each other, or name what does not exist.
        """
        if model := self.text("model"):
            settings = settings.with_model(self._model(model))
        if device := self.text("device"):
            settings = settings.with_device(device)
        if pack := self._pack():
            settings = settings.with_pack(pack)
        if (names := self.text("variants")) is not None:
            settings = settings.with_variants(_names(names, settings))
        if route := self.text("cache_route"):
            settings = settings.with_cache_route(route)
        if soak := self.text("soak"):
            soak_s = parse_duration_s(soak, where="--soak")
            settings = settings.model_copy(update={"foundry": settings.foundry.model_copy(update={"soak_s": soak_s})})
        asked = {
            "with_load": self.is_on("load") or soak is not None,
            "with_baseline": self.text("baseline") is not None,
        }
        return settings.model_copy(update=asked)

    def _model(self, model: str) -> str:
        """A folder's absolute path, or a hub id as it is."""
        folder = self.folder / Path(model).expanduser()
        return str(folder.resolve()) if folder.exists() else model

    def _pack(self) -> Path | None:
        if self.text("domain") and self.text("data"):
            raise ConfigError("--domain and --data name two domains", next_step="give one of them")
        return self.path("domain") or self.path("data")


def _names(text: str, settings: GateConfig) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise ConfigError("--variants names none", next_step=f"configured are: {', '.join(settings.variants)}")
    return names
