"""Whether a converted graph computes what its source model does, told apart from what quantisation costs.

The witness is the same model converted without quantisation. Its logits must be the source's, at short and at long
positions; a variant must then share the witness's rotary tables, and what is left between them is rounding. And an
answer that is made token by token must be what the same graph says of its tokens in one prefill.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.artifact.artifact import Artifact
from harness.artifact.facts import precision_of
from harness.convert.convert import convert
from harness.errors import GateError, MeasureError, SessionError
from harness.recipes.recipe import Backend, Recipe, load_recipe
from harness.runtime.genai import GenaiSession
from harness.runtime.smoke_test import runtime_version, smoke_test
from harness.source.reference_logits import ReferenceLogits
from harness.source.source import Source
from harness.stats.divergence import diverge
from harness.system.hashing import digest_of
from harness.system.progress import SILENT, Progress
from harness.system.store import cached_json
from harness.toolchain.toolchain import Toolchain, ToolchainProvider
from harness.verify.compare_weights import WeightComparison, compare_with_reference_export

EXACT_NATS = 1e-6
"""Most that an unquantised graph may diverge, on average; healthy ones stay below a millionth of it."""

SAME_WEIGHTS_NATS = 1e-9
"""Below this, two sets of weights are one."""

ADOPTED_BACKEND: Backend = "olive"
"""Whose witness vouches for what was converted elsewhere: the recipe of an adopted folder names no other."""

_TABLE_TOLERANCE = 2e-3
"""Half precision keeps cosines to 5e-4; another theta differs by more than 1."""

CONTINUED_NATS = 4e-3
"""Most that token by token and one prefill may differ in a quantised graph; seen were 1e-4, of faults 3e-2."""

_FORMAT = 4
_COMPARISON_FORMAT = 3
"""Both count up when what was kept must be measured again."""


def reference_export_name(backend: Backend) -> str:
    """What a back-end's witness is called among the artifacts; no variant can be called so."""
    return f"unquantised witness ({backend})"


