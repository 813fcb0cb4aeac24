"""Raw samples: every kind has a name and a type, is written as JSON lines and read back as what it was."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from pydantic import TypeAdapter

from harness.config.diagnosis import did_you_mean
from harness.errors import FileError, GateError
from harness.grading.grade import GradedAnswer
from harness.measure.edge_cases import EdgeResult
from harness.measure.growth import LeakResult
from harness.measure.memory import ResourceResult
from harness.measure.tokenization import TokenizationCost
from harness.report.jsonline import reading_error, to_json
from harness.runtime.session import TokenTimeline
from harness.serving.endurance import Unloading
from harness.serving.load_level import LoadRequest
from harness.serving.refusals import Refusal
from harness.serving.same_answers import ServedComparison
from harness.serving.soak import Soak
from harness.system.store import write_atomically

T = TypeVar("T")
Row = dict[str, Any]


def _as_it_is(row: Any) -> Any:
    return row


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleKind(Generic[T]):
    """What a file in `samples/<variant>/` holds."""

    name: str
    """The file's name without its ending; `{}` in it stands for a number."""

    type: type[T]
    """Of each row."""

    meaning: str
    upgrade: Callable[[Any], Any] = _as_it_is
    """Adds to a row of an earlier version what it lacks."""

    def at(self, *numbers: int) -> SampleKind[T]:
        """The kind of certain numbers: `LATENCY.at(64)`."""
        return SampleKind(name=self.name.format(*numbers), type=self.type, meaning=self.meaning, upgrade=self.upgrade)

    def has_name(self, name: str) -> bool:
        """Whether a file of that name holds this kind."""
        pattern = r"\d+".join(map(re.escape, self.name.split("{}")))
        return re.fullmatch(pattern, name) is not None


def _answer_from_1(row: Row) -> Row:
    """Nothing stood around what was graded, and the score was 1 or 0."""
    around = {"thinking_characters": 0, "around_characters": 0}
    return {"score": float(row["is_exact"]), "answer": row["text"], **around, **row}


def _edge_from_1(row: Row) -> Row:
    """The answer itself was not kept."""
    return {"said": "", **row}


def _leak_from_1(row: Row) -> Row:
    """Only requests were measured."""
    if "path" in row:
        return row
    names = {"requests": "units"}
    samples = {
        key: [{names.get(name, name): value for name, value in sample.items()} for sample in row[key]]
        for key in ("samples", "earlier_samples")
    }
    renamed = {
        name.replace("_per_request", "_per_unit"): value for name, value in row.items() if name != "refused_requests"
    }
    return {**{names.get(name, name): value for name, value in renamed.items()}, **samples, "path": "request"}


ANSWERS: Final = SampleKind(
    name="answers", type=GradedAnswer, meaning="the answer to every case, graded", upgrade=_answer_from_1
)
LENGTH_ANSWERS: Final = SampleKind(
    name="length_answers", type=GradedAnswer, meaning="the same questions behind padding", upgrade=_answer_from_1
)
EDGE_CASES: Final = SampleKind(
    name="edge_cases", type=EdgeResult, meaning="what unfriendly prompts came to", upgrade=_edge_from_1
)
KLD_NATS: Final = SampleKind(name="kld_nats", type=float, meaning="divergence from the source, every position")
LATENCY: Final = SampleKind(
    name="latency_{}", type=TokenTimeline, meaning="token times of every request at a prompt length in tokens"
)
LATENCY_POINT: Final = SampleKind(
    name="latency_{}_{}_{}_{}",
    type=TokenTimeline,
    meaning="the same at another point of the grid: prompt, generated, batch, depth",
)
RESOURCES: Final = SampleKind(name="resources", type=ResourceResult, meaning="memory and CPU of a fresh process")
LEAK: Final = SampleKind(
    name="leak_bytes_per_request", type=LeakResult, meaning="memory on every path", upgrade=_leak_from_1
)
FOUNDRY_LEAK: Final = SampleKind(
    name="foundry_leak_bytes_per_request",
    type=LeakResult,
    meaning="the same through Foundry Local",
    upgrade=_leak_from_1,
)
FOUNDRY_ANSWERS: Final = SampleKind(
    name="foundry_same_answer_rate", type=ServedComparison, meaning="Foundry Local in process beside the bare runtime"
)
HTTP_ANSWERS: Final = SampleKind(
    name="foundry_http_same_answer_rate", type=ServedComparison, meaning="its web service beside the bare runtime"
)
STREAMED_ANSWERS: Final = SampleKind(
    name="foundry_stream_same_answer_rate", type=ServedComparison, meaning="the same, answers streamed"
)
REFUSALS: Final = SampleKind(
    name="service_refusals", type=Refusal, meaning="what the web service says to requests that it cannot serve"
)
UNLOADING: Final = SampleKind(name="unloading", type=Unloading, meaning="memory around every load and unload")
LOAD: Final = SampleKind(name="load", type=LoadRequest, meaning="every request under load")
SOAK: Final = SampleKind(name="soak", type=Soak, meaning="many requests in a row, and memory after each part of them")
TOKENIZATION_COSTS: Final = SampleKind(
    name="tokenization_costs", type=TokenizationCost, meaning="the source model on texts with the runtime's token ids"
)

