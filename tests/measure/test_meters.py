"""Ways to read a process's memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import MeasureError
from harness.measure.children import meters

ROLLUP = b"""55d0-7ffe ---p 00000000 00:00 0                          [rollup]
Rss:                1760 kB
Anonymous:           %d kB
Swap:                %d kB
"""


def test_an_unknown_method_is_an_error():
    with pytest.raises(MeasureError, match="guess"):
        meters.choose_meter("guess")


def test_every_meter_reads_a_positive_number():
    meter = meters.choose_meter()
    assert meter.in_use_bytes() > 0
    assert meter.anonymous_bytes is None or meter.anonymous_bytes() > 0


def test_settling_can_be_repeated():
    meters.settle()
    meters.settle()


@pytest.mark.parametrize(("resident_kib", "swapped_kib"), [(112, 0), (100, 12), (0, 112)])
def test_memory_that_was_swapped_out_counts(resident_kib, swapped_kib):
    assert meters.parse_anonymous(ROLLUP % (resident_kib, swapped_kib)) == 112 * 1024


@pytest.mark.parametrize("missing", [b"Anonymous", b"Swap"])
def test_a_line_that_is_missing_is_named(missing):
    text = b"\n".join(line for line in (ROLLUP % (1, 1)).splitlines() if not line.startswith(missing))
    with pytest.raises(MeasureError, match=missing.decode()):
        meters.parse_anonymous(text)


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux's /proc")
def test_the_kernels_own_text_can_be_read():
    assert meters.parse_anonymous(meters.SMAPS.read_bytes()) > 1024**2