def convert_with_reference_exports(
    reference_logits: ReferenceLogits,
    recipes: Mapping[str, Recipe],
    *,
    has_adopted: bool = False,
    cache: Path,
    toolchain: ToolchainProvider,
    progress: Progress = SILENT,
) -> dict[str, Artifact | GateError]:
    """`convert`, where each back-end's unquantised witness is made by the same worker.

    With `has_adopted` there is one for folders that were converted elsewhere, too.
    """
    backends = {recipe.backend for recipe in recipes.values()} | ({ADOPTED_BACKEND} if has_adopted else set())
    reference_exports = {
        reference_export_name(backend): load_recipe("fp32", backend=backend) for backend in sorted(backends)
    }
    return convert(
        reference_logits.source,
        {**recipes, **reference_exports},
        cache=cache,
        toolchain=toolchain,
        progress=progress,
        reference_logits=reference_logits,
        may_repeat=reference_exports,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Fidelity:
    """A candidate's divergence from the source on random tokens, where a sentence begins and far behind it."""

    first_kld_nats: float
    """D_KL(source || candidate) at the first token, which attends to nothing but itself, wherever it stands."""

    short_kld_nats: float
    """Mean D_KL(source || candidate) over the first positions."""

    long_kld_nats: float
    """The same over the last positions of a long sequence."""

    continued_kld_nats: float
    """Mean D_KL(one prefill || token by token) of the candidate and itself, over the end of an answer.

    Where a model changes to another rotary table, or a sliding window begins to slide, that is right behind it.
    """

    sequence_tokens: int
    """Length of the long sequence."""

    base_kld_nats: float | None
    """Mean D_KL(base || candidate) over all of these positions; None without a base model."""

    base_from_source_nats: float | None
    """Mean D_KL(source || base): how much fine-tuning changed; None without a base model."""

    @property
    def kld_nats(self) -> float:
        """Mean over short and long positions."""
        return (self.short_kld_nats + self.long_kld_nats) / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceExport:
    """The same model converted without quantisation, and what a variant has in common with it."""

    path: Path
    found: Fidelity
    weight_comparison: WeightComparison


def measure_graph(
    artifact: Artifact,
    artifacts: Mapping[str, Artifact | GateError],
    reference_logits: ReferenceLogits,
    *,
    cache: Path,
    toolchain: Callable[[], Toolchain],
    progress: Progress = SILENT,
    log: Path,
    is_transformed: bool = False,
) -> GraphFidelity:
    """An artifact's fidelity beside that of its witness, which is looked up in `artifacts`.

    What was converted elsewhere must have the source's token ids as well; its witness may be missing, or wrong.

    Raises:
        GateError: the source cannot be asked, the artifact cannot be measured, or there is no witness of what was
            converted here.
    """

    def measure(one: Artifact) -> Fidelity:
        def open_session() -> GenaiSession:
            progress.line(f"{one.variant}: measuring its divergence from the source")
            return GenaiSession(one.path, name=one.variant)

        return measure_fidelity(open_session, one, reference_logits, cache=cache)

    reference_logits.ensure(toolchain, progress)
    if artifact.is_adopted:
        progress.line(f"{artifact.variant}: comparing its token ids with the source's")
        smoke_test(artifact.path, log=log, tokens=reference_logits.tokens_file())
    reference_export, no_reference_export = None, None
    try:
        made = _required(artifacts[reference_export_name(artifact.recipe.backend)])
        export_found = measure(made)
        if artifact.is_adopted:
            require_same_function(export_found, str(made.path))
    except GateError as error:
        if not artifact.is_adopted:
            raise
        no_reference_export = error.what
    else:
        weight_comparison = compare_weights(
            artifact, made, reference_logits.source, cache=cache, progress=progress, is_transformed=is_transformed
        )
        reference_export = ReferenceExport(path=made.path, found=export_found, weight_comparison=weight_comparison)
    try:
        found = measure(artifact)
    except SessionError:
        if reference_export is not None:
            require_same_weights(artifact, reference_export.weight_comparison)  # which may be why
        raise
    return GraphFidelity(
        artifact=artifact,
        found=found,
        reference_export=reference_export,
        no_reference_export=no_reference_export,
        is_transformed=is_transformed,
    )


def _required(result: Artifact | GateError) -> Artifact:
    if isinstance(result, GateError):
        raise result
    return result


def measure_fidelity(
    open_session: Callable[[], GenaiSession], artifact: Artifact, reference_logits: ReferenceLogits, *, cache: Path
) -> Fidelity:
    """The fidelity of an artifact, from the cache or measured with the session that `open_session` gives."""
    key = digest_of([_FORMAT, artifact.digest, reference_logits.digest, runtime_version()])

    def measure() -> dict[str, Any]:
        session = open_session()
        try:
            return asdict(compare_with_reference_logits(session, reference_logits))
        finally:
            session.close()

    return Fidelity(**cached_json(cache / "fidelity" / key, measure))


def compare_weights(
    artifact: Artifact,
    reference_export: Artifact,
    source: Source,
    *,
    cache: Path,
    progress: Progress = SILENT,
    is_transformed: bool = False,
) -> WeightComparison:
    """What an artifact has in common with its witness, from the cache or compared now.

    Passes of the user's own may do more to weights than round them, and set what the runtime is told.
    """
    is_bound = artifact.recipe.olive_config is None
    key = digest_of(
        [_COMPARISON_FORMAT, artifact.digest, reference_export.digest, source.digest, is_transformed, is_bound]
    )

    def compare() -> dict[str, Any]:
        progress.line(f"{artifact.variant}: comparing its weights with the source's")
        return asdict(
            compare_with_reference_export(
                artifact, reference_export, source.path, is_transformed=is_transformed, is_bound=is_bound
            )
        )

    kept = cached_json(cache / "likeness" / key, compare)
    return WeightComparison(**{**kept, "differences": tuple(kept["differences"])})


def compare_with_reference_logits(session: GenaiSession, reference_logits: ReferenceLogits) -> Fidelity:
    """A short and a long prefill, held against the source's and the base's logits, and an answer against itself.

    Raises:
        MeasureError: there are no reference logits, or a logit is NaN or infinite.
    """
    source, base = reference_logits.logits(), reference_logits.logits("base")
    if source is None:
        raise MeasureError("the source model's logits were not asked for", where=session.name)
    cut = reference_logits.short_count
    short, long = session.logits(reference_logits.sequence[:cut]), session.logits(reference_logits.sequence)
    ours = np.concatenate([short, long[list(reference_logits.positions[cut:])]])
    kld = _kld(source, ours)
    return Fidelity(
        first_kld_nats=float(kld[0]),
        short_kld_nats=float(kld[:cut].mean()),
        long_kld_nats=float(kld[cut:].mean()),
        continued_kld_nats=_continued_kld(
            session, reference_logits.sequence[: reference_logits.answer_start], reference_logits.answer_tokens
        ),
        sequence_tokens=len(reference_logits.sequence),
        base_kld_nats=None if base is None else float(_kld(base, ours).mean()),
        base_from_source_nats=None if base is None else float(_kld(source, base).mean()),
    )


def _continued_kld(session: GenaiSession, prompt: Sequence[int], count: int) -> float:
    tokens, stepwise = session.continued(prompt, count)
    behind = count // 2
    whole = session.logits([*prompt, *tokens[:-1]])[-behind:].copy()
    stepwise = stepwise[-behind:]
    barred = stepwise == np.finfo(np.float32).min
    whole[barred] = stepwise[barred]
    return float(_kld(whole, stepwise).mean())


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphFidelity:
    """A variant's fidelity beside its witness's."""

    artifact: Artifact
    found: Fidelity
    reference_export: ReferenceExport | None
    """None for what was converted elsewhere, of a model that cannot be converted rightly here."""

    no_reference_export: str | None = None
    """Why there is no witness."""

    is_transformed: bool = False
    """Whether more was done to its weights than rounding, by the user's own word."""

    def as_dict(self) -> dict[str, Any]:
        """All of it as plain JSON values, for the record."""
        return {
            "variant": asdict(self.found),
            "reference_export": asdict(self.reference_export.found) if self.reference_export else None,
            "no_reference_export": self.no_reference_export,
            "rotary_difference": self.reference_export.weight_comparison.rotary_difference
            if self.reference_export
            else None,
        }

    def require(self) -> None:
        """The witness computes what the source does, the variant is the witness rounded, and it is the fine-tune.

        Raises:
            MeasureError: the first of these that is not so.
        """
        if precision_of(self.artifact.facts) == "fp32":
            require_same_function(self.found, str(self.artifact.path))
        require_continuity(self.found, str(self.artifact.path), CONTINUED_NATS)
        if self.reference_export is not None:
            require_same_function(self.reference_export.found, str(self.reference_export.path))
            require_same_weights(self.artifact, self.reference_export.weight_comparison)
        require_fine_tune(self.found, self.artifact)


def require_same_weights(artifact: Artifact, weight_comparison: WeightComparison) -> None:
    """Refuse an artifact that has not its witness's positions, weights and settings: divergence hides what int4 costs.

    Raises:
        MeasureError: with what differs.
    """
    difference = weight_comparison.rotary_difference
    if difference is not None and not difference <= _TABLE_TOLERANCE:
        raise MeasureError(
            f"{artifact.variant} encodes positions otherwise than its source: its rotary tables differ by up "
            f"to {difference:.2g} (another rope theta or scaling)",
            where=str(artifact.path),
            next_step="convert it again from the source as it is now",
        )
    if weight_comparison.differences:
        raise MeasureError(
            f"{artifact.variant} is not its source rounded: {'; '.join(weight_comparison.differences)}",
            where=str(artifact.path),
            next_step=_way_out(artifact),
        )


def _way_out(artifact: Artifact) -> str:
    if artifact.is_adopted:
        return (
            "convert it again from the source as it is now; if its weights were rescaled or trained on while they "
            "were quantised (AWQ, QAT), say so: transformed = true in gate.toml, --transformed here"
        )
    return "remove this folder and convert again; if it stays so, the recipe does not suit the model"


def require_same_function(reference_export: Fidelity, where: str) -> None:
    """Refuse a graph that computes something else although nothing in it is quantised.

    Raises:
        MeasureError: with the reason that the positions hint at.
    """
    if reference_export.short_kld_nats <= EXACT_NATS and reference_export.long_kld_nats <= EXACT_NATS:
        return require_continuity(reference_export, where, EXACT_NATS)
    is_exact_alone = reference_export.first_kld_nats <= EXACT_NATS
    positions = "positions are encoded otherwise (rope theta or scaling), or attention is (its window or scale)"
    hint = positions if is_exact_alone else "the graph is another one"
    raise MeasureError(
        f"unquantised, the converted graph is {reference_export.short_kld_nats:.1e} nats from the source at short and "
        f"{reference_export.long_kld_nats:.1e} at long positions, where {EXACT_NATS:.0e} is the most: {hint}",
        where=where,
        next_step="this toolchain does not convert this architecture rightly: see docs/conversion.md",
    )


def require_continuity(found: Fidelity, where: str, limit_nats: float) -> None:
    """Refuse a graph whose answers depend on whether their tokens come one by one.

    Raises:
        MeasureError: with what is known to do this.
    """
    if not found.continued_kld_nats <= limit_nats:
        raise MeasureError(
            f"an answer made token by token is {found.continued_kld_nats:.1e} nats from what the same graph says of "
            f"its tokens at once, where {limit_nats:.0e} is the most: its key-value cache is not carried on rightly",
            where=where,
            next_step="for a model with longrope scaling see docs/conversion.md, Stretched contexts; "
            "else this graph needs another runtime or converter",
        )


def require_fine_tune(found: Fidelity, artifact: Artifact) -> None:
    """Refuse a variant that is not made of the fine-tuned weights; without a base model nothing can be said.

    Raises:
        MeasureError: source and base are the same, or the variant is no nearer to the source than to the base.
    """
    if found.base_kld_nats is None or found.base_from_source_nats is None:
        return
    if found.base_from_source_nats <= SAME_WEIGHTS_NATS:
        raise MeasureError(
            "the fine-tuned model says exactly what its base model says: the fine-tuning, or its adapter, is not in it",
            where=str(artifact.path),
            next_step="merge the adapter into the model, or name the right base",
        )
    if not found.kld_nats < found.base_kld_nats:
        raise MeasureError(
            f"{artifact.variant} ({precision_of(artifact.facts)}) is nearer to the base model "
            f"({found.base_kld_nats:.2g} nats) than to the fine-tuned one ({found.kld_nats:.2g} nats)",
            where=str(artifact.path),
            next_step="convert the fine-tuned model; with an adapter, merge it first",
        )


def _kld(reference: npt.NDArray[np.float32], candidate: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    return diverge(reference, candidate, np.zeros(len(reference), dtype=np.int64)).kld_nats
