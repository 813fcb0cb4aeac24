"""The exit status follows from the verdicts: real runs of a small suite, told apart by what goes wrong in them.

The suites here measure nothing: they hand the gate estimates that the test chose. All else is what users run: the
plug-in modules, gate.toml, the demo model and its domain pack.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness.checks.verdict import ExitStatus, Verdict
from harness.report.build import read_run

ROOT = Path(__file__).resolve().parent.parent
PLUGINS = ("options", "progress", "variants", "alone", "recording")
CONFIG = """
[model]
source = '{model}'
[domain]
pack = '{pack}'
[gate]
inconclusive = '{policy}'
[variants.int4]
recipe = 'int4'
[variants.int8]
recipe = 'int8'
[limits.exact_match_rate]
min = 0.9
judge = '{judged}'
reason = 'because it must'
"""
SUITE = """
import pytest
from harness.config.default_limits import LEAK_LIMITS
from harness.metrics.catalogue import METRICS, Group
from harness.metrics.measurement import Measurement
from harness.stats.estimate import Estimate

OPTIONAL = (Group.LOAD, Group.CACHE_ROUTE)
CRITERIA = [metric.name for metric in METRICS.values() if metric.is_criterion and metric.group not in OPTIONAL]

def test_what_must_be_so(judge, gate, variant):
    gate.recorder.metrics(variant, {"size_bytes": Estimate.exact({"int4": 1000.0, "int8": 2000.0}[variant])})
    met = dict.fromkeys(CRITERIA, Estimate.exact(1.0)) | dict.fromkeys(LEAK_LIMITS, Estimate.exact(0.0))
    judge(Measurement(estimates=met), *met)

def rate_of(variant):
    return Estimate.exact(0.95)

def test_rate(judge, variant):
    judge(Measurement(estimates={"exact_match_rate": rate_of(variant)}), "exact_match_rate")
