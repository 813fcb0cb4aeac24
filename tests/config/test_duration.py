import pytest

from harness.config.duration import parse_duration_s
from harness.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "seconds"), [("8h", 28800), ("90m", 5400), ("1h30m", 5400), ("45s", 45), ("0.5h", 1800), ("2m5s", 125)]
)
def test_durations_are_read_as_people_type_them(text, seconds):
    assert parse_duration_s(text, where="--soak") == seconds


@pytest.mark.parametrize("text", ["", "8", "h", "8 h", "-8h", "0h", "8d", "8h later", "nan"])
def test_what_is_none_is_refused_with_examples(text):
    with pytest.raises(ConfigError, match=r"is no duration(.|\n)*--soak(.|\n)*8h"):
        parse_duration_s(text, where="--soak")
