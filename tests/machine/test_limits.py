"""What the machine can do at most, and the energy that it takes."""

import pytest

from harness.machine.bandwidth import LARGEST_BYTES, machine_limits, read_bytes_per_second
from harness.machine.energy import EnergyReading, read_energy, used_joules


def test_limits_are_rates_of_this_machine_and_of_the_size_that_is_read():
    found = machine_limits(3_000_000)
    assert found.buffer_bytes == 2**22
    assert found.read_bytes_per_second > 1e7
    assert found.operations_per_second > 1e7
    again = machine_limits(2**22)
    assert found.is_disturbed or again is found  # measured once, unless it was disturbed
    assert LARGEST_BYTES <= 2**28


def test_a_buffer_smaller_than_a_number_for_each_processor_can_be_read():
    assert read_bytes_per_second(8) > 0


def package(folder, number, joules, whole=1000):
    place = folder / f"intel-rapl:{number}"
    place.mkdir(parents=True)
    (place / "energy_uj").write_text(f"{int(joules * 1e6)}\n")
    (place / "max_energy_range_uj").write_text(f"{int(whole * 1e6)}\n")
    return place


def test_energy_is_the_sum_of_packages_and_not_of_their_parts(tmp_path):
    first, _ = package(tmp_path, "0", 10), package(tmp_path, "1", 20)
    package(tmp_path, "0:0", 5)
    before = read_energy(tmp_path)
    (first / "energy_uj").write_text("14000000")
    assert used_joules(before, read_energy(tmp_path)) == pytest.approx(4)


def test_a_counter_that_begins_again_is_not_negative():
    before = EnergyReading(joules=(990.0,), ranges_joules=(1000.0,))
    after = EnergyReading(joules=(5.0,), ranges_joules=(1000.0,))
    assert used_joules(before, after) == pytest.approx(15)


def test_without_counters_energy_is_not_zero_but_unknown(tmp_path):
    assert read_energy(tmp_path) is None
    assert used_joules(None, None) is None
    (package(tmp_path, "0", 1) / "energy_uj").unlink()
    assert read_energy(tmp_path) is None
