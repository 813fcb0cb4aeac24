import pytest

from harness.metrics.units import Unit, format_apart, format_bytes, format_seconds, format_value


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (8_388_608, "8.0 MiB"), (3 * 1024**4, "3.0 TiB")],
)
def test_bytes(value, text):
    assert format_bytes(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0 s"), (2.5, "2.5 s"), (0.0123, "12.3 ms"), (4.2e-6, "4.2 µs"), (3e-9, "3 ns")]
)
def test_seconds(value, text):
    assert format_seconds(value) == text


@pytest.mark.parametrize(
    ("unit", "value", "text"),
    [
        (Unit.SECONDS, 0.0123, "12.3 ms"),
        (Unit.PER_SECOND, 1234.5, "1,234/s"),
        (Unit.PER_SECOND, 12.34, "12.3/s"),
        (Unit.BYTES, 1024, "1.0 KiB"),
        (Unit.BYTES_PER_REQUEST, 0.25, "0.2 B"),
        (Unit.BYTES_PER_TOKEN, 4.0, "4.0 B"),
        (Unit.BYTES_PER_LOAD, 4096.0, "4.0 KiB"),
        (Unit.SHARE, 0.9512, "95.1 %"),
        (Unit.NATS, 1.2e-4, "1.20e-04"),
        (Unit.NATS, 0.1234, "0.123"),
        (Unit.POINTS, 2.0, "2.0 pt"),
        (Unit.RATIO, 1.0004, "1.000"),
        (Unit.YES_NO, 1.0, "yes"),
        (Unit.YES_NO, 0.0, "NO"),
        (Unit.SHARE, None, "-"),
        (Unit.SECONDS, float("nan"), "NaN"),
        (Unit.SECONDS, float("inf"), "infinite"),
    ],
)
def test_values_are_shown_in_their_unit(unit, value, text):
    assert format_value(unit, value) == text


@pytest.mark.parametrize(
    ("unit", "value", "edge", "texts"),
    [
        (Unit.SHARE, 0.9499, 0.95, ("94.99 %", "95.00 %")),
        (Unit.SHARE, 0.949999, 0.95, ("94.9999 %", "95.0000 %")),
        (Unit.SHARE, 0.9, 0.95, ("90.0 %", "95.0 %")),
        (Unit.SECONDS, 0.50001, 0.5, ("500.01 ms", "500 ms")),
        (Unit.BYTES, 67_108_865, 67_108_864, ("64.000001 MiB", "64.000000 MiB")),
        (Unit.SHARE, 0.95, 0.95, ("95.0 %", "95.0 %")),
        (Unit.SHARE, None, 0.95, ("-", "95.0 %")),
    ],
)
def test_numbers_that_differ_look_different(unit, value, edge, texts):
    assert format_apart(unit, value, edge) == texts
