"""A run held against its baseline: quality case by case, speed through the baseline's artifact, the rest as stored."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from harness.artifact.artifact import Artifact
from harness.machine.fingerprint import differences, fingerprint
from harness.metrics.measurement import Measured, Measurement
from harness.pack.choose import conversations_by_case
from harness.pack.schema import DomainPack
from harness.regression.arm import QUANTITIES, Arm, Work
from harness.regression.baseline import Baseline, BaselineVariant
from harness.regression.comparing import compare
from harness.regression.interleaved import Interleaved
from harness.regression.kept_artifacts import kept_artifact
from harness.runtime.genai import GenaiSession
from harness.stats.estimate import Estimate
from harness.stats.paired import mcnemar, paired_loss
from harness.toolchain.workspace import Workspace

_CASES: Final = 16
_RATIOS: Final = {"size_ratio": "size_bytes", "peak_rss_ratio": "peak_rss_bytes"}


def other_machine(baseline: Baseline) -> str:
    """Why times and memory of the baseline may not be compared with those of here; empty where they may."""
    found = differences(baseline.machine, fingerprint())
    return f"the baseline is of another machine or runtime ({'; '.join(map(str, found))})" if found else ""


def lost_answers(before: Mapping[str, bool], now: Mapping[str, bool]) -> Measured:
    """Right answers that were lost, net, on the cases of both runs; in percentage points."""
    cases = [case for case in before if case in now]
    loss = paired_loss([before[case] for case in cases], [now[case] for case in cases])
    if not cases:
        loss = Estimate.missing("no case was asked in both runs")
    lost = [case for case in cases if before[case] and not now[case]]
    won = [case for case in cases if now[case] and not before[case]]
    unpaired = len(before) + len(now) - 2 * len(cases)
    details = f"{len(cases)} cases: {len(lost)} lost, {len(won)} won; McNemar p = {mcnemar(len(lost), len(won)):.3g}"
    details += f"\nlost: {', '.join(lost[:8])}" if lost else ""
    details += f"\n{unpaired} cases are in one of the runs only" if unpaired else ""
    return _one("baseline_loss_points", loss.map(lambda share: 100 * share), details)


def compare_stored(baseline: Baseline, variant: str, now: Mapping[str, Estimate]) -> Measured:
    """Size, memory and leaks beside the stored ones; memory only of the same machine."""
    before = baseline.variants[variant].metrics
    estimates = {ratio: _ratio(now.get(metric), before.get(metric)) for ratio, metric in _RATIOS.items()}
    barred = other_machine(baseline)
    if barred:
        estimates["peak_rss_ratio"] = Estimate.missing(barred)
    leak = "leak_bytes_per_request"
    estimates["leak_increase_bytes_per_request"] = _difference(now.get(leak), before.get(leak))
    told = {
        ratio: f"{metric}: {_shown(before.get(metric))}, now {_shown(now.get(metric))}"
        for ratio, metric in {**_RATIOS, "leak_increase_bytes_per_request": leak}.items()
    }
    return Measured(measurement=Measurement(estimates=estimates, details=told))


def compare_speed(
    baseline: Baseline, variant: str, artifact: Artifact, pack: DomainPack, workspace: Workspace
) -> Measured:
    """Time the baseline's artifact and the present one in turn, here and now; missing where that says nothing.

    Raises:
        SessionError: one of them cannot be loaded or cannot answer.
    """
    before = baseline.variants[variant]
    barred = other_machine(baseline)
    if barred:
        return _unknown(f"{barred}; `slm-gate compare` has --release-a for another release of the runtime")
    if before.digest == artifact.digest:
        same = Estimate(value=1.0, n=1, method="the same files under the same runtime")
        return Measured(measurement=Measurement(estimates=dict.fromkeys(QUANTITIES, same)))
    folder = _folder(before, workspace.cache)
    if folder is None:
        return _unknown("the baseline's artifact is not in the cache any more: save the baseline anew")
    target = artifact.target
    sides = Interleaved(
        baseline=Arm(name="baseline", open=lambda: GenaiSession(folder, target=target, name=f"{variant}, baseline")),
        candidate=Arm(name=variant, open=lambda: GenaiSession(artifact.path, target=target, name=variant)),
        work=Work(conversations=list(conversations_by_case(pack, _CASES).values())),
    )
    found = compare(sides, progress=workspace.progress)
    asked = f"{sides.requests} requests of {sides.work.new_tokens} tokens"
    details = f"{asked} in turn with the baseline's artifact, {found.measuring_s:.0f} s"
    return Measured(measurement=found.measurement(details))


def _folder(before: BaselineVariant, cache: Path) -> Path | None:
    return None if before.digest is None else kept_artifact(before.digest, cache)


def _unknown(why: str) -> Measured:
    return Measured(measurement=Measurement(estimates=dict.fromkeys(QUANTITIES, Estimate.missing(why))))


def _one(metric: str, estimate: Estimate, details: str) -> Measured:
    return Measured(measurement=Measurement(estimates={metric: estimate}, details={metric: details}))


def _ratio(now: Estimate | None, before: Estimate | None) -> Estimate:
    if now is None or before is None or now.value is None or not before.value:
        return Estimate.missing("it was not measured in both runs")
    return Estimate(value=now.value / before.value, n=1, method="two readings")


def _difference(now: Estimate | None, before: Estimate | None) -> Estimate:
    if now is None or before is None or now.value is None or before.value is None:
        return Estimate.missing("it was not measured in both runs")
    return Estimate(value=now.value - before.value, n=1, method="two readings")


def _shown(estimate: Estimate | None) -> str:
    value = None if estimate is None else estimate.value
    return "not measured" if value is None or math.isnan(value) else f"{value:,.6g}"
