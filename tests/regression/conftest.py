"""A baseline of this machine, as a run would have left it."""

from datetime import UTC, datetime

import pytest

from harness.machine.fingerprint import fingerprint
from harness.regression.baseline import Baseline, BaselineVariant
from harness.stats.estimate import Estimate

METRICS = {"size_bytes": 1000.0, "peak_rss_bytes": 5000.0, "leak_bytes_per_request": 1.0}


@pytest.fixture
def make_baseline():
    """Writes none: `make_baseline(processor="other")` is of a machine that differs so."""

    def make(*, digest="a" * 64, right=None, **machine):
        return Baseline(
            run_id="before",
            saved_at=datetime(2026, 1, 31, tzinfo=UTC),
            pack_digest="p",
            fingerprint={**fingerprint().as_dict(), **machine},
            variants={
                "int4": BaselineVariant(
                    digest=digest,
                    metrics={name: Estimate.exact(value) for name, value in METRICS.items()},
                    right=right or {},
                )
            },
        )

    return make
