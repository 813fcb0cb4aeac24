"""Small runs for the tests of records: told event by event, as a gate tells them."""

from harness.checks.check import Check
from harness.config.limits import Limit
from harness.report.build import build_record
from harness.report.record import save_record
from harness.report.recorder import Recorder
from harness.stats.estimate import Estimate

LIMIT = Limit(min=0.9, reason="because it must")
LIMITS = {"int4": {"exact_match_rate": LIMIT}, "int8": {"exact_match_rate": LIMIT}}


def start(folder, limits=LIMITS, **facts):
    """The facts that a run begins with."""
    recorder = Recorder(folder, "main")
    recorder.run(limits=limits, model={"spec": "m"}, domain={"name": "parts"}, **facts)
    return recorder


def judge(recorder, variant, rate, metric="exact_match_rate", limit=LIMIT):
    """A check of one metric."""
    estimate = rate if isinstance(rate, Estimate) else Estimate.exact(rate)
    recorder.metrics(variant, {metric: estimate})
    recorder.check(Check(variant=variant, metric=metric, estimate=estimate, limit=limit, details="e"))


def tell(folder, variant, rate, size, writer="main"):
    """A variant's size and its one check."""
    recorder = Recorder(folder, writer)
    recorder.metrics(variant, {"size_bytes": Estimate.exact(size)})
    judge(recorder, variant, rate)
    return recorder


def end(folder, writer="main"):
    """The end of a run: its record is built and kept."""
    Recorder(folder, writer).run(duration_s=1.0)
    record = build_record(folder)
    save_record(record, folder)
    return record
