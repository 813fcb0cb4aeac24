"""The suites read as acceptance criteria, and the plug-in modules do what they promise."""

import ast
from pathlib import Path

import pytest

from fixtures.variants import variant_in

ROOT = Path(__file__).resolve().parent.parent
SUITES = sorted((ROOT / "suites").rglob("test_*.py"))
CHECKLIST = {
    "test_conversion.py",
    "test_deployment.py",
    "quality/test_domain_relevance.py",
    "quality/test_format.py",
    "quality/test_edge_cases.py",
    "quality/test_memory_leaks.py",
    "quality/test_length_consistency.py",
    "performance/test_latency.py",
    "performance/test_memory.py",
    "performance/test_cpu.py",
    "performance/test_load.py",
    "test_precision_comparison.py",
    "test_regression.py",
}


def test_one_file_per_item_of_the_checklist():
    assert {file.relative_to(ROOT / "suites").as_posix() for file in SUITES} == CHECKLIST


@pytest.mark.parametrize("file", SUITES, ids=lambda file: file.stem)
def test_criteria_are_short_and_say_what_they_are(file):
    tree = ast.parse(file.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    for test in (node for node in tree.body if isinstance(node, ast.FunctionDef)):
        assert test.end_lineno - test.lineno < 10, test.name


def test_every_metric_names_a_suite_that_exists():
    from harness.metrics.catalogue import METRICS

    assert {metric.suite for metric in METRICS.values()} <= CHECKLIST


@pytest.fixture
def run(pytester, monkeypatch):
    """Runs a small test file with the gate's plug-in modules, in a process of its own."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))

    def start(body, *options):
        pytester.makepyfile(body)
        plugins = [f"-pfixtures.{name}" for name in ("options", "progress", "alone", "recording")]
        return pytester.runpytest_subprocess(*plugins, *options)

    return start


def test_an_error_for_the_user_has_no_traceback_and_is_said_once(run):
    result = run(
        """
        import pytest
        from harness.errors import SessionError

        @pytest.fixture(scope="session")
        def broken():
            raise SessionError("cannot load", where="there", next_step="mend it")

        def test_one(broken): ...
        def test_two(broken): ...
        """
    )
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(["cannot load", "  where: there", "  next:  mend it", "as above: cannot load"])
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*def broken*")


def test_an_ordinary_failure_keeps_its_traceback(run):
    result = run("def test_it(): assert 1 == 2")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*assert 1 == 2*"])


def test_progress_is_seen_while_output_is_captured(run):
    result = run(
        """
        def test_it(progress):
            print("captured")
            progress.line("half way")
        """
    )
    result.stdout.fnmatch_lines(["*half way"])
    result.stdout.no_fnmatch_line("captured")


def test_n_alone_keeps_a_variant_on_one_worker(run):
    result = run("def test_it(pytestconfig): assert 'PYTEST_XDIST_WORKER' in __import__('os').environ", "-n1", "-v")
    result.assert_outcomes(passed=1)


ALONE = """
    import json, time
    from pathlib import Path
    import pytest

    @pytest.fixture(autouse=True)
    def noted(request):
        began = time.time()
        yield
        line = json.dumps([request.node.name, began, time.time()])
        with Path({folder!r}, "log").open("a") as stream:
            stream.write(line + "\\n")

    @pytest.mark.parametrize("n", range(4))
    def test_shared(n): time.sleep(0.2)

    @pytest.mark.alone
    @pytest.mark.parametrize("n", range(2))
    def test_alone(n): time.sleep(0.2)
"""


def test_what_measures_time_runs_alone_under_xdist(run, pytester):
    folder = pytester.mkdir("run")
    pytester.makeini("[pytest]\nmarkers =\n  alone")
    run(ALONE.format(folder=str(folder)), "-n2").assert_outcomes(passed=6)
    rows = [ast.literal_eval(line) for line in (folder / "log").read_text().splitlines()]
    alone = [row for row in rows if row[0].startswith("test_alone")]
    assert len(alone) == 2
    for name, began, ended in alone:
        overlapping = [other for other, start, end in rows if other != name and start < ended and began < end]
        assert not overlapping, (name, overlapping)


@pytest.mark.parametrize(("options", "passed"), [([], 1), (["--load"], 2)])
def test_load_runs_only_when_it_is_asked_for(pytester, monkeypatch, options, passed):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pytester.makeini("[pytest]\nmarkers =\n  load")
    pytester.makepyfile("import pytest\ndef test_one(): ...\n@pytest.mark.load\ndef test_two(): ...")
    result = pytester.runpytest_subprocess("-pfixtures.options", "-pfixtures.variants", *options)
    result.assert_outcomes(passed=passed, deselected=2 - passed)


@pytest.mark.parametrize(("lengths", "timed"), [((64,), 0), ((64, 256, 1024), 2)])
def test_longer_prompts_are_timed_only_where_there_are_some(pytester, monkeypatch, lengths, timed):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pytester.makeconftest(
        f"""
        from types import SimpleNamespace
        from fixtures.options import GATE
        from harness.config.benchmark import BenchmarkSettings

        def pytest_configure(config):
            benchmark = BenchmarkSettings(prompt_tokens={lengths})
            settings = SimpleNamespace(variants=("int4",), benchmark=benchmark)
            config.stash[GATE] = SimpleNamespace(config=settings, run_folder="none")
        """
    )
    pytester.makepyfile("def test_first(variant): ...\ndef test_longer(variant, latency_point): ...")
    result = pytester.runpytest_subprocess("-pfixtures.options", "-pfixtures.variants")
    result.assert_outcomes(passed=1 + timed, deselected=0 if timed else 1)


def test_what_is_timed_computes_as_it_is_deployed(pytester, monkeypatch):
    """What is asked computes on all cores; what is timed, with the threads of gate.toml, in one file after another."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pytester.makeconftest(
        """
        from contextlib import contextmanager
        from types import SimpleNamespace
        import pytest

        class Session:
            threads = "all"

            @contextmanager
            def computing_with(self, threads):
                self.threads = threads
                yield
                self.threads = "all"

        @pytest.fixture(scope="session")
        def gate():
            return SimpleNamespace(config=SimpleNamespace(benchmark=SimpleNamespace(threads=3)))

        @pytest.fixture(scope="session")
        def session():
            return Session()
        """
    )
    asked = "def test_asked(session): assert session.threads == 'all'"
    timed = "def test_timed(timed_session, session): assert session.threads == timed_session.threads == 3"
    pytester.makepyfile(test_a=asked, test_b=f"{timed}\n{timed.replace('timed(', 'again(')}", test_c=asked)
    result = pytester.runpytest_subprocess("-pfixtures.sessions")
    result.assert_outcomes(passed=4)


