"""What stays of a model in Foundry Local after it was unloaded and after many requests, by hand and of a real one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from harness.config.target import CPU
from harness.errors import MeasureError, SessionError
from harness.foundry.opening import foundry_spec
from harness.pack.load import load_pack
from harness.runtime.fake import FakeSession
from harness.runtime.session import Message
from harness.serving.endurance import (
    LoadCycle,
    Unloading,
    measure_unloading,
    read_unloading,
)
from harness.serving.endurance_child import soak, unload
from harness.serving.soak import Soak, measure_soak, read_soak
from tests.serving.clients import QUESTION


def cycle(before: int, unloaded: int) -> LoadCycle:
    return LoadCycle(before_load_bytes=before, loaded_bytes=before + 50, unloaded_bytes=unloaded)


def test_what_remains_by_hand() -> None:
    cycles = (cycle(100, 110), cycle(110, 112), cycle(112, 116))
    found = Unloading(cycles=cycles, is_same_after_reload=True)
    assert (found.retention_bytes, found.retention_per_reload_bytes) == (10, 3.0)
    assert Unloading(cycles=cycles[:1], is_same_after_reload=True).retention_per_reload_bytes is None
    soak = Soak(requests=8, errors=("e",), wrong=("w",), memory_bytes=(100, 120, 121, 130))
    assert soak.growth_bytes == 10


def test_what_unloading_keeps_is_recorded() -> None:
    found = Unloading(cycles=(cycle(100, 1124), cycle(1124, 3172)), is_same_after_reload=False)
    measurement = found.measured.measurement
    assert measurement.estimate("foundry_unload_retention_bytes").value == 1024
    assert measurement.estimate("same_answer_after_reload").value == 0
    details = measurement.details["foundry_unload_retention_bytes"]
    assert details == "2 loads and unloads; each further one left 2.0 KiB behind"
    assert found.measured.samples == {"unloading": [found]}


def test_requests_in_a_row_have_a_rate_with_an_interval_and_show_what_went_wrong() -> None:
    found = Soak(requests=8, errors=("a: it broke off",), wrong=("b",), memory_bytes=(100, 120, 130)).measured
    rate, growth = (found.measurement.estimate(f"soak_{name}") for name in ("same_answer_rate", "growth_bytes"))
    assert (rate.value, rate.n, rate.has_interval) == (0.75, 8, True)
    assert (growth.value, growth.has_interval) == (10, False)
    told = found.measurement.details["soak_growth_bytes"].splitlines()
    assert told == ["8 requests in a row, 6 with the first answer", "a: it broke off", "b: another answer"]


UNLOADED = {
    "cycles": [{"before_load_bytes": 1, "loaded_bytes": 2, "unloaded_bytes": 1}],
    "is_same_after_reload": True,
}
SOAKED = {"requests": 8, "errors": [], "wrong": [], "memory_bytes": [1] * 9}


def test_a_child_that_did_less_than_asked_is_no_measurement() -> None:
    assert read_unloading(UNLOADED, cycles=1).retention_bytes == 0
    assert read_soak(SOAKED, requests=8).wrong == ()
    with pytest.raises(MeasureError, match="only 0 of 1 cycles"):
        read_unloading({**UNLOADED, "cycles": []}, cycles=1)
    for less in ({"requests": 7}, {"memory_bytes": [1]}):
        with pytest.raises(MeasureError, match="requests in a row were made"):
            read_soak({**SOAKED, **less}, requests=8)


def test_too_little_to_say_anything_is_refused(pack_folder: Path, tmp_path: Path) -> None:
    pack, spec = load_pack(pack_folder), foundry_spec(tmp_path, CPU, alias="x", home=tmp_path)
    with pytest.raises(MeasureError, match="without a cycle"):
        measure_unloading(spec, pack, cycles=0, log=tmp_path / "log")
    with pytest.raises(MeasureError, match="8 are the least"):
        measure_soak(spec, pack, requests=7, log=tmp_path / "log")


@pytest.mark.toolchain
@pytest.mark.foundry
@pytest.mark.alone
def test_a_real_model_lets_go_of_its_memory(demo_artifact: Path, pack_folder: Path, tmp_path: Path) -> None:
    spec = foundry_spec(demo_artifact, CPU, alias="let-go", home=tmp_path)
    found = measure_unloading(spec, load_pack(pack_folder), log=tmp_path / "log")
    assert found.is_same_after_reload
    assert found.retention_bytes < 32 * 1024**2
    assert found.retention_per_reload_bytes is not None
    assert found.retention_per_reload_bytes < 1024**2


@pytest.mark.toolchain
@pytest.mark.foundry
@pytest.mark.alone
def test_a_real_model_serves_on_without_growing(demo_artifact: Path, pack_folder: Path, tmp_path: Path) -> None:
    spec = foundry_spec(demo_artifact, CPU, alias="endure", home=tmp_path)
    found = measure_soak(spec, load_pack(pack_folder), requests=32, log=tmp_path / "log")
    assert (found.errors, found.wrong) == ((), ())
    assert abs(found.growth_bytes) < 4 * 1024**2


def job(requests: int) -> dict[str, Any]:
    return {"conversations": {"a": QUESTION}, "requests": requests, "segments": 8, "max_new_tokens": 8}


def test_a_wrong_answer_an_error_and_growth_in_a_row_of_requests_are_counted() -> None:
    asked = 0

    def answer(_messages: Sequence[Message]) -> str:
        nonlocal asked
        asked += 1
        if asked == 5:
            raise SessionError("it broke off")
        return "other" if asked == 9 else "same"

    sizes = iter(range(100, 200, 10))
    found = soak(FakeSession(answer), job(16), lambda: next(sizes))
    assert (found["requests"], found["errors"], found["wrong"]) == (16, ["a: it broke off"], ["a"])
    assert found["memory_bytes"] == list(range(100, 190, 10))


def for_long(stop: Path, **changes: Any) -> dict[str, Any]:
    asked = {"conversations": {"a": QUESTION}, "duration_s": 0.5, "looks": 16, "stop_file": str(stop)}
    return {**asked, "max_new_tokens": 8, **changes}


def test_a_soak_by_time_lasts_so_long_and_looks_at_the_memory_meanwhile(tmp_path: Path) -> None:
    found = read_soak(soak(FakeSession(lambda _: "same"), for_long(tmp_path / "stop"), lambda: 100), requests=None)
    assert found.requests > 0
    assert not found.is_broken_off
    assert len(found.memory_bytes) == len(found.request_s) + 1
    assert (set(found.memory_bytes), found.wrong, found.errors) == ({100}, (), ())
    assert found.measured.measurement.estimate("soak_same_answer_rate").value == 1.0


def test_growth_and_slowdown_of_a_soak_by_hand() -> None:
    times = (1.0, 1.0, *[1.2] * 12, 1.5, 1.5)
    whole = {"requests": 160, "errors": (), "wrong": (), "asked_s": 60.0, "lasted_s": 60.0}
    found = Soak(**whole, request_s=times, memory_bytes=(100, 150, 160, *[165] * 13, 170))
    assert found.slowdown_ratio == 1.5  # the last two parts of sixteen against the first two
    assert found.growth_bytes == 10  # 170 against 160, after the first eighth


def test_a_soak_that_is_broken_off_is_judged_by_what_it_saw(tmp_path: Path) -> None:
    stop, asked = tmp_path / "stop", 0

    def answer(_messages: Sequence[Message]) -> str:
        nonlocal asked
        asked += 1
        if asked == 40:
            stop.touch()
        return "other" if asked == 20 else "same"

    job = for_long(stop, duration_s=3600.0, looks=10**9)  # a look after every request
    found = read_soak(soak(FakeSession(answer), job, lambda: asked * 10), requests=None)
    assert found.is_broken_off
    assert (found.requests, found.wrong) == (39, ("a",))
    assert found.growth_bytes == 10 * (40 - 6)  # after the last request against after the first eighth
    measured = found.measured.measurement
    assert measured.estimate("soak_same_answer_rate").value == 38 / 39
    assert "of 3.6e+03 s: broken off" in measured.details["soak_growth_bytes"]


def test_a_soak_that_saw_too_little_says_nothing_of_growth_and_is_no_pass(tmp_path: Path) -> None:
    stop = tmp_path / "stop"

    def answer(_messages: Sequence[Message]) -> str:
        stop.touch()
        return "same"

    nothing = soak(FakeSession(answer), for_long(stop), lambda: 0)
    with pytest.raises(MeasureError, match="before its first request"):
        read_soak(nothing, requests=None)
    little = read_soak({**nothing, "requests": 1}, requests=None).measured.measurement
    assert little.estimate("soak_growth_bytes").is_missing
    assert little.estimate("soak_slowdown_ratio").is_missing


class Host:
    """Loads and unloads, and counts what it keeps."""

    kept_bytes = 0

    def load(self, _model: object) -> None:
        self.kept_bytes += 50

    def unload(self, _model: object) -> None:
        self.kept_bytes -= 40


def test_memory_around_loads_and_answers_after_them_are_kept() -> None:
    host, texts = Host(), iter(["a", "a", "b"])
    session = FakeSession(lambda _messages: next(texts))
    asked = {"question": QUESTION, "cycles": 2, "max_new_tokens": 8}
    found = unload(host, None, session, asked, lambda: host.kept_bytes)
    assert found["is_same_after_reload"]
    assert found["cycles"] == [
        {"before_load_bytes": 0, "loaded_bytes": 50, "unloaded_bytes": 10},
        {"before_load_bytes": 10, "loaded_bytes": 60, "unloaded_bytes": 20},
    ]
    texts = iter(["a", "b"])
    other = FakeSession(lambda _messages: next(texts))
    assert not unload(host, None, other, asked, lambda: 0)["is_same_after_reload"]
