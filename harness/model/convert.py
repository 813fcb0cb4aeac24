"""The one way from a source model to artifacts: reused, or converted and proved, and only then kept."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from filelock import Timeout

from harness.child import Notify, log_tail, run_job, silent
from harness.errors import ArtifactError, ChildError, ConversionError, GateError
from harness.model.artifact import Artifact, ArtifactStore, artifact_key, collect_model, describe, refuse_twins
from harness.model.facts import ArtifactFacts, discrepancies
from harness.model.failure import ignored_keys, no_model_error
from harness.model.inspect import inspect_artifact
from harness.model.probe import prove, runtime_version
from harness.model.recipe import Recipe, olive_run_config
from harness.model.source import Source
from harness.model.toolchain import Toolchain, ToolchainProvider, quiet_environment
from harness.store import lock_for
from harness.units import format_bytes

WORKER = Path(__file__).with_name("olive_worker.py")
_BYTES_PER_PARAMETER = 10.0
"""Disk for one variant while it is made: an fp32 model, a quantised one, and the artifact."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Order:
    """One variant that has to be converted."""

    variant: str
    recipe: Recipe
    key: str
    work: Path
    log: Path


def convert(
    source: Source,
    recipes: Mapping[str, Recipe],
    *,
    cache: Path,
    toolchain: ToolchainProvider,
    notify: Notify = silent,
    timeout_s: float = 7200.0,
) -> dict[str, Artifact | GateError]:
    """An artifact, or the reason why there is none, for each named recipe.

    `toolchain` is called only if something has to be converted; one worker then makes everything that is missing.
    """
    store = ArtifactStore(cache)
    resolved = {variant: recipe.resolved(source.input_widths) for variant, recipe in recipes.items()}
    keys = {variant: artifact_key(source, recipe, toolchain.versions) for variant, recipe in resolved.items()}
    results: dict[str, Artifact | GateError] = {}
    with _locks(store, keys, notify):
        missing = []
        for variant, recipe in resolved.items():
            found = _reuse(store, keys[variant], variant, recipe, cache, notify)
            if found is None:
                missing.append(variant)
            else:
                results[variant] = found
        if missing:
            wanted = {variant: (resolved[variant], keys[variant]) for variant in missing}
            results.update(_make_missing(source, wanted, store, cache, toolchain, notify, timeout_s))
    results.update(refuse_twins({name: found for name, found in results.items() if isinstance(found, Artifact)}))
    return {variant: results[variant] for variant in recipes}


def adopt(folder: Path, recipe: Recipe, variant: str, *, logs: Path | None = None) -> Artifact:
    """The artifact in a folder that was converted elsewhere, held against what it is said to be.

    Raises:
        ArtifactError: it is incomplete, is not what `recipe` says, or does not answer.
    """
    facts = inspect_artifact(folder)
    _require_obedience(folder, variant, facts, recipe, is_adopted=True)
    with ExitStack() as stack:
        place = logs or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="slm-gate-")))
        prove(folder, log=place / f"{variant}-probe.log")
    return describe(folder, variant, recipe, facts, {}, was_reused=True)


@contextmanager
def _locks(store: ArtifactStore, keys: Mapping[str, str], notify: Notify) -> Iterator[None]:
    """Hold the lock of every key; always in the same order, so that two gates cannot block each other."""
    with ExitStack() as stack:
        for key in sorted(set(keys.values())):
            lock = lock_for(store.folder(key))
            try:
                lock.acquire(timeout=0)
            except Timeout:
                notify("another process is converting this model; waiting for it")
                lock.acquire()
            stack.callback(lock.release)
        yield


def _reuse(
    store: ArtifactStore, key: str, variant: str, recipe: Recipe, cache: Path, notify: Notify
) -> Artifact | GateError | None:
    manifest, was_damaged = store.find(key)
    if was_damaged:
        notify(f"{variant}: the cached artifact was damaged and is thrown away")
    if manifest is None:
        return None
    folder = store.folder(key) / "model"
    try:
        facts = inspect_artifact(folder)
        _require_obedience(folder, variant, facts, recipe)
        if manifest.get("proved_with") != runtime_version():
            prove(folder, log=_log(cache, variant, key, "probe"))
    except ArtifactError as error:
        return error
    notify(f"{variant}: reused from the cache")
    return describe(folder, variant, recipe, facts, manifest, was_reused=True)


def _make_missing(
    source: Source,
    wanted: Mapping[str, tuple[Recipe, str]],
    store: ArtifactStore,
    cache: Path,
    toolchain: ToolchainProvider,
    notify: Notify,
    timeout_s: float,
) -> dict[str, Artifact | GateError]:
    try:
        _require_space(source, len(wanted), store.root)
        ready = toolchain()
    except GateError as error:
        return dict.fromkeys(wanted, error)
    by_key: dict[str, _Order] = {}
    for variant, (recipe, key) in wanted.items():
        if key not in by_key:
            log = _log(cache, variant, key, "olive")
            log.unlink(missing_ok=True)
            by_key[key] = _Order(variant=variant, recipe=recipe, key=key, work=store.workspace(key), log=log)
    try:
        failures = _run_olive(source, list(by_key.values()), ready, cache, notify, timeout_s)
        made = {key: _finish(order, source, store, ready, failures, cache, notify) for key, order in by_key.items()}
    finally:
        for key in by_key:
            store.clear_workspaces(key)
    return {variant: _renamed(made[key], variant) for variant, (_, key) in wanted.items()}


