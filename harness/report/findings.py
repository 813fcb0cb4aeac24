"""What a run comes to, in lines: what did not pass, the word on each variant, and which one to ship."""

from __future__ import annotations

from collections import Counter
from typing import Final

from harness.checks.check import Outcome, no_data_line
from harness.metrics.catalogue import METRICS
from harness.report.cells import listed
from harness.report.record import ProblemRecord, RunRecord, VariantRecord

_MEASURED_AND_NOT_PASSED: Final = (Outcome.FAIL, Outcome.INCONCLUSIVE)
_COUNTED: Final = {
    Outcome.FAIL: "failed",
    Outcome.NO_DATA: "without data",
    Outcome.INCONCLUSIVE: "inconclusive",
}


def verdict_line(name: str, variant: VariantRecord) -> str:
    """`int4: FAIL (1 failed, 4 without data)`: how many checks stand behind the word where it is not a pass.

    What was judged twice counts twice; tests that broke are told as such.
    """
    found = Counter(check.outcome for check in variant.checks)
    parts = [f"{found[outcome]} {words}" for outcome, words in _COUNTED.items() if found[outcome]]
    broken = len({test for problem in variant.problems for test in problem.tests})
    parts += [f"{broken} could not run"] if broken else []
    skipped = len({test for one in variant.skipped for test in one.tests})
    parts += [f"{skipped} did not run"] if skipped else []
    counted = f" ({', '.join(parts)})" if parts else ""
    return f"{name}: {variant.verdict.upper()}{counted}"


def recommendation(record: RunRecord) -> str:
    """One sentence: which variant to ship, and why; or why none can be named."""
    if record.unusable is not None:
        return f"nothing was gated: {_first_line(record.unusable)}"
    if record.interrupted is not None:
        return f"INTERRUPTED: {record.interrupted}, so nothing is recommended"
    if record.part is not None:
        return f"INCOMPLETE: only a part of the gate was asked for ({record.part}), so nothing is recommended"
    if not any(variant.checks for variant in record.variants.values()):
        return "recommended: none, as nothing was judged"
    if record.recommended is None:
        return "recommended: none, as no variant passed every check"
    size = METRICS["size_bytes"].format(record.variants[record.recommended].value("size_bytes"))
    return f"recommended: {record.recommended}, the smallest variant that passes ({size})"


def findings(record: RunRecord) -> list[str]:
    """One line per check that did not pass, per cause of no data, per problem, and per reason of `incomplete`."""
    lines = [f"{_stopped(problem)}: {_first_line(problem.message)}" for problem in record.problems]
    lines += [_not_run(one) for one in record.skipped]
    for name, variant in record.variants.items():
        lines += [check.headline(name) for check in variant.checks if check.outcome in _MEASURED_AND_NOT_PASSED]
        lines += _without_data(name, variant)
        lines += [f"{name}: {_stopped(problem)}: {_first_line(problem.message)}" for problem in variant.problems]
        lines += [f"{name}: {_not_run(one)}" for one in variant.skipped]
        if record.part is None and variant.unjudged and not variant.problems:
            lines.append(f"{name}: never judged: {listed(variant.unjudged)}")
    return lines


def _without_data(name: str, variant: VariantRecord) -> list[str]:
    """One line per cause, with all that it left without data."""
    causes: dict[str, list[str]] = {}
    for check in variant.checks:
        if check.outcome is Outcome.NO_DATA:
            causes.setdefault(check.cause, []).append(check.name)
    return [no_data_line(name, list(dict.fromkeys(names)), cause) for cause, names in causes.items()]


def _not_run(skipped: ProblemRecord) -> str:
    return f"{_stopped(skipped)} did not run: {_first_line(skipped.message)}"


def _stopped(problem: ProblemRecord) -> str:
    others = len(problem.tests) - 1
    return f"{problem.tests[0]} and {others} more" if others else problem.tests[0]


def _first_line(message: str) -> str:
    return next((line for line in message.splitlines() if line.strip()), "it says nothing")
