"""Reads `gate.toml`."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from harness.config.diagnosis import did_you_mean, toml_line, validation_error
from harness.config.limits import Limit, limit_problem
from harness.config.settings import BUILT_IN_RECIPES, DomainSettings, GateConfig, VariantSettings
from harness.errors import ConfigError
from harness.metrics.catalogue import METRICS
from harness.system.text_files import read_text


def load_config(file: Path) -> GateConfig:
    """Read and validate a configuration; its relative paths start at its own folder.

    Raises:
        ConfigError: the file is missing or wrong; the message names file, line and field.
    """
    try:
        text = read_text(file, ConfigError)
        config = GateConfig.model_validate(tomllib.loads(text))
    except OSError as error:
        raise ConfigError(
            f"cannot read the configuration: {error.strerror}",
            where=str(file),
            next_step="give --config FILE",
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"not valid TOML: {error}", where=str(file)) from error
    except ValidationError as error:
        raise _limit_error(error, file, text) or validation_error(error, GateConfig, file, text, ConfigError) from error
    _check_limits(config, file, text)
    return _with_absolute_paths(config, file.resolve().parent)


def _limit_error(error: ValidationError, file: Path, text: str) -> ConfigError | None:
    """What is wrong with a limit as such, and behind it what is wrong with its fields; None where the fields are all.

    Who corrects a field of a table that must go has worked for nothing.
    """
    for location, name, table in _raw_limits(tomllib.loads(text)):
        bounds = {key: table[key] for key in ("min", "max") if isinstance(table.get(key), int | float)}
        kinds = table["kinds"] if isinstance(table.get("kinds"), dict) else {}
        if len(bounds) != 1:
            continue
        limit = Limit.model_construct(**{"min": None, "max": None, **bounds}, kinds=kinds)
        problem = (
            limit_problem(METRICS[name], limit) if name in METRICS else f"unknown metric{did_you_mean(name, METRICS)}"
        )
        if problem is None:
            continue
        field = (*location, name)
        also = [
            f"{'.'.join(map(str, one['loc'][len(field) :]))}: {one['msg']}"
            for one in error.errors()
            if one["loc"][: len(field)] == field
        ]
        return _wrong_limit(field, "; ".join([problem, *also]), file, text)
    return None


def _raw_limits(raw: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], str, dict[str, Any]]]:
    """(keys of the table, metric, its limit) as they stand in a file that was not validated."""
    tables: list[tuple[tuple[str, ...], Any]] = [(("limits",), raw.get("limits"))]
    for group in ("precisions", "variants"):
        inner = raw.get(group)
        for name, settings in inner.items() if isinstance(inner, dict) else ():
            tables.append(((group, name, "limits"), settings.get("limits") if isinstance(settings, dict) else None))
    for location, limits in tables:
        for name, limit in limits.items() if isinstance(limits, dict) else ():
            if isinstance(limit, dict):
                yield location, name, limit


def _wrong_limit(field: tuple[str, ...], problem: str, file: Path, text: str) -> ConfigError:
    return ConfigError(
        f"{'.'.join(field)}: {problem}",
        where=f"{file}, line {toml_line(text, field)}",
        next_step="docs/metrics.md lists the metrics, their units and which way each is better",
    )


def _check_limits(config: GateConfig, file: Path, text: str) -> None:
    for location, limits in config.limit_tables():
        for name, limit in limits.items():
            for further, problem in _limit_problems(name, limit):
                raise _wrong_limit((*location, name, *further), problem, file, text)


def _limit_problems(name: str, limit: Limit) -> Iterator[tuple[tuple[str, ...], str]]:
    """(keys below the limit's table, what is wrong there)."""
    if name not in METRICS:
        yield (), f"unknown metric{did_you_mean(name, METRICS)}"
        return
    problem = limit_problem(METRICS[name], limit)
    if problem is not None:
        yield (), problem
    for kind in limit.kinds:
        problem = limit_problem(METRICS[name], limit.of_kind(kind))
        if problem is not None:
            yield ("kinds", kind), problem


def _with_absolute_paths(config: GateConfig, folder: Path) -> GateConfig:
    models = {
        name: _absolute_model(spec, folder)
        for name in ("source", "adapter", "base")
        if (spec := getattr(config.model, name)) is not None
    }
    variants = {name: _absolute_variant(variant, folder) for name, variant in config.variants.items()}
    pack = (folder / config.domain.pack.expanduser()).resolve()
    return config.model_copy(
        update={
            "model": config.model.model_copy(update=models),
            "variants": variants,
            "domain": DomainSettings(pack=pack),
        }
    )


def _absolute_model(spec: str, folder: Path) -> str:
    if (folder / spec).exists() or spec.startswith((".", "/", "~")):
        return str((folder / Path(spec).expanduser()).resolve())
    return spec


def _absolute_variant(variant: VariantSettings, folder: Path) -> VariantSettings:
    update: dict[str, object] = {}
    if variant.artifact is not None:
        update["artifact"] = (folder / variant.artifact.expanduser()).resolve()
    if variant.recipe is not None and variant.recipe not in BUILT_IN_RECIPES:
        update["recipe"] = str((folder / Path(variant.recipe).expanduser()).resolve())
    return variant.model_copy(update=update)
