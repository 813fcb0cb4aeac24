import pytest

from harness.stats.estimate import Estimate
from tests.report.runs import start, tell


@pytest.fixture
def run_folder(tmp_path):
    """A run of two variants by two workers: int4 fails, int8 passes; not ended yet."""
    folder = tmp_path / "run"
    start(folder)
    tell(folder, "int4", 0.5, 1000, "gw0").latency("int4", 64, {"ttft_p50_s": Estimate.exact(0.1)})
    tell(folder, "int8", 0.95, 2000, "gw1")
    return folder
