import pytest

from harness.metrics.units import format_bytes, format_metric, format_seconds


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
    ("name", "value", "text"),
    [
        ("ttft_p95_s", 0.0123, "12.3 ms"),
        ("decode_tokens_per_second", 1234.5, "1,234/s"),
        ("size_bytes", 1024, "1.0 KiB"),
        ("leak_bytes_per_request", 0.25, "0.2 B"),
        ("exact_match_rate", 0.9512, "95.1 %"),
        ("kld_mean_nats", 1.2e-4, "1.20e-04"),
        ("length_drop_points", 2.0, "2.0 pt"),
        ("anything", None, "-"),
        ("anything_s", float("nan"), "NaN"),
    ],
)
def test_a_metrics_unit_follows_from_its_name(name, value, text):
    assert format_metric(name, value) == text
