"""Foundry Local takes the variant, lists it, loads it, and answers through it as the bare runtime does."""

import pytest


def test_prompt_is_the_source_models(prompt_difference):
    """The artifact's chat template renders every question as the source model's does."""
    if prompt_difference:
        pytest.fail(f"the artifact prompts differently from the source model: {prompt_difference}", pytrace=False)


def test_foundry_local_lists_and_loads_it(foundry_host, registered_model, foundry_session):
    """Registering checks inference_model.json's PromptTemplate against the chat template too."""
    assert registered_model.model_id in foundry_host.listed()
    assert foundry_session.context_length > 0


def test_foundry_local_gives_the_same_answers(judge, foundry_parity):
    judge(foundry_parity, "foundry_same_answer_rate")