def _run_olive(
    source: Source, orders: list[_Order], toolchain: Toolchain, cache: Path, notify: Notify, timeout_s: float
) -> dict[str, ChildError]:
    """Let one worker make the orders; what a crash left undone goes to another one. Returns the crashed ones."""
    crashed: dict[str, ChildError] = {}
    waiting = orders
    while waiting:
        try:
            _run_worker(source, waiting, toolchain, cache, notify, timeout_s)
            return crashed
        except ChildError as error:
            unfinished = [order for order in waiting if not (order.work / "result.json").exists()]
            guilty = [order for order in unfinished if (order.work / "started").exists()] or unfinished
            crashed.update({order.key: error for order in guilty})
            waiting = [order for order in unfinished if order.key not in crashed]
            for order in guilty:
                notify(f"{order.variant}: {error.what}")
    return crashed


def _run_worker(
    source: Source, orders: list[_Order], toolchain: Toolchain, cache: Path, notify: Notify, timeout_s: float
) -> None:
    log = orders[0].log.with_suffix(".worker.log")
    variants = {
        order.variant: {
            "config": olive_run_config(
                order.recipe,
                source.path,
                order.work / "out",
                order.work / "cache",
                trust_remote_code=source.trust_remote_code,
            ),
            "work": str(order.work),
            "log": str(order.log),
        }
        for order in orders
    }
    # The builder empties the hub cache it is given, so it gets one of its own.
    hub = {} if source.trust_remote_code else {"HF_HUB_CACHE": str(orders[0].work / "hub")}
    run_job(
        toolchain.command(WORKER),
        {"variants": variants, "log": str(log)},
        log=log,
        timeout_s=timeout_s,
        notify=notify,
        env={**quiet_environment(), **hub},
    )


def _finish(
    order: _Order,
    source: Source,
    store: ArtifactStore,
    toolchain: Toolchain,
    crashed: Mapping[str, ChildError],
    cache: Path,
    notify: Notify,
) -> Artifact | GateError:
    try:
        outcome = _outcome(order, crashed.get(order.key))
        aside = order.work / "aside"
        collect_model(Path(outcome["folders"][0]), aside / "model")
        facts = inspect_artifact(aside / "model")
        _require_obedience(aside / "model", order.variant, facts, order.recipe, log=order.log)
        notify(f"{order.variant}: proving that it answers")
        proof = prove(aside / "model", log=_log(cache, order.variant, order.key, "probe"))
    except GateError as error:
        return error
    manifest = {
        "recipe": order.recipe.as_dict(),
        "source": source.digest,
        "versions": dict(toolchain.versions),
        "conversion_s": outcome["conversion_s"],
        "peak_rss_bytes": outcome["peak_rss_bytes"],
        "proved_with": proof["runtime"],
        "facts": facts.as_dict(),
    }
    store.publish(order.key, aside, manifest)
    folder = store.folder(order.key) / "model"
    return describe(folder, order.variant, order.recipe, facts, manifest, was_reused=False)


def _outcome(order: _Order, crash: ChildError | None) -> dict[str, Any]:
    """What the worker reported of a variant that has exactly one model and no ignored option."""
    text = order.log.read_text(encoding="utf-8", errors="replace") if order.log.exists() else ""
    if crash is not None:
        was_killed = "status" not in crash.what
        last_words = (crash.where or "").replace("    | ", "")
        raise no_model_error(
            order.variant, text or last_words, crash.what if was_killed else None, f"{order.log}\n{log_tail(order.log)}"
        )
    outcome: dict[str, Any] = json.loads((order.work / "result.json").read_text(encoding="utf-8"))
    if outcome["error"] or not outcome["folders"]:
        raise no_model_error(order.variant, text, outcome["error"], str(order.log))
    ignored = ignored_keys(text)
    if ignored:
        raise ConversionError(
            f"{order.variant}: Olive ignored {', '.join(ignored)}, so the model is not what was asked for",
            where=f"{order.recipe.olive_config or 'built-in recipe'}, log: {order.log}",
            next_step="ModelBuilder takes int4_block_size, int4_is_symmetric, int4_accuracy_level and int4_algo_config",
        )
    if len(outcome["folders"]) > 1:
        raise ConversionError(
            f"{order.variant}: Olive wrote {len(outcome['folders'])} models where one was wanted",
            where=str(order.recipe.olive_config),
            next_step="leave one workflow without search in the Olive file",
        )
    return outcome


def _require_obedience(
    folder: Path,
    variant: str,
    facts: ArtifactFacts,
    recipe: Recipe,
    *,
    is_adopted: bool = False,
    log: Path | None = None,
) -> None:
    problems = discrepancies(facts, recipe, is_adopted=is_adopted)
    if problems:
        raise ArtifactError(
            f"{variant} is not what was asked for: {'; '.join(problems)}",
            where=f"log: {log}" if log else str(folder),
            next_step="ask for what is there, or convert it again with options that have an effect",
        )


def _require_space(source: Source, variants: int, folder: Path) -> None:
    parameters = source.parameter_count or source.size_bytes // 2
    needed_bytes = int(parameters * _BYTES_PER_PARAMETER * variants)
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < needed_bytes:
        raise ConversionError(
            f"converting {variants} variants needs about {format_bytes(needed_bytes)} of disk, "
            f"{format_bytes(free_bytes)} are free",
            where=str(folder),
            next_step="free some space, or use another cache folder",
        )


def _renamed(made: Artifact | GateError, variant: str) -> Artifact | GateError:
    return replace(made, variant=variant) if isinstance(made, Artifact) else made


def _log(cache: Path, variant: str, key: str, kind: str) -> Path:
    folder = cache / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{variant}-{key[:12]}.{kind}.log"