"""
MARKERS = "alone\n  load\n  cache_route"


def rated(rate):
    """The suite with another rate, an expression that may depend on the variant."""
    return SUITE.replace("Estimate.exact(0.95)", rate)


class Run:
    """What a run ended with."""

    def __init__(self, folder, done):
        self.status = done.returncode
        self.output = done.stdout + done.stderr
        self.folders = [run for run in (folder / "results").glob("*") if run.name != "latest"]

    @property
    def record(self):
        (folder,) = self.folders
        return read_run(folder)

    @property
    def verdicts(self):
        return {name: variant.verdict.value for name, variant in self.record.variants.items()}


@pytest.fixture
def gate(pytester):
    """Runs pytest on a small suite, in a folder with blanks in its name; returns status, output and record."""
    folder = pytester.mkdir("a gate")

    def run(suite=SUITE, *options, paths=("suites",), policy="red", judged="value", env=None, config=None, more=None):
        (folder / "suites").mkdir(exist_ok=True)
        (folder / "suites/test_small.py").write_text(suite, encoding="utf-8")
        for name, text in (more or {}).items():
            (folder / "suites" / name).write_text(text, encoding="utf-8")
        (folder / "pytest.ini").write_text(f"[pytest]\nmarkers =\n  {MARKERS}\n")
        demo = ROOT / "fixtures/data/demo"
        text = (config or CONFIG).format(model=demo / "model", pack=demo / "pack", policy=policy, judged=judged)
        (folder / "gate.toml").write_text(text, encoding="utf-8")
        plugins = [f"-pfixtures.{name}" for name in PLUGINS]
        command = [sys.executable, "-m", "pytest", *plugins, "-pno:cacheprovider", "--import-mode=importlib"]
        done = subprocess.run(
            [*command, "--cache-dir", str(folder / "cache"), *options, *paths],
            capture_output=True,
            text=True,
            encoding="utf-8",
            cwd=folder,
            timeout=300,
            check=False,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_ADDOPTS": "", **(env or {})},
        )
        return Run(folder, done)

    return run


@pytest.fixture(params=[(), pytest.param(("-n2",), marks=pytest.mark.slow)], ids=["alone", "two workers"])
def workers(request):
    """Options for no workers, and for as many as there are variants."""
    return request.param


@pytest.mark.parametrize("workers", [(), ("-n2",), ("-pno:xdist",)], ids=["alone", "two workers", "without xdist"])
def test_a_run_in_which_all_passes_is_green_and_names_what_to_ship(gate, workers):
    run = gate(SUITE, *workers)
    assert run.status == ExitStatus.PASS, run.output
    assert run.verdicts == {"int4": "pass", "int8": "pass"}
    assert "recommended: int4, the smallest variant that passes" in run.output


ACROSS = "Estimate(value=0.92, low=0.85, high=0.96, confidence=0.95, n=100, method='Wilson score')"
BELOW = "Estimate(value=0.82, low=0.75, high=0.86, confidence=0.95, n=100, method='Wilson score')"
OUTCOMES = {
    "beyond the limit": ("Estimate.exact(0.5)", {}, 1, "fail", "exact_match_rate = 50.0 %, must be at least 90.0 %"),
    "not a number": ("Estimate.exact(float('nan'))", {}, 3, "no data", "no data is not a pass (not a number)"),
    "across, value judged": (ACROSS, {}, 0, "pass", "int4: PASS"),
    "across, bound judged": (ACROSS, {"judged": "bound"}, 3, "inconclusive", "observations instead of 100"),
    "across, green": (ACROSS, {"judged": "bound", "policy": "green"}, 0, "inconclusive", "observations instead of 100"),
    "no data, green": (
        "Estimate.missing('no case')",
        {"policy": "green"},
        3,
        "no data",
        "no data is not a pass (no case)",
    ),
    "below, green": (
        BELOW,
        {"judged": "bound", "policy": "green"},
        1,
        "fail",
        "= 82.0 % (95 % interval 75.0 % to 86.0 %)",
    ),
}


@pytest.mark.parametrize("case", OUTCOMES)
def test_what_a_check_finds_decides(gate, case):
    rate, settings, status, verdict, told = OUTCOMES[case]
    run = gate(rated(rate), **settings)
    assert run.status == status, run.output
    assert run.verdicts == {"int4": verdict, "int8": verdict}
    assert told in run.output
    assert "Traceback" not in run.output


@pytest.mark.parametrize(("rate", "status"), [("Estimate.exact(0.5)", 1), ("Estimate.exact(float('nan'))", 3)])
def test_what_a_check_finds_decides_in_workers_too(gate, rate, status):
    assert gate(rated(rate), "-n2").status == status


def test_the_worst_variant_decides_and_a_better_one_is_recommended(gate):
    run = gate(rated("Estimate.exact(0.5 if variant == 'int4' else 0.95)"))
    assert run.status == ExitStatus.FAIL
    assert run.verdicts == {"int4": "fail", "int8": "pass"}
    assert "recommended: int8" in run.output


@pytest.mark.parametrize(("where", "workers"), [("the judging", ()), ("the measurement", ("-n2",))])
def test_a_mistyped_metric_is_an_error_where_it_stands(gate, where, workers):
    old = '"exact_match_rate")' if where == "the judging" else '{"exact_match_rate"'
    run = gate(SUITE.replace(old, old.replace("match_rate", "mach_rate")), *workers)
    assert run.status == ExitStatus.FAIL, run.output
    assert "did you mean 'exact_match_rate'" in run.output
    assert run.verdicts == {"int4": "fail", "int8": "fail"}
    assert "Traceback" not in run.output


SKIPPED = {
    "by itself": ("@pytest.mark.usefixtures('absent')", {}, "no such machine"),
    "by another plug-in": ("@pytest.mark.usefixtures('benchmark')", {"PYTEST_ADDOPTS": "--benchmark-skip"}, "Skipping benchmark"),
    "as an expected failure": ("@pytest.mark.xfail(reason='known')", {}, "it is expected to fail: known"),
}  # fmt: skip


@pytest.mark.parametrize("case", SKIPPED)
def test_a_test_that_did_not_run_leaves_the_run_undecided(gate, case):
    mark, env, reason = SKIPPED[case]
    absent = "@pytest.fixture\ndef absent(): pytest.skip('no such machine')\n"
    body = "Estimate.exact(0.5)" if case == "as an expected failure" else "Estimate.exact(0.95)"
    suite = rated(body).replace("def test_rate", f"{absent}{mark}\ndef test_rate")
    run = gate(suite, env=env)
    assert run.status == (1 if case == "as an expected failure" else ExitStatus.UNDECIDED), run.output
    assert f"test_rate[int4] did not run: {reason}" in run.output
    if run.status == ExitStatus.UNDECIDED:
        assert run.verdicts == {"int4": "incomplete", "int8": "incomplete"}
    assert "recommended: none" in run.output


def test_skips_are_seen_in_workers_too(gate):
    suite = SUITE.replace("def test_rate", "@pytest.mark.skip(reason='not today')\ndef test_rate")
    assert gate(suite, "-n2").status == ExitStatus.UNDECIDED


def test_tests_that_another_plug_in_drops_without_a_word_are_missed(gate):
    run = gate(SUITE, "-pdropping", more={"../dropping.py": DROPPING}, env={"PYTHONPATH": f"{ROOT}{os.pathsep}."})
    assert run.status == ExitStatus.UNDECIDED, run.output
    assert "int4: never judged: exact_match_rate" in run.output


DROPPING = """
def pytest_collection_modifyitems(items):
    items[:] = [item for item in items if "rate" not in item.name]
