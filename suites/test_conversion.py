"""Every variant is built, complete, loads, and is what was asked for."""


def test_artifact_is_complete_and_what_was_asked_for(artifact, judge, artifact_size):
    """Converted or adopted, inspected against the request, loaded in the serving runtime: or an error that names it."""
    judge(artifact_size, "size_bytes")


def test_tokenizer_and_prompt_are_the_sources(prompt_parity):
    """The artifact's chat template renders every question as the source model's does, token for token."""
    assert not prompt_parity, prompt_parity
