"""Why a conversion made no model: the cause, found in Olive's log."""

from __future__ import annotations

import re
from dataclasses import dataclass

from harness.errors import ConversionError, UnexplainedError

_IGNORED_KEYS = re.compile(r"Keys \{([^}]*)\} are not part of (\w+)\. Ignoring them")
_EXCEPTION = re.compile(r"^((?:\w+\.)*\w*(?:Error|Exception|Interrupt|Exit)\b.*)$", re.MULTILINE)
_NO_MEMORY = re.compile(
    r"MemoryError|bad_alloc|DefaultCPUAllocator|[Nn]ot enough memory|Cannot allocate memory|SIGKILL"
)
_NO_SPACE = re.compile(
    r"No space left on device|ENOSPC|not enough space on the disk|File too large|Disk quota exceeded", re.IGNORECASE
)
_UNKNOWN_LAYER = re.compile(r"KeyError: '(?:model|transformer)\.[\w.]+'")
_BLOCK = re.compile(r"in_features \(?(\d+)\)? must be divisible by group_size \(?(\d+)\)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """The cause of a failure, and how to fix it."""

    what: str
    """One clause."""

    next_step: str
    """One instruction."""

    is_known: bool = True
    """Whether it is more than the converter's last message."""


def ignored_keys(log_text: str) -> list[str]:
    """Options that Olive ignored, as `quantization_config (of ModelBuilder)`."""
    found: list[str] = []
    for keys, owner in _IGNORED_KEYS.findall(log_text):
        found.extend(f"{key.strip().strip(chr(39))} (of {owner.removesuffix('Config')})" for key in keys.split(","))
    return list(dict.fromkeys(found))


def cause_of(log_text: str, error: str | None) -> Cause:
    """The likeliest cause of a missing model; `error` is what the worker caught, or how it was killed."""
    everything = f"{log_text}\n{error or ''}"
    exceptions = _EXCEPTION.findall(log_text)
    decisive = error or (exceptions[-1] if exceptions else None)
    if _NO_SPACE.search(everything):
        return Cause(
            what="the disk is full, or a limit on files is reached",
            next_step="free some space, lift the limit (ulimit -f, quota), or use another cache folder",
        )
    if _NO_MEMORY.search(everything):
        return Cause(
            what=f"out of memory ({decisive})", next_step="convert on a machine with more memory, or fewer variants"
        )
    block = _BLOCK.search(everything)
    if block:
        return Cause(
            what=f"block_size {block[2]} does not divide a matrix of {block[1]} inputs",
            next_step="choose a smaller block_size",
        )
    if decisive and re.match(r"(ImportError|ModuleNotFoundError)", decisive):
        return Cause(
            what=f"the toolchain's packages do not fit each other: {decisive}",
            next_step="use the gate's own toolchain, or install its pinned versions",
        )
    return _pruned_or_swallowed(log_text, decisive, was_caught=error is not None)


def no_model_error(
    variant: str, log_text: str, error: str | None, log: str, *, maker: str = "Olive"
) -> ConversionError:
    """The error for a variant without a model."""
    cause = cause_of(log_text, error)
    ignored = ignored_keys(log_text)
    addition = f"; it also ignored {', '.join(ignored)}" if ignored else ""
    kind = ConversionError if cause.is_known else UnexplainedError
    return kind(
        f"{variant}: {maker} wrote no model: {cause.what}{addition}", where=f"log: {log}", next_step=cause.next_step
    )


def _pruned_or_swallowed(log_text: str, decisive: str | None, *, was_caught: bool) -> Cause:
    if "Precision.INT8" in (decisive or ""):
        return Cause(
            what=f"it swallowed {decisive}: ModelBuilder cannot make int8",
            next_step='use the built-in int8 recipe, or put an Rtn pass with "bits": 8 before ModelBuilder(int4)',
        )
    if "FP16 is not supported on CPU" in log_text:
        return Cause(
            what="it pruned the workflow: ModelBuilder makes no fp16 for CPU",
            next_step="use the built-in fp16 recipe, or ModelBuilder(fp32) followed by OnnxFloatToFloat16",
        )
    if _UNKNOWN_LAYER.search(decisive or ""):
        return Cause(
            what=f"its int8 path does not know this architecture's layers (it swallowed {decisive})",
            next_step='make this variant with backend = "genai" (--variants int8:backend=genai), or use int4 or fp16',
        )
    if "is not currently supported" in (decisive or ""):
        return Cause(
            what=f"ModelBuilder does not know this architecture ({decisive})",
            next_step="convert it with another tool, and give that folder as `artifact`; see docs/conversion.md",
        )
    if decisive and re.search(r"killed by|took longer", decisive):
        return Cause(what=decisive, next_step="read the log; a native crash may depend on this processor or this model")
    if decisive:
        verb = "it failed with" if was_caught else "it swallowed"
        return Cause(
            what=f"{verb} {decisive}",
            next_step="read the log; the architecture may not be supported by ModelBuilder",
            is_known=False,
        )
    if "pruned" in log_text:
        pruned = next(line for line in log_text.splitlines() if "pruned" in line)
        return Cause(
            what=f"it pruned the workflow: {pruned.split('] ')[-1]}", next_step="correct that pass in the Olive file"
        )
    return Cause(what="its log does not say why", next_step="read the log", is_known=False)
