"""(b), (c) The gate's questions and divergence against a plain loop over onnxruntime-genai, interleaved in one run.

The plain loop answers each question by generation and scores each text in one prefill, as evaluators do, with the
runtime's own choice of threads. Both have the model loaded, read the same tokens and ask the same questions; nothing is
taken from the cache but the source's answers. The loop is also run on all cores, as the gate computes: what is left of
the ratio then is not owed to threads.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import astuple, dataclass
from pathlib import Path

from benchmarks.scale_parts.common import DEMO, ROOT, Table, artifacts, demo_pack, inflated, say
from benchmarks.scale_parts.runs import run_gate
from harness.artifact.artifact import Artifact
from harness.checks.judging import applicable
from harness.config.limits import Limit
from harness.config.load import load_config
from harness.measure.divergence import compare_on_the_way, compare_with_reference, measure_divergence
from harness.measure.quality import measure_quality
from harness.measure.reference_scores import ReferenceScores
from harness.measure.sampling import UntilDecided
from harness.measure.source_answers import SourceAnswers, ask_source
from harness.measure.verified_session import VerifiedSession
from harness.pack.choose import spread
from harness.pack.schema import DomainPack
from harness.runtime.genai import GenaiSession
from harness.source.source import resolve_source
from harness.stats.divergence import log_softmax
from harness.system.cpu import compute_cores
from harness.system.progress import LineProgress
from harness.system.rows import KeptRows
from harness.toolchain.workspace import Workspace

ROUNDS = 4
_PLAIN = ("loop answers", "loop logits")
_ALL_CORES = ", all cores"
_HEAD = (
    "variant", "answers/s: loop", "on all cores", "gate", "times the loop's", "as many threads",
    "positions/s: loop", "on all cores", "gate", "times the loop's", "as many threads",
)  # fmt: skip


def measure_demo(place: Workspace, scratch: Path) -> Table:
    """(c) Rates on the demo, four rounds in turn, and a whole gate whose answers are kept."""
    table = Table(head=_HEAD)
    pack, source = demo_pack(), resolve_source(str(DEMO / "model"))
    known = ask_source(source, pack, place)
    sums: dict[str, float] = {}
    for variant, artifact in artifacts(DEMO / "model", place).items():
        with closing(GenaiSession(artifact.path, name=variant)) as session:
            taken_s = _demo_times(variant, session, pack, known, scratch)
        table.rows.append((variant, *_rates(taken_s, pack, known)))
        sums = {name: sums.get(name, 0.0) + seconds for name, seconds in taken_s.items()}
    table.rows.append(("all three", *_rates(sums, pack, known, times=len(table.rows))))
    say("a warm gate")
    results = scratch / "demo-results"
    run_gate([], results=results)
    done = run_gate([], results=results)
    table.notes.append(
        f"Fastest of {ROUNDS} rounds in turn. Positions of the gate: by what questions and divergence together take "
        "longer than questions alone, since right answers are compared in the pass that checks them. "
        f"The gate computes on {compute_cores()} cores; the loop has onnxruntime-genai's own choice of threads, half "
        "of the logical CPUs, and is run on all cores beside it."
    )
    table.notes.append(f"The warm demo gate, answers kept: {done.told}.")
    return table


def _demo_times(
    variant: str, session: GenaiSession, pack: DomainPack, known: SourceAnswers, scratch: Path
) -> dict[str, float]:
    """Seconds of each way over all questions, or all positions of the reference."""
    works: dict[str, Callable[[], object]] = {
        "loop answers": lambda: _generate(session, pack, range(len(pack.cases))),
        "gate answers": lambda: _verify(_asking(session, known, scratch), pack),
        "loop logits": lambda: _score(session, known.scores, range(len(known.scores.sequences))),
        "gate both": lambda: _verify_and_compare(_asking(session, known, scratch), pack, known),
    }
    works |= {name + _ALL_CORES: works[name] for name in _PLAIN}
    best = dict.fromkeys(works, float("inf"))
    for number in range(ROUNDS):
        say(f"{variant}: round {number + 1} of {ROUNDS}")
        for name in works if number % 2 == 0 else reversed(works):
            with session.computing_with(None if name in _PLAIN else compute_cores()):
                best[name] = min(best[name], _seconds(works[name]))
    return best


def _rates(taken_s: Mapping[str, float], pack: DomainPack, known: SourceAnswers, *, times: int = 1) -> tuple[str, ...]:
    cases, positions = times * len(pack.cases), times * len(known.scores.rows)
    both_s = taken_s["gate both"] - taken_s["gate answers"]
    cells: list[str] = []
    for count, work, gate_s in ((cases, "loop answers", taken_s["gate answers"]), (positions, "loop logits", both_s)):
        plain_s, all_cores_s = taken_s[work], taken_s[work + _ALL_CORES]
        cells += [f"{count / seconds:,.0f}" for seconds in (plain_s, all_cores_s, gate_s)]
        cells += [f"{seconds / gate_s:.2f}" for seconds in (plain_s, all_cores_s)]
    return tuple(cells)


def _asking(session: GenaiSession, known: SourceAnswers, scratch: Path) -> VerifiedSession:
    """The session as the gate asks it, with nothing kept."""
    rows = scratch / "rows"
    shutil.rmtree(rows, ignore_errors=True)
    return VerifiedSession(inner=session, drafts=known.drafts, rows=KeptRows(rows / "rows.db"))


def _verify(asking: VerifiedSession, pack: DomainPack) -> None:
    conversations = [pack.conversation(case.messages) for case in pack.cases]
    asking.answer_many(conversations, max_new_tokens=pack.domain.max_new_tokens)


def _verify_and_compare(asking: VerifiedSession, pack: DomainPack, known: SourceAnswers) -> None:
    compare_on_the_way(asking, known.scores)
    _verify(asking, pack)
    compare_with_reference(asking, known.scores)


def measure_questions(place: Workspace, scratch: Path, *, size: str, sample: int) -> Table:
    """(b) Quality and divergence at a size: a sample of the plain loop, scaled, and the gate's, whole and stopped."""
    table = Table(
        head=("variant", "loop: answers", "texts", "on all cores", "gate, all cases", "of the loop", "on all cores",
              "until decided", "of the loop", "on all cores")
    )  # fmt: skip
    model = inflated(size, scratch, place)
    pack, source = demo_pack(), resolve_source(str(model))
    known = ask_source(source, pack, place)
    config = load_config(ROOT / "gate.toml")
    taken: list[Questions] = []
    for variant, artifact in artifacts(model, place).items():
        taken.append(_questions_times(artifact, pack, known, sample, config.limits_for(variant), scratch))
        table.rows.append((variant, *taken[-1].cells))
    table.rows.append(("all three", *Questions(*map(sum, zip(*map(astuple, taken), strict=True))).cells))
    table.notes.append(
        f"Minutes at {size}. The loop generates {sample} of {len(pack.cases)} answers and scores "
        f"{max(4, sample // 4)} of {len(known.scores.sequences)} texts and answers, scaled by tokens; the gate does "
        "all of it, or asks until every quality limit and scores until every limit on divergence is decided. The "
        f"loop has the runtime's own choice of threads, half of the logical CPUs, or the gate's {compute_cores()}."
    )
    return table


