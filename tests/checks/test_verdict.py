import pytest

from harness.checks.check import Outcome
from harness.checks.verdict import ExitStatus, Verdict, exit_status, recommend, verdict_of


@pytest.mark.parametrize(
    ("outcomes", "required", "problems", "verdict"),
    [
        ({"a": Outcome.PASS}, ["a"], [], Verdict.PASS),
        ({"a": Outcome.PASS, "b": Outcome.FAIL}, ["a", "b"], [], Verdict.FAIL),
        ({"a": Outcome.PASS}, ["a"], ["test_x"], Verdict.FAIL),
        ({"a": Outcome.PASS, "b": Outcome.NO_DATA}, ["a", "b"], [], Verdict.NO_DATA),
        ({"a": Outcome.PASS}, ["a", "b"], [], Verdict.INCOMPLETE),
        ({}, [], [], Verdict.INCOMPLETE),
        ({"a": Outcome.INCONCLUSIVE, "b": Outcome.PASS}, ["a", "b"], [], Verdict.INCONCLUSIVE),
        ({"a": Outcome.INCONCLUSIVE}, ["a", "b"], [], Verdict.INCOMPLETE),
        ({"a": Outcome.INCONCLUSIVE, "b": Outcome.FAIL}, ["a", "b"], [], Verdict.FAIL),
    ],
)
def test_verdicts(outcomes, required, problems, verdict):
    assert verdict_of(outcomes, required, problems) is verdict


def test_the_smallest_passing_variant_is_recommended():
    sizes = {"int4": 4.0, "int8": 8.0, "fp16": 16.0}
    verdicts = dict.fromkeys(sizes, Verdict.PASS)
    assert recommend(verdicts, sizes) == "int4"
    assert recommend({**verdicts, "int4": Verdict.FAIL}, sizes) == "int8"
    assert recommend({**verdicts, "int4": Verdict.INCOMPLETE}, {**sizes, "int8": None}) == "fp16"
    assert recommend(dict.fromkeys(sizes, Verdict.FAIL), sizes) is None


@pytest.mark.parametrize(
    ("verdicts", "problems", "inconclusive", "status"),
    [
        ([Verdict.PASS, Verdict.PASS], [], "red", ExitStatus.PASS),
        ([Verdict.PASS, Verdict.FAIL, Verdict.NO_DATA], [], "red", ExitStatus.FAIL),
        ([Verdict.PASS], ["the suites cannot be read"], "red", ExitStatus.FAIL),
        ([Verdict.PASS, Verdict.NO_DATA], [], "green", ExitStatus.UNDECIDED),
        ([Verdict.PASS, Verdict.INCOMPLETE], [], "green", ExitStatus.UNDECIDED),
        ([Verdict.PASS, Verdict.INCONCLUSIVE], [], "red", ExitStatus.UNDECIDED),
        ([Verdict.PASS, Verdict.INCONCLUSIVE], [], "green", ExitStatus.PASS),
        ([], [], "red", ExitStatus.UNDECIDED),
    ],
)
def test_the_exit_status_follows_from_the_verdicts(verdicts, problems, inconclusive, status):
    assert exit_status(verdicts, problems, inconclusive) is status
