"""Foundry Local takes the variant, lists it, loads it, answers as the bare runtime does, and lets it go again."""

import pytest


def test_prompt_is_the_source_models(prompt_difference):
    """The artifact's chat template renders every question as the source model's does."""
    if prompt_difference:
        pytest.fail(f"the artifact prompts differently from the source model: {prompt_difference}", pytrace=False)


def test_foundry_local_lists_and_loads_it(foundry_host, registered_model, foundry_session):
    """Registering checks inference_model.json's PromptTemplate against the chat template too."""
    assert registered_model.model_id in foundry_host.listed()
    assert foundry_session.context_length > 0


def test_every_way_to_prompt_gives_the_same_tokens(prompt_parity):
    """Text, ids, one beginning, the same ends, control tokens whole: transformers, runtime, PromptTemplate, Foundry."""
    if prompt_parity:
        pytest.fail("\n".join(prompt_parity[:3]), pytrace=False)


def test_foundry_local_gives_the_same_answers_in_process(judge, foundry_parity):
    judge(foundry_parity, "foundry_same_answer_rate")


def test_foundry_local_gives_the_same_answers_over_http(judge, foundry_parity):
    """Streaming and not: text, finish reason and token counts."""
    judge(foundry_parity, "foundry_http_same_answer_rate", "foundry_stream_same_answer_rate")


def test_stop_strings_seeds_and_temperature_do_what_they_say(request_difference):
    if request_difference:
        pytest.fail(f"over HTTP, {request_difference}", pytrace=False)


def test_bad_requests_are_refused_and_the_service_lives_on(judge, service_refusals):
    judge(service_refusals, "foundry_refusal_rate")


def test_unloading_gives_the_memory_back(judge, unloading, deployment):
    """And the model answers as before when it is loaded again."""
    judge(unloading, "foundry_unload_retention_bytes")
    assert deployment.facts["same_after_reload"]


@pytest.mark.cache_route
def test_the_cache_folder_route_serves_it_too(cache_route_difference):
    if cache_route_difference:
        pytest.fail(cache_route_difference, pytrace=False)
