"""The one way from a source model to artifacts: reused, or converted and proved, and only then kept."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from itertools import zip_longest
from pathlib import Path
from threading import Lock

from harness.child import Notify, silent
from harness.errors import ArtifactError, ChildError, ConversionError, FileError, GateError, UnexplainedError
from harness.model.artifact import (
    Artifact,
    ArtifactStore,
    artifact_key,
    collect_model,
    describe,
    keep_penalties,
    refuse_twins,
    serve_on_cpu,
)
from harness.model.chat_templates import chat_templates
from harness.model.evidence import Evidence
from harness.model.facts import ArtifactFacts, differences_from_source, discrepancies
from harness.model.inspect import inspect_artifact
from harness.model.order import Order, outcome_of, run_olive
from harness.model.probe import prove, runtime_version
from harness.model.recipe import Precision, Recipe
from harness.model.source import Source
from harness.model.toolchain import Toolchain, ToolchainProvider
from harness.store import held
from harness.units import format_bytes

_WIDEST_FIRST: tuple[Precision, ...] = ("fp32", "fp16", "int8", "int4")
"""Order of conversion: the proof of a wide model takes long, and goes on while the next one is converted."""

_BYTES_PER_PARAMETER = 10.0
"""Disk for one variant while it is made: an fp32 model, a quantised one, and the artifact."""


def convert(
    source: Source,
    recipes: Mapping[str, Recipe],
    *,
    cache: Path,
    toolchain: ToolchainProvider,
    notify: Notify = silent,
    timeout_s: float = 7200.0,
    evidence: Evidence | None = None,
    may_repeat: Collection[str] = (),
) -> dict[str, Artifact | GateError]:
    """An artifact, or the reason why there is none, for each named recipe.

    Two recipes that give the same model are an error, except for those that `may_repeat` names.

    `toolchain` is called only if something has to be converted; one worker then makes everything that is missing,
    and asks the source for the `evidence` that artifacts are held against.
    """
    store = ArtifactStore(cache)
    evidence = evidence or Evidence(source, cache=cache, versions=toolchain.versions)
    resolved = {variant: recipe.resolved(source.input_widths) for variant, recipe in recipes.items()}
    keys = {variant: artifact_key(source, recipe, toolchain.versions) for variant, recipe in resolved.items()}
    results: dict[str, Artifact | GateError] = {}
    with _locks(store, keys, notify):
        missing = []
        for variant, recipe in resolved.items():
            found = _reuse(store, keys[variant], variant, recipe, evidence, cache, toolchain, notify)
            if found is None:
                missing.append(variant)
            else:
                results[variant] = found
        if missing:
            missing.sort(key=lambda variant: _WIDEST_FIRST.index(resolved[variant].precision))
            wanted = {variant: (resolved[variant], keys[variant]) for variant in missing}
            results.update(_make_missing(evidence, wanted, store, cache, toolchain, notify, timeout_s))
    judged = {name: found for name, found in results.items() if name not in may_repeat}
    results.update(refuse_twins({name: found for name, found in judged.items() if isinstance(found, Artifact)}))
    return {variant: results[variant] for variant in recipes}


def adopt(
    folder: Path, recipe: Recipe, variant: str, *, source: Source | None = None, logs: Path | None = None
) -> Artifact:
    """The artifact in a folder that was converted elsewhere, held against what it is said to be.

    Raises:
        ArtifactError: it is incomplete, is not what `recipe` says, has not the `source`'s settings, or does not answer.
    """
    facts = inspect_artifact(folder)
    _require_obedience(folder, variant, facts, recipe, source=source, is_adopted=True)
    with ExitStack() as stack:
        place = logs or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="slm-gate-")))
        prove(folder, log=place / f"{variant}-probe.log")
    return describe(folder, variant, recipe, facts, {}, was_reused=True)


@contextmanager
def _locks(store: ArtifactStore, keys: Mapping[str, str], notify: Notify) -> Iterator[None]:
    """Hold the lock of every key; always in the same order, so that two gates cannot block each other."""
    with ExitStack() as stack:
        for key in sorted(set(keys.values())):
            waiting = partial(notify, "another process is converting this model; waiting for it")
            stack.enter_context(held(store.folder(key), waiting))
        yield


def _reuse(
    store: ArtifactStore,
    key: str,
    variant: str,
    recipe: Recipe,
    evidence: Evidence,
    cache: Path,
    toolchain: ToolchainProvider,
    notify: Notify,
) -> Artifact | GateError | None:
    manifest, was_damaged = store.find(key)
    if was_damaged:
        notify(f"{variant}: the cached artifact was damaged and is thrown away")
    if manifest is None:
        return None
    folder = store.folder(key) / "model"
    try:
        facts = inspect_artifact(folder)
        _require_obedience(folder, variant, facts, recipe, source=evidence.source)
        if manifest.get("proved_with") != runtime_version():
            evidence.ensure(toolchain, notify)
            prove(folder, log=_log(cache, variant, key, "probe"), tokens=evidence.tokens_file())
    except GateError as error:
        return error
    notify(f"{variant}: reused from the cache")
    return describe(folder, variant, recipe, facts, manifest, was_reused=True)


def _make_missing(
    evidence: Evidence,
    wanted: Mapping[str, tuple[Recipe, str]],
    store: ArtifactStore,
    cache: Path,
    toolchain: ToolchainProvider,
    notify: Notify,
    timeout_s: float,
) -> dict[str, Artifact | GateError]:
    try:
        evidence.source.require_stated_type()
        _require_space(evidence.source, wanted, store.root)
        ready = toolchain()
    except GateError as error:
        return dict.fromkeys(wanted, error)
    telling = Lock()

    def tell(line: str) -> None:
        with telling:  # the prover tells too
            notify(line)

    orders: dict[str, Order] = {}
    try:
        for variant, (recipe, key) in wanted.items():
            if key not in orders:
                log = _log(cache, variant, key, "olive")
                log.unlink(missing_ok=True)
                orders[key] = Order(variant=variant, recipe=recipe, key=key, work=store.workspace(key), log=log)
        with ThreadPoolExecutor(max_workers=1) as prover:
            finish = partial(_finish, evidence=evidence, store=store, toolchain=ready, cache=cache, notify=tell)
            made = _make_and_finish(orders, evidence, ready, tell, timeout_s, partial(prover.submit, finish))
    except OSError as error:
        return dict.fromkeys(wanted, FileError.of(error, cache))
    finally:
        for key in orders:
            store.clear_workspaces(key)
    return {variant: _renamed(_root_cause(made[key], evidence), variant) for variant, (_, key) in wanted.items()}


def _root_cause(made: Artifact | GateError, evidence: Evidence) -> Artifact | GateError:
    """A model that not even transformers can run is the reason for what a converter stumbles over."""
    return evidence.problem or made if isinstance(made, UnexplainedError) else made


def _make_and_finish(
    orders: Mapping[str, Order],
    evidence: Evidence,
    toolchain: Toolchain,
    notify: Notify,
    timeout_s: float,
    submit: Callable[[Order, ChildError | None], Future[Artifact | GateError]],
) -> dict[str, Artifact | GateError]:
    """Have the worker make the orders, and each one finished while the worker goes on with the next."""
    finishing: dict[str, Future[Artifact | GateError]] = {}

    def hear(line: str) -> None:
        notify(line)
        for key, order in orders.items():
            if key not in finishing and order.is_made:
                finishing[key] = submit(order, None)

    crashed = run_olive(list(orders.values()), evidence, toolchain, hear, timeout_s)
    for key, order in orders.items():
        if key not in finishing:
            finishing[key] = submit(order, crashed.get(key))
    return {key: future.result() for key, future in finishing.items()}


def _finish(
    order: Order,
    crash: ChildError | None,
    *,
    evidence: Evidence,
    store: ArtifactStore,
    toolchain: Toolchain,
    cache: Path,
    notify: Notify,
) -> Artifact | GateError:
    try:
        outcome = outcome_of(order, crash)
        aside = order.work / "aside"
        collect_model(Path(outcome["folders"][0]), aside / "model")
        if order.recipe.precision == "fp16" and order.recipe.olive_config is None:
            serve_on_cpu(aside / "model")
        if order.recipe.olive_config is None:
            keep_penalties(aside / "model", evidence.source)
        facts = inspect_artifact(aside / "model")
        _require_obedience(aside / "model", order.variant, facts, order.recipe, source=evidence.source, log=order.log)
        notify(f"{order.variant}: proving that it answers")
        evidence.ensure(toolchain, notify, names=("tokens",))
        log = _log(cache, order.variant, order.key, "probe")
        proof = prove(aside / "model", log=log, tokens=evidence.tokens_file())
        evidence.source.require_unchanged()
    except GateError as error:
        return error
    manifest = {
        "recipe": order.recipe.as_dict(),
        "source": evidence.source.digest,
        "versions": dict(toolchain.versions),
        "conversion_s": outcome["conversion_s"],
        "peak_rss_bytes": outcome["peak_rss_bytes"],
        "proved_with": proof["runtime"],
        "facts": facts.as_dict(),
    }
    manifest = store.publish(order.key, aside, manifest)
    folder = store.folder(order.key) / "model"
    return describe(folder, order.variant, order.recipe, facts, manifest, was_reused=False)


def _require_obedience(
    folder: Path,
    variant: str,
    facts: ArtifactFacts,
    recipe: Recipe,
    *,
    source: Source | None = None,
    is_adopted: bool = False,
    log: Path | None = None,
) -> None:
    problems = discrepancies(facts, recipe, is_adopted=is_adopted)
    if source is not None:
        problems += differences_from_source(facts, source, is_adopted=is_adopted)
        problems += _template_problems(folder, source)
    if problems:
        raise ArtifactError(
            f"{variant} is not what was asked for: {'; '.join(problems)}",
            where=f"log: {log}" if log else str(folder),
            next_step="ask for what is there, or convert it again with options that have an effect",
        )


def _template_problems(folder: Path, source: Source) -> list[str]:
    wanted = next(iter(chat_templates(source.path)), None)
    other = next((text for text in chat_templates(folder) if text != wanted), None)
    if wanted is None or other is None:
        return []
    at = next(place for place, (one, two) in enumerate(zip_longest(wanted, other)) if one != two)
    before, theirs, ours = wanted[max(0, at - 24) : at], wanted[at : at + 16], other[at : at + 16]
    return [
        "chat template: it is not the source's, so questions would be put to the model in another form: "
        f"after {before!r} the source has {theirs!r}, the artifact {ours!r}"
    ]


def _require_space(source: Source, variants: Collection[str], folder: Path) -> None:
    parameters = source.parameter_count or source.size_bytes // 2
    needed_bytes = int(parameters * _BYTES_PER_PARAMETER * len(variants))
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < needed_bytes:
        raise ConversionError(
            f"converting {', '.join(variants)} needs about {format_bytes(needed_bytes)} of disk, "
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
