"""What a user compares: a converted model, by which runtime and with which settings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.errors import ConfigError
from harness.regression.arm import Arm
from harness.runtime.genai import GenaiSession


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One side of a comparison, as it was asked for."""

    name: str
    """For people: `A: int4`."""

    folder: Path
    """A model for onnxruntime-genai."""

    options: Mapping[str, Any] = field(default_factory=dict)
    """Session options of the decoder that replace the folder's, as genai_config.json spells them."""

    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables that are set for its processes."""

    python: Path | None = None
    """An interpreter with another onnxruntime-genai; None for this one."""

    @property
    def needs_process(self) -> bool:
        """Whether it cannot share a process with another side."""
        return self.python is not None or bool(self.environment)

    @property
    def overlay(self) -> str | None:
        """The options as the text that onnxruntime-genai lays over genai_config.json; None without any."""
        if not self.options:
            return None
        return json.dumps({"model": {"decoder": {"session_options": dict(self.options)}}})

    def arm(self) -> Arm:
        """The same as something that can be opened in this process."""
        return Arm(name=self.name, open=lambda: GenaiSession(self.folder, name=self.name, overlay=self.overlay))


def parse_options(words: tuple[str, ...], flag: str) -> dict[str, Any]:
    """`("intra_op_num_threads=1",)` as session options; values are JSON where they can be.

    Raises:
        ConfigError: a word has no `=`.
    """
    found: dict[str, Any] = {}
    for word in words:
        name, sign, value = word.partition("=")
        if not sign or not name:
            raise ConfigError(f"{word!r} is not NAME=VALUE", where=flag, next_step=f"say {flag} intra_op_num_threads=1")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


def parse_environment(words: tuple[str, ...], flag: str) -> dict[str, str]:
    """`("OMP_NUM_THREADS=1",)` as variables.

    Raises:
        ConfigError: a word has no `=`.
    """
    pairs = [word.partition("=") for word in words]
    for word, (name, sign, _) in zip(words, pairs, strict=True):
        if not sign or not name:
            raise ConfigError(f"{word!r} is not NAME=VALUE", where=flag, next_step=f"say {flag} OMP_NUM_THREADS=1")
    return {name: value for name, _, value in pairs}


def require_model(folder: Path) -> Path:
    """The folder, made absolute, if it holds a model for onnxruntime-genai.

    Raises:
        ConfigError: it does not.
    """
    if not (folder / "genai_config.json").is_file():
        raise ConfigError(
            "no converted model is here: there is no genai_config.json",
            where=str(folder),
            next_step="name a folder that `slm-gate convert` wrote, or recipes with --model MODEL",
        )
    return folder.absolute()