@dataclass(frozen=True, slots=True)
class Questions:
    """Seconds of each way over a variant's questions and divergence."""

    answers_s: float
    """The plain loop, by generation."""

    texts_s: float
    """The plain loop, scoring."""

    all_cores_s: float
    """The plain loop, both, on all cores."""

    all_s: float
    """The gate, both."""

    decided_s: float
    """The gate, until every limit is decided."""

    @property
    def cells(self) -> tuple[str, ...]:
        """Minutes, and shares of the loop's."""
        loops_s = (self.answers_s + self.texts_s, self.all_cores_s)
        cells = [_minutes(seconds) for seconds in (self.answers_s, self.texts_s, self.all_cores_s)]
        for gate_s in (self.all_s, self.decided_s):
            cells += [_minutes(gate_s), *(f"{gate_s / loop_s:.1%}" for loop_s in loops_s)]
        return tuple(cells)


def _questions_times(
    artifact: Artifact, pack: DomainPack, known: SourceAnswers, sample: int, limits: Mapping[str, Limit], scratch: Path
) -> Questions:
    variant = artifact.variant
    with closing(GenaiSession(artifact.path, name=variant)) as session:
        say(f"{variant}: the plain loop")
        answers_s, texts_s = _loop_times(session, pack, known, sample)
        with session.computing_with(compute_cores()):
            say(f"{variant}: the plain loop on all cores")
            all_cores_s = sum(_loop_times(session, pack, known, sample))
            say(f"{variant}: the gate, all cases")
            all_s = _seconds(lambda: _gate_work(session, pack, known, scratch, None))
            say(f"{variant}: the gate, until decided")
            decided_s = _seconds(lambda: _gate_work(session, pack, known, scratch, limits))
    return Questions(answers_s, texts_s, all_cores_s, all_s, decided_s)


def _loop_times(session: GenaiSession, pack: DomainPack, known: SourceAnswers, sample: int) -> tuple[float, float]:
    """Seconds that all answers and all texts take, scaled from some of them."""
    few = spread(range(len(pack.cases)), sample)
    answers_s = _seconds(lambda: _generate(session, pack, few)) * len(pack.cases) / len(few)
    sequences = known.scores.sequences
    some = spread(range(len(sequences)), max(4, sample // 4))
    share = sum(len(sequences[n].read) for n in some) / sum(len(one.read) for one in sequences)
    return answers_s, _seconds(lambda: _score(session, known.scores, some)) / share


def _gate_work(
    session: GenaiSession, pack: DomainPack, known: SourceAnswers, scratch: Path, limits: Mapping[str, Limit] | None
) -> None:
    asking, progress = _asking(session, known, scratch), LineProgress(say)
    until = UntilDecided(applicable(limits, pack), known.answers) if limits else None
    compare_on_the_way(asking, known.scores)
    measure_quality(asking, pack, known.answers, until=until, progress=progress)
    measure_divergence(asking, known.scores, until=limits, progress=progress)


def _generate(session: GenaiSession, pack: DomainPack, places: Sequence[int]) -> None:
    for place in places:
        session.answer(pack.conversation(pack.cases[place].messages), max_new_tokens=pack.domain.max_new_tokens)


def _score(session: GenaiSession, scores: ReferenceScores, places: Sequence[int]) -> None:
    for place in places:
        sequence = scores.sequences[place]
        logp = log_softmax(session.logits(sequence.read)[sequence.first :])
        logp[range(len(logp)), sequence.targets(sequence.first, len(logp))].sum()


def _seconds(work: Callable[[], object]) -> float:
    started_s = time.perf_counter()
    work()
    return time.perf_counter() - started_s


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.1f}"
