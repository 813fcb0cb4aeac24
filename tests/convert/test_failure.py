"""Olive's logs, read for the cause that its exit code hides."""

import pytest

from harness.convert.failure import cause_of, ignored_keys, no_model_error

TRACEBACK = 'Traceback (most recent call last):\n  File "x.py", line 1, in f\n'
SWALLOWED = f"[ERROR] [engine.py:728:_run_pass] Pass run failed.\n{TRACEBACK}KeyError: <Precision.INT8: 'int8'>\n"
PRUNED = "[INFO] FP16 is not supported on CPU.\n[WARNING] [engine.py:670:_run_pass] Invalid config, pruned.\n"
IGNORED = "[WARNING] Keys {'quantization_config', 'other'} are not part of ModelBuilderConfig. Ignoring them.\n"


@pytest.mark.parametrize(
    ("log", "error", "what", "next_step"),
    [
        (SWALLOWED, None, "KeyError: <Precision.INT8", "built-in int8 recipe"),
        (PRUNED, None, "no fp16 for CPU", "built-in fp16 recipe"),
        (
            "[WARNING] [engine.py:670:_run_pass] Invalid config, pruned.\n",
            None,
            "pruned the workflow",
            "correct that pass",
        ),
        (f"{TRACEBACK}ImportError: cannot import name 'x'\n", None, "do not fit each other", "pinned"),
        (f"{TRACEBACK}ModuleNotFoundError: No module named 'y'\n", None, "do not fit each other", "pinned"),
        (f"{TRACEBACK}OSError: [Errno 28] No space left on device\n", None, "disk is full", "free some space"),
        ("RuntimeError: DefaultCPUAllocator: not enough memory\n", None, "out of memory", "more memory"),
        ("", "a child process was killed by SIGKILL (out of memory?)", "out of memory", "more memory"),
        ("loading", "a child process was killed by SIGSEGV", "killed by SIGSEGV", "native crash"),
        ("", "AssertionError: in_features 64 must be divisible by group_size 128", "128 does not divide", "smaller"),
        (f"{TRACEBACK}AttributeError: multi_cache\n", None, "swallowed AttributeError: multi_cache", "architecture"),
        (
            f"{TRACEBACK}KeyError: 'model.final_layernorm'\n",
            None,
            "does not know this architecture",
            "int8:backend=genai",
        ),
        ("", "NotImplementedError: The x model is not currently supported.", "does not know this", "`artifact`"),
        ("", "ValueError: odd", "failed with ValueError: odd", "architecture"),
        ("nothing of note", None, "does not say why", "read the log"),
    ],
)
def test_the_cause_and_the_remedy_are_named(log, error, what, next_step):
    cause = cause_of(log, error)
    assert what in cause.what
    assert next_step in cause.next_step


def test_ignored_options_are_listed_once_with_their_owner():
    found = sorted(ignored_keys(IGNORED + IGNORED))
    assert found == ["other (of ModelBuilder)", "quantization_config (of ModelBuilder)"]
    assert ignored_keys("Keys are fine") == []


def test_the_error_names_variant_cause_and_log():
    error = no_model_error("int8", SWALLOWED + IGNORED, None, "/logs/int8.log")
    assert "int8: Olive wrote no model" in error.what
    assert "KeyError" in error.what
    assert "quantization_config" in error.what
    assert "/logs/int8.log" in error.where