def test_a_variant_stays_on_one_worker(pytester, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pytester.makeconftest(
        """
        from types import SimpleNamespace
        from fixtures.options import GATE

        def pytest_configure(config):
            settings = SimpleNamespace(variants=("int4", "int4-mine"))
            config.stash[GATE] = SimpleNamespace(config=settings, run_folder="none")
        """
    )
    pytester.makepyfile(
        """
        import os, pytest, time
        from pathlib import Path

        @pytest.mark.parametrize("n", range(6))
        def test_it(variant, n):
            time.sleep(0.1)
            with Path("log").open("a") as stream:
                stream.write(f"{variant} {os.environ['PYTEST_XDIST_WORKER']}\\n")
        """
    )
    result = pytester.runpytest_subprocess("-pfixtures.options", "-pfixtures.variants", "-n2")
    result.assert_outcomes(passed=12)
    seen = set((pytester.path / "log").read_text().splitlines())
    assert sorted(line.split()[0] for line in seen) == ["int4", "int4-mine"], seen
    assert len({line.split()[1] for line in seen}) == 2, seen


@pytest.mark.parametrize(
    ("nodeid", "found"),
    [
        ("suites/a.py::test_x[int4]", "int4"),
        ("suites/a.py::test_x[int4-mine-1024]", "int4-mine"),
        ("suites/a.py::test_x[int42]", None),
        ("suites/a.py::test_x", None),
    ],
)
def test_a_tests_variant_is_read_from_its_id(nodeid, found):
    assert variant_in(nodeid, ("int4", "int4-mine")) == found
