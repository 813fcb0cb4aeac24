"""The results of a conversion as tables: each variant's figures, and its settings beside those asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from tabulate import tabulate

from harness.artifact.artifact import Artifact
from harness.artifact.facts import precision_of
from harness.errors import GateError
from harness.metrics.units import Unit, format_bytes, format_seconds, format_value
from harness.pipeline.outcome import Outcome
from harness.source.ends import end_remark
from harness.source.source import Source
from harness.verify.criteria import EXACT_NATS
from harness.verify.fidelity import GraphFidelity

_HEADERS = ("variant", "is", "size", "B/weight", "nats short", "nats long", "converted in", "peak memory", "folder")


def outcome_table(outcomes: Mapping[str, Outcome]) -> str:
    """One row for each variant; nats are the divergence from the source at short and long positions."""
    rows = [_row(name, outcome) for name, outcome in outcomes.items()]
    used = [column for column in range(len(_HEADERS)) if any(row[column] != "-" for row in rows)]
    cells = [[row[column] for column in used] for row in rows]
    return tabulate(cells, headers=[_HEADERS[column] for column in used], disable_numparse=True)


def _row(name: str, outcome: Outcome) -> Sequence[str]:
    made = outcome.result
    if isinstance(made, GateError):
        return [name, "FAILED", *["-"] * (len(_HEADERS) - 2)]
    found = outcome.fidelity.found if outcome.fidelity else None
    return [
        name,
        precision_of(made.facts),
        format_bytes(made.size_bytes),
        "-" if made.facts.bytes_per_weight is None else f"{made.facts.bytes_per_weight:.3g}",
        format_value(Unit.NATS, found.short_kld_nats if found else None),
        format_value(Unit.NATS, found.long_kld_nats if found else None),
        _duration(made),
        "-" if made.peak_rss_bytes is None else format_bytes(made.peak_rss_bytes),
        str(outcome.folder or "-"),
    ]


def _duration(made: Artifact) -> str:
    if made.conversion_s is None:
        return "-"
    return f"{format_seconds(made.conversion_s)}{' (kept)' if made.was_reused else ''}"


def settings_table(artifacts: Iterable[Artifact], source: Source | None) -> str:
    """Settings down, variants across: what is there and, in brackets, what was asked or what the source has."""
    artifacts = list(artifacts)
    columns = [_settings(artifact, source) for artifact in artifacts]
    rows = [[name, *(column[name] for column in columns)] for name in (columns[0] if columns else ())]
    kept = [row for row in rows if any(cell != "-" for cell in row[1:])]
    return tabulate(kept, headers=["", *(artifact.variant for artifact in artifacts)], disable_numparse=True)


def _settings(artifact: Artifact, source: Source | None) -> dict[str, str]:
    facts, asked = artifact.facts, artifact.recipe
    return {
        "weights": _cell(precision_of(facts), None if artifact.is_adopted else asked.precision),
        "block size": _cell(facts.block_sizes, asked.block_size),
        "symmetric": _cell(facts.symmetries, asked.symmetric),
        "accuracy level": _cell(facts.accuracy_levels, asked.accuracy_level),
        "algorithm": _cell(None, asked.algorithm),
        "output head": _cell(facts.head_type),
        "embedding": _cell(facts.embedding_type),
        "tied embeddings": _cell(facts.has_shared_embeddings, source.has_tied_embeddings if source else None),
        "key-value cache": _cell(facts.cache_types),
        "context": _cell(facts.context_length, source.context_length if source else None),
        "end of sequence": _cell(facts.eos_token_ids, source.eos_token_ids if source else None),
    }


def _cell(there: object, asked: object = None) -> str:
    """`32 (32)`; without brackets where nothing was asked, `(rtn)` where a graph does not show what was."""
    shown, wanted = _text(there), _text(asked)
    if asked is None:
        return shown
    return f"({wanted})" if there is None else f"{shown} ({wanted})" if shown != "-" else "-"


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ", ".join(map(_text, value)) or "-"
    return "-" if value is None else str(value)


def remarks(outcomes: Mapping[str, Outcome], source: Source | None = None) -> list[str]:
    """What the user should know of the source, and what the figures mean.

    The latter are the reference export's own divergence, the base's, what could not be compared, and what the runtime
    makes of texts and conversations otherwise than transformers.
    """
    warnings = list(source.remarks) if source else list(_of_ends(outcomes))
    of_source = [f"warning: {remark}" for remark in warnings]
    measured = {name: one.fidelity for name, one in outcomes.items() if one.fidelity is not None}
    told = [_of_reference_export(found) for found in measured.values()]
    told += [sentence for found in measured.values() for sentence in _uncompared(found)]
    told += [sentence for found in measured.values() for sentence in _of_probes(found)]
    told += [f"{name}: {_of_base(found)}" for name, found in measured.items() if found.found.base_kld_nats is not None]
    of_tokenizers = [line for one in outcomes.values() if one.tokenizer for line in one.tokenizer.remarks()]
    return list(dict.fromkeys([*of_source, *told, *of_tokenizers]))


def _of_ends(outcomes: Mapping[str, Outcome]) -> Iterator[str]:
    """Whether answers of folders end whose source nobody knows; any other has its source's ends."""
    for name, outcome in outcomes.items():
        remark = end_remark(outcome.result.path) if isinstance(outcome.result, Artifact) else None
        if remark:
            yield f"{name}: {remark}"


def _of_reference_export(found: GraphFidelity) -> str:
    if found.reference_export is None:
        return (
            f"{found.artifact.variant}: there is no fp32 reference export to compare it with, "
            f"only its divergence: {found.no_reference_export}"
        )
    near, far = found.reference_export.found.short_kld_nats, found.reference_export.found.long_kld_nats
    return (
        f"nats: divergence from the source at the first and the last of {found.found.sequence_tokens} random tokens, "
        "which exaggerate it.\n"
        f"Unquantised, the same graph has {near:.0e} and {far:.0e} (at most {EXACT_NATS:.0e}): "
        "what is left is what quantisation costs."
    )


def _uncompared(found: GraphFidelity) -> Iterator[str]:
    """What could not be held against the source, or was not because the user said so."""
    name = found.artifact.variant
    if found.artifact.is_adopted and found.reference_export is not None:
        if found.reference_export.weight_comparison.rotary_difference is None:
            yield (
                f"{name}: it stores no rotary tables that could be compared with its source's; "
                "another rope theta would show in `nats long` only"
            )
        if not (found.is_transformed or found.reference_export.weight_comparison.is_named_alike):
            yield (
                f"{name}: its layers are called otherwise than ModelBuilder calls them, so its weights "
                "were not compared with the source's one by one, only its divergence"
            )
    if found.is_transformed:
        yield f"{name}: its weights were not compared with the source's one by one (--transformed), only its divergence"


def _of_probes(found: GraphFidelity) -> Iterator[str]:
    """How far each variant was looked at, and what is not known beyond."""
    comparison = found.probe_comparison
    if comparison is not None:
        yield f"{found.artifact.variant}: {comparison.summary}"


def _of_base(found: GraphFidelity) -> str:
    own, base = found.found.kld_nats, found.found.base_kld_nats
    return f"{own:.2g} nats from the fine-tuned model, {base:.2g} from its base"
