"""Loads the fixture modules; see fixtures/README.md."""

pytest_plugins = [
    "pytester",  # for tests/
    "fixtures.options",
    "fixtures.progress",
    "fixtures.variants",
    "fixtures.alone",
    "fixtures.models",
    "fixtures.sessions",
    "fixtures.measuring",  # before those that import from it
    "fixtures.deployment",
    "fixtures.memory",
    "fixtures.prompting",
    "fixtures.load",
    "fixtures.regression",
    "fixtures.recording",
]