"""


@pytest.mark.parametrize(
    ("options", "paths", "told"),
    [
        (("-k", "rate"), ("suites",), "-k rate"),
        ((), ("suites/test_small.py::test_rate",), "suites/test_small.py::test_rate"),
    ],
)
def test_a_part_is_judged_by_what_ran_and_says_so(gate, options, paths, told):
    run = gate(SUITE, *options, paths=paths)
    assert run.status == ExitStatus.PASS, run.output
    assert f"INCOMPLETE: only a part of the gate was asked for ({told}" in run.output
    assert "int4: PASS (of the part that ran)" in run.output
    assert "recommended: " not in run.output
    assert run.record.part.startswith(told)


def test_a_part_that_fails_is_red(gate):
    assert gate(rated("Estimate.exact(0.5)"), "-k", "rate").status == ExitStatus.FAIL


def test_a_part_of_which_nothing_ran_is_undecided(gate):
    assert gate(SUITE, "-k", "nothing_is_called_so").status == ExitStatus.UNDECIDED


def test_a_part_of_the_variants_is_a_whole_run(gate):
    run = gate(SUITE, "--variants", "int8")
    assert run.status == ExitStatus.PASS
    assert "recommended: int8" in run.output


UNUSABLE = {
    "no such configuration": (("--config", "none.toml"), {}, "cannot read the configuration"),
    "not TOML": ((), {"config": "[model"}, "not valid TOML"),
    "an unknown metric": ((), {"config": CONFIG.replace("limits.exact_m", "limits.exact_n")}, "unknown metric"),
    "no such pack": (("--domain", "nowhere"), {}, "nowhere"),
    "no such model": (("--model", "./nowhere"), {}, "no such folder"),
    "results that cannot be written": (("--results-dir", "gate.toml"), {}, "cannot write results"),
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_unusable_input_has_a_status_of_its_own(gate, case):
    options, settings, told = UNUSABLE[case]
    run = gate(SUITE, *options, **settings)
    assert run.status == ExitStatus.UNUSABLE_INPUT, run.output
    assert told in run.output
    assert "Traceback" not in run.output
    assert run.folders == []


def test_unusable_input_that_shows_late_is_told_by_the_record_too(gate, workers):
    body = """
    from fixtures.options import stop_unusable
    from harness.errors import SourceError

    @pytest.fixture(scope="session", autouse=True)
    def source_model(gate):
        stop_unusable(SourceError("the hub does not have it", next_step="name another"), gate)
    """
    run = gate(SUITE + "\n".join(line[4:] for line in body.splitlines()), *workers)
    assert run.status == ExitStatus.UNUSABLE_INPUT, run.output
    assert "nothing was gated: the hub does not have it" in run.output
    assert run.record.unusable.startswith("the hub does not have it")


def test_a_suite_that_cannot_be_collected_is_red(gate, workers):
    run = gate(SUITE, *workers, more={"test_broken.py": "import nothing_is_called_so"})
    assert run.status == ExitStatus.FAIL, run.output
    assert "suites/test_broken.py: cannot be collected: " in run.output
    assert "No module named 'nothing_is_called_so'" in run.record.problems[0].message


def test_a_suite_that_steps_aside_is_named(gate, workers):
    aside = "import pytest\npytest.importorskip('nothing_is_called_so')"
    run = gate(SUITE, *workers, more={"test_aside.py": aside})
    assert run.status == ExitStatus.UNDECIDED, run.output
    assert "suites/test_aside.py did not run: could not import 'nothing_is_called_so'" in run.output
    assert "recommended: none" in run.output


BROKEN = {
    "an assertion": "def test_it(variant): assert 1 == 2",
    "an error in a fixture": "import pytest\n@pytest.fixture\ndef broken(): 1 / 0\ndef test_it(broken, variant): ...",
    "an error while tidying up": "import pytest\n@pytest.fixture\ndef bad():\n    yield\n    1 / 0\ndef test_it(bad): ...",
    "a test of no variant": "import pytest\ndef test_it(): pytest.fail('')",
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_what_breaks_outside_of_checks_is_red(gate, case):
    run = gate(SUITE, more={"test_more.py": BROKEN[case]})
    assert run.status == ExitStatus.FAIL, run.output
    assert "test_it" in run.output
    assert "never judged" not in run.output


def test_an_internal_error_of_pytest_is_red(gate):
    plugin = "def pytest_runtest_logfinish(nodeid):\n    if 'rate[int8]' in nodeid: raise RuntimeError('of a plug-in')"
    run = gate(SUITE, "-pbroken", more={"../broken.py": plugin}, env={"PYTHONPATH": f"{ROOT}{os.pathsep}."})
    assert run.status == ExitStatus.FAIL, run.output
    assert run.record.problems[0].tests == ["pytest"]


def test_a_failing_test_whose_failure_nobody_recorded_is_red(gate):
    """As when a plug-in fails a test after its report was made."""
    plugin = """
