"""Two machines are comparable where nothing differs that times depend on, and otherwise it is said what does."""

import json
from dataclasses import replace

import pytest

from harness.machine.fingerprint import Fingerprint, differences, fingerprint

HERE = Fingerprint(
    processor="Made Up 9000",
    architecture="x86_64",
    instruction_set="abc",
    logical_cores=8,
    usable_cores=4,
    memory_bytes=16 * 2**30,
    system="Linux 6.8",
    python="CPython 3.11",
    versions={"onnxruntime-genai": "0.18.0"},
    settings={"OMP_NUM_THREADS": "2"},
)
OTHER = {
    "processor": ({"processor": "Made Up 9001"}, "processor: Made Up 9000, now Made Up 9001"),
    "fewer usable cores": ({"usable_cores": 2}, "usable cores: 4, now 2"),
    "cores unknown": ({"logical_cores": None}, "cores: 8, now none"),
    "half the memory": ({"memory_bytes": 8 * 2**30}, "memory: 16.0 GiB, now 8.0 GiB"),
    "system": ({"system": "Linux 6.9"}, "operating system: Linux 6.8, now Linux 6.9"),
    "release": ({"versions": {"onnxruntime-genai": "0.19.0"}}, "onnxruntime-genai: 0.18.0, now 0.19.0"),
    "a further package": (
        {"versions": {"onnxruntime-genai": "0.18.0", "onnxruntime": "1.31.0"}},
        "onnxruntime: none, now 1.31.0",
    ),
    "a variable unset": ({"settings": {}}, "OMP_NUM_THREADS: 2, now none"),
}


@pytest.mark.parametrize(("change", "told"), OTHER.values(), ids=OTHER)
def test_each_difference_is_found_and_named(change, told):
    found = differences(HERE, replace(HERE, **change))
    assert [str(one) for one in found] == [told]
    assert "memory_bytes" in change or replace(HERE, **change).digest != HERE.digest


@pytest.mark.parametrize("memory_bytes", [16 * 2**30, 16 * 2**30 - 4096, int(15.8 * 2**30)])
def test_the_same_machine_after_a_reboot_is_comparable(memory_bytes):
    again = replace(HERE, memory_bytes=memory_bytes)
    assert differences(HERE, again) == ()
    assert again.digest == HERE.digest


def test_this_machine_is_comparable_with_itself_also_from_a_file():
    here = fingerprint()
    stored = Fingerprint.from_dict(json.loads(json.dumps(here.as_dict())))
    assert differences(stored, fingerprint()) == ()
    assert stored == here
    assert here.logical_cores
    assert here.memory_bytes > 0
    assert "onnxruntime-genai" in here.versions


def test_a_setting_of_this_process_is_seen(monkeypatch):
    before = fingerprint()
    monkeypatch.setenv("OMP_NUM_THREADS", "97")
    assert [one.what for one in differences(before, fingerprint())] == ["OMP_NUM_THREADS"]
