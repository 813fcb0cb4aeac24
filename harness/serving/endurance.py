"""What remains of a model in Foundry Local after it was unloaded.

In a fresh process, which holds Foundry Local, its web service and one client, and nothing of the gate's run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from harness.errors import MeasureError
from harness.foundry.opening import SessionSpec
from harness.measure.leaks import CHILD_ENVIRONMENT
from harness.metrics.measurement import Measured, Measurement
from harness.metrics.units import format_bytes
from harness.pack.choose import conversations_by_case
from harness.pack.schema import DomainPack
from harness.stats.estimate import Estimate
from harness.system.child import harness_module, run_job
from harness.system.progress import SILENT, Progress

_TIMEOUT_S: Final = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadCycle:
    """Memory of the process around one load and unload, bytes; only what no file stands behind."""

    before_load_bytes: int
    loaded_bytes: int
    """After an answer, the model still loaded."""

    unloaded_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Unloading:
    """What a serving process kept of a model that it had loaded and unloaded."""

    cycles: tuple[LoadCycle, ...]
    """In order; the first one also pays for what the runtime sets up once."""

    is_same_after_reload: bool
    """Every cycle's answer was the first one's."""

    @property
    def measured(self) -> Measured:
        """What was kept after the first unload, and whether the model answers as before when it is loaded again."""
        each = self.retention_per_reload_bytes
        further = "" if each is None else f"; each further one left {format_bytes(each)} behind"
        return Measured(
            measurement=Measurement(
                estimates={
                    "foundry_unload_retention_bytes": Estimate.exact(self.retention_bytes, n=1),
                    "same_answer_after_reload": Estimate.exact(float(self.is_same_after_reload)),
                },
                details=dict.fromkeys(
                    ("foundry_unload_retention_bytes", "same_answer_after_reload"),
                    f"{len(self.cycles)} loads and unloads{further}",
                ),
            ),
            samples={"unloading": [self]},
        )

    @property
    def retention_bytes(self) -> int:
        """Memory after the first unload against before the first load."""
        return self.cycles[0].unloaded_bytes - self.cycles[0].before_load_bytes

    @property
    def retention_per_reload_bytes(self) -> float | None:
        """What each further load and unload left behind, on average; None with one cycle."""
        later = self.cycles[-1].unloaded_bytes - self.cycles[0].unloaded_bytes
        return later / (len(self.cycles) - 1) if len(self.cycles) > 1 else None


def measure_unloading(
    spec: SessionSpec,
    pack: DomainPack,
    *,
    log: Path,
    cycles: int = 3,
    progress: Progress = SILENT,
) -> Unloading:
    """Load a model in a Foundry Local of its own, ask it a question of the pack, and unload it, `cycles` times.

    Args:
        spec: the model, as `foundry_spec` describes it.
        pack: where the question is.
        log: where the child process writes.
        cycles: how often.
        progress: hears how far it is.

    Raises:
        MeasureError: no cycle is asked for, or the child did less than it was asked.
        ChildError: the process died, hung, or Foundry Local refused the model.
    """
    if cycles < 1:
        raise MeasureError("without a cycle of load and unload nothing can be measured")
    (question,) = conversations_by_case(pack, 1).values()
    job = {"question": question, "cycles": cycles}
    return read_unloading(run_endurance(job, spec, pack, log, progress), cycles=cycles)


def read_unloading(result: Mapping[str, Any], *, cycles: int) -> Unloading:
    """The child's result as values.

    Raises:
        MeasureError: a cycle that was asked for is missing.
    """
    found = Unloading(
        cycles=tuple(LoadCycle(**cycle) for cycle in result["cycles"]),
        is_same_after_reload=result["is_same_after_reload"],
    )
    if len(found.cycles) != cycles:
        raise MeasureError(f"only {len(found.cycles)} of {cycles} cycles of load and unload ran")
    return found


def run_endurance(
    job: Mapping[str, Any],
    spec: SessionSpec,
    pack: DomainPack,
    log: Path,
    progress: Progress,
    timeout_s: float = _TIMEOUT_S,
    on_interrupt: Callable[[], None] | None = None,
) -> dict[str, Any]:
    """Let the child process do a job with the described model, in a Foundry Local of its own."""
    return run_job(
        harness_module("harness.serving.endurance_child"),
        {"session": dict(spec), "max_new_tokens": pack.domain.max_new_tokens, **job},
        log=log,
        timeout_s=timeout_s,
        progress=progress,
        env=CHILD_ENVIRONMENT,
        on_interrupt=on_interrupt,
    )
