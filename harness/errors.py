"""Every error that the gate reports to the user.

GateError
├── FileError            a file or folder cannot be read or written
├── ConfigError          gate.toml or the command line
├── PackError            the domain pack
├── SourceError          the model that is to be gated
├── ToolchainError       the conversion environment
├── ConversionError      Olive gave no model, or not the one asked for
│   └── UnexplainedError     and only its own message is known of the cause
├── ArtifactError        a variant's folder is incomplete or is not what it claims
├── DeployError          Foundry Local did not take the model
├── SessionError         a runtime could not load or answer
│   └── InvalidPromptError   the runtime refused this prompt and lives on
├── ChildError           a child process died, hung or broke its contract
├── MeasureError         a measurement could not be made
├── FidelityError        a graph is not its source
└── CheckFailed          a measured number is beyond its limit, or missing
"""

from __future__ import annotations

import errno
from pathlib import Path

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_BARRED = (errno.EACCES, errno.EPERM, errno.EROFS)


class GateError(Exception):
    """What went wrong, where, and what to do next; shown without a traceback."""

    def __init__(self, what: str, *, where: str | None = None, next_step: str | None = None) -> None:
        self.what = what
        self.where = where
        self.next_step = next_step
        super().__init__(what, where, next_step)

    def __str__(self) -> str:
        lines = [self.what]
        if self.where:
            lines.append(f"  where: {self.where}")
        if self.next_step:
            lines.append(f"  next:  {self.next_step}")
        return "\n".join(lines)

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.what, self.where, self.next_step)


def _rebuild(kind: type[GateError], what: str, where: str | None, next_step: str | None) -> GateError:
    return kind(what, where=where, next_step=next_step)


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its type if it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def as_user_error(error: BaseException) -> GateError | None:
    """An error as one for the user: a `GateError`, or a file that the system refused; None for a fault of the gate."""
    if isinstance(error, GateError):
        return error
    is_of_files = isinstance(error, OSError) and error.errno is not None
    if not is_of_files or isinstance(error, ConnectionError | TimeoutError):
        return None
    assert isinstance(error, OSError)
    return FileError.of(error)


class FileError(GateError):
    """A file or folder cannot be read or written."""

    @classmethod
    def of(cls, error: OSError, place: Path | None = None) -> FileError:
        """The system's error in words; `place` is where, if the error does not name a file."""
        what, next_step = "a file cannot be read or written", "see what is there"
        if error.errno in _FULL:
            what = "the disk is full, or a limit is reached"
            next_step = "free some space, lift the limit, or use another folder"
        elif error.errno in _BARRED:
            next_step = "see whose it is and who may use it, or use another folder"
        where = str(error.filename or place or "") or None
        return cls(f"{what}: {error.strerror or error}", where=where, next_step=next_step)


class ConfigError(GateError):
    """A setting in gate.toml or on the command line is wrong."""


class PackError(GateError):
    """A file of the domain pack is missing or malformed."""


class SourceError(GateError):
    """The model that is to be gated cannot be used."""


class ToolchainError(GateError):
    """The conversion environment cannot be made or does not work."""


class ConversionError(GateError):
    """Olive gave no model, whatever its exit code said."""


class UnexplainedError(ConversionError):
    """Olive gave no model, and its message points to no known cause."""


class ArtifactError(GateError):
    """A variant's folder is incomplete, damaged, or not what was asked for."""


class DeployError(GateError):
    """Foundry Local did not take, list, load or give back the model."""


class SessionError(GateError):
    """A runtime could not load a model or could not answer."""


class InvalidPromptError(SessionError):
    """The runtime refused one prompt; the session goes on."""


class ChildError(GateError):
    """A child process died, hung, or did not keep its contract."""


class MeasureError(GateError):
    """A measurement could not be made."""


class FidelityError(GateError):
    """A converted graph does not compute what its source model does, or is not made of its weights."""


class CheckFailed(GateError):
    """A measured number is beyond its limit, or missing."""
