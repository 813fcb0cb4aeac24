"""Works begin together, or one after the other; each gives its own result or error."""

import threading
from functools import partial

import pytest

from harness.system.together import Together


def test_as_many_as_are_allowed_run_at_the_same_time():
    meet = threading.Barrier(3, timeout=20)
    with Together(dict.fromkeys("abc", meet.wait), at_once=3) as works:
        assert {works.result(name) for name in "abc"} == {0, 1, 2}


def test_one_at_a_time_begins_with_the_one_that_is_asked_for():
    order = []
    with Together({name: partial(order.append, name) for name in "abc"}, at_once=1) as works:
        assert order == []
        for name in "bac":
            works.result(name)
    assert order == ["b", "a", "c"]


def test_works_begin_before_any_result_is_asked_for():
    began = threading.Event()
    with Together({"a": began.set}, at_once=1) as works:
        works.begin()
        assert began.wait(timeout=20)
        works.begin()
        works.result("a")
    with Together({}, at_once=1) as nothing:
        nothing.begin()


def test_an_error_is_the_works_own():
    def fail():
        raise ValueError("mine")

    with Together({"bad": fail, "good": lambda: 1}, at_once=2) as works:
        with pytest.raises(ValueError, match="mine"):
            works.result("bad")
        assert works.result("good") == 1
        with pytest.raises(KeyError):
            works.result("unknown")


def test_what_has_not_begun_is_dropped():
    began = []
    with Together({"a": lambda: began.append("a")}, at_once=1):
        pass
    assert began == []
