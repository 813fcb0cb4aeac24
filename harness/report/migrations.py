"""Records of earlier versions, brought to the present one step at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from harness.errors import GateError

SCHEMA_VERSION: Final = 2
"""Of `run.json` and of the event files. 1: the first. 2: estimates instead of bare numbers, limits and configuration of
the run, its part, environments by host, times, details of a stated shape."""

Plain = dict[str, Any]
"""A JSON object."""

UNNAMED_HOST: Final = "unnamed"
"""The host of records that name none."""


def migrate(record: Plain, where: str) -> Plain:
    """Bring the JSON of a record to `SCHEMA_VERSION`; the argument stays as it is.

    Raises:
        GateError: it has no version, or a newer one.
    """
    version = require_known_version(record.get("schema_version"), where)
    for step in MIGRATIONS[version - 1 :]:
        record = step(record)
    return {**record, "schema_version": SCHEMA_VERSION}


def require_known_version(version: object, where: str) -> int:
    """Return the version of a record or of an event file.

    Raises:
        GateError: there is none, or a newer one than this slm-gate knows.
    """
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise GateError("not a run record: it has no schema_version", where=where, next_step=_GIVE_A_RUN)
    if version > SCHEMA_VERSION:
        raise GateError(
            f"a run record of schema_version {version}; this slm-gate reads up to {SCHEMA_VERSION}",
            where=where,
            next_step="use a newer slm-gate: the one that wrote it, or a later one",
        )
    return version


_GIVE_A_RUN: Final = "give the folder of a run, under results/"


def _from_1(record: Plain) -> Plain:
    """Numbers become exact estimates; the environment becomes that of a host without a name."""
    moved = {key: value for key, value in record.items() if key not in ("environment", "variants", "source")}
    environment, variants = record.get("environment") or {}, record.get("variants") or {}
    return {
        **moved,
        "environments": {UNNAMED_HOST: environment} if environment else {},
        "source": _estimates(record.get("source") or {}),
        "variants": {name: _variant_from_1(variant) for name, variant in variants.items()},
    }


def _variant_from_1(variant: Plain) -> Plain:
    latency, checks = variant.get("latency_by_prompt_tokens") or {}, variant.get("checks") or []
    return {
        **variant,
        "metrics": _estimates(variant.get("metrics") or {}),
        "limits": {check["metric"]: check["limit"] for check in checks},
        "details": _details_from_1(variant.get("details") or {}),
        "latency_by_prompt_tokens": {length: _estimates(values) for length, values in latency.items()},
        "checks": [_check_from_1(check) for check in checks],
        "verdict": _NO_DATA.get(variant["verdict"], variant["verdict"]),
        "host": UNNAMED_HOST,
    }


_NO_DATA: Final = {"no evidence": "no data"}


def _check_from_1(check: Plain) -> Plain:
    return {
        "metric": check["metric"],
        "estimate": _estimate(check["value"]),
        "limit": check["limit"],
        "outcome": _NO_DATA.get(check["outcome"], check["outcome"]),
        "details": check.get("evidence", ""),
    }


def _details_from_1(details: Plain) -> Plain:
    changed = dict(details)
    for name in ("exact_match_by_kind", "exact_match_by_padding_tokens"):
        if name in details:
            changed[name] = _estimates(details[name])
    if "fidelity" in details:
        changed["fidelity"] = _fidelity_from_1(details["fidelity"])
    return changed


def _fidelity_from_1(fidelity: Plain) -> Plain:
    """The reference export was called a witness."""
    renamed = {"witness": "reference_export", "no_witness": "no_reference_export"}
    return {renamed.get(name, name): value for name, value in fidelity.items()}


def _estimates(values: Mapping[str, float | None]) -> dict[str, Plain]:
    return {name: _estimate(value) for name, value in values.items()}


def _estimate(value: float | None) -> Plain:
    return {"value": value} if value is not None else {"value": None, "n": 0, "method": "not measured"}


MIGRATIONS: Final[tuple[Callable[[Plain], Plain], ...]] = (_from_1,)
"""The step from version 1 to 2 comes first."""
assert len(MIGRATIONS) == SCHEMA_VERSION - 1