import pytest

@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if "rate[int8]" in item.nodeid and call.when == "call":
        report.outcome = "failed"
    return report
"""
    run = gate(SUITE, "-pbroken", more={"../broken.py": plugin}, env={"PYTHONPATH": f"{ROOT}{os.pathsep}."})
    assert run.status == ExitStatus.FAIL, run.output


def ending(call):
    """The suite whose second test of the last variant ends the process."""
    return SUITE.replace(
        "def rate_of", f"import os, signal\ndef rate_of(v):\n    if v == 'int8': {call}\n    return rated(v)\ndef rated"
    )


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals")
@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM"])
def test_what_a_killed_run_has_measured_can_be_shown(gate, name):
    run = gate(ending(f"os.kill(os.getpid(), signal.{name})"))
    assert run.status == -signal.Signals[name]
    (folder,) = run.folders
    assert not (folder / "run.json").exists()
    assert run.record.interrupted.endswith("test_rate[int8]")
    assert run.verdicts == {"int4": "pass", "int8": "incomplete"}
    shown = subprocess.run(
        [sys.executable, "-m", "harness.cli.main", "report", str(folder)],
        capture_output=True, text=True, encoding="utf-8", cwd=ROOT, check=True, timeout=60,
    ).stdout  # fmt: skip
    assert "INTERRUPTED: " in shown
    assert "int8: never judged: exact_match_rate" in shown


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals")
def test_a_run_stopped_by_hand_is_undecided_and_says_so(gate):
    run = gate(ending("os.kill(os.getpid(), signal.SIGINT)"))
    assert run.status == ExitStatus.UNDECIDED, run.output
    assert "INTERRUPTED: stopped by Ctrl-C, so nothing is recommended" in run.output
    assert run.record.interrupted == "stopped by Ctrl-C"
    assert run.record.variants["int4"].verdict is Verdict.PASS


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such limits")
def test_a_record_that_cannot_be_written_decides_nothing(gate):
    full = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))"
    run = gate(ending(full))
    assert run.status == ExitStatus.UNDECIDED, run.output
    assert "the record could not be kept: the disk is full, or a limit is reached" in run.output
    assert "int4: PASS" in run.output
    assert "INTERNALERROR" not in run.output
    assert "Traceback" not in run.output


@pytest.mark.slow
def test_a_worker_that_dies_is_red_and_its_variant_is_named(gate):
    run = gate(ending("os._exit(9)"), "-n2", "--max-worker-restart=0")
    assert run.status == ExitStatus.FAIL, run.output
    assert run.verdicts["int8"] == "fail"
    assert "crashed while running" in run.record.variants["int8"].problems[0].message


@pytest.mark.parametrize("option", ["--collect-only", "--fixtures", "--setup-plan"])
def test_what_only_shows_something_leaves_no_record(gate, option):
    run = gate(SUITE, option)
    assert run.status == 0, run.output
    assert run.folders == []


def test_what_pytest_cannot_start_is_an_error_and_no_verdict(gate):
    run = gate(SUITE, paths=("suites/test_nowhere.py",))
    assert run.status == pytest.ExitCode.USAGE_ERROR
    assert "file or directory not found: suites/test_nowhere.py" in run.output
    assert "recommended" not in run.output
    assert run.folders == []


def test_a_record_of_another_version_cannot_be_mistaken(gate):
    run = gate()
    (folder,) = run.folders
    plain = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**plain, "schema_version": 99}))
    done = subprocess.run(
        [sys.executable, "-m", "harness.cli.main", "report", str(folder)],
        capture_output=True, text=True, encoding="utf-8", cwd=ROOT, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == ExitStatus.UNUSABLE_INPUT
    assert "schema_version 99; this slm-gate reads up to" in done.stderr
