"""Loads the fixture modules; see fixtures/README.md."""

pytest_plugins = [
    "pytester",  # for tests/
    "fixtures.options",
    "fixtures.progress",
    "fixtures.variants",
    "fixtures.alone",
    "fixtures.models",
    "fixtures.sessions",
    "fixtures.deployment",
    "fixtures.prompting",
    "fixtures.load",
    "fixtures.measuring",
    "fixtures.recording",
]