KINDS: Final[tuple[SampleKind[Any], ...]] = (
    ANSWERS, LENGTH_ANSWERS, EDGE_CASES, KLD_NATS, LATENCY, LATENCY_POINT, RESOURCES, LEAK, FOUNDRY_LEAK,
    FOUNDRY_ANSWERS, HTTP_ANSWERS, STREAMED_ANSWERS, REFUSALS, UNLOADING, LOAD, SOAK, TOKENIZATION_COSTS,
)  # fmt: skip
"""All that a run writes."""


def kind_named(name: str) -> SampleKind[Any]:
    """The kind that a file's name, without its ending, belongs to.

    Raises:
        ValueError: there is none.
    """
    for kind in KINDS:
        if kind.has_name(name):
            return kind
    raise ValueError(f"no kind of samples is called {name!r}{did_you_mean(name, [kind.name for kind in KINDS])}")


def write_samples(run_folder: Path, variant: str, name: str, rows: Sequence[Any]) -> None:
    """Write all samples of one kind as a whole; those that were there are replaced.

    Raises:
        ValueError: no kind has such a name, or a row is not of its type.
    """
    kind = kind_named(name)
    for row in rows:
        if not isinstance(row, kind.type):
            raise ValueError(f"samples {name!r} are {kind.type.__name__}, not {type(row).__name__}")
    write_atomically(_file(run_folder, variant, name), "".join(f"{to_json(row)}\n" for row in rows))


def read_samples(run_folder: Path, variant: str, kind: SampleKind[T]) -> list[T]:
    """Read samples of a run as what they were when they were written: `read_samples(run, "int4", LATENCY.at(64))`.

    Raises:
        GateError: the run has no such samples, or a line is not one.
    """
    file = _file(run_folder, variant, kind.name)
    adapter = TypeAdapter(kind.type)
    try:
        lines = file.read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise FileError.of(error, file) if file.exists() else _missing(file, kind.name) from error
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            if line:
                rows.append(adapter.validate_python(kind.upgrade(json.loads(line))))
        except (ValueError, KeyError, TypeError) as error:
            raise GateError(
                f"not a sample of {kind.name}: {reading_error(error)}", where=f"{file}, line {number}"
            ) from error
    return rows


def samples_of(run_folder: Path, variant: str) -> list[str]:
    """Names of the samples that a run has of a variant."""
    return sorted(file.stem for file in (run_folder / "samples" / variant).glob("[!.]*.jsonl"))


def _file(run_folder: Path, variant: str, name: str) -> Path:
    return run_folder / "samples" / variant / f"{name}.jsonl"


def _missing(file: Path, name: str) -> GateError:
    there = sorted(other.stem for other in file.parent.glob("[!.]*.jsonl"))
    return GateError(
        f"the run has no samples {name!r} of {file.parent.name!r}",
        where=str(file.parent),
        next_step=f"there are: {', '.join(there)}" if there else "it measured nothing of this variant",
    )
