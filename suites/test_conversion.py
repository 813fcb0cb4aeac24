"""Every variant is built, complete, loads, and is what was asked for."""


def test_artifact_is_complete_and_what_was_asked_for(judge, conversion):
    """Inspected against the request, proved to answer in a process of its own: or an error that names it."""
    judge(conversion, "size_bytes")
