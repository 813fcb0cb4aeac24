"""Foundry Local takes the variant, lists it, loads it, answers as the bare runtime does, and lets it go again."""

import pytest


def test_prompt_is_the_source_models(judge, prompt_match):
    """The runtime renders every question of the domain as the source model's chat template does."""
    judge(prompt_match, "prompt_matches_source")


def test_foundry_local_lists_and_loads_it(judge, registration):
    judge(registration, "foundry_lists_model", "foundry_loads_model")


def test_inference_model_says_what_the_chat_template_says(judge, shipped_inference_model):
    """The one that came with an adopted folder; the gate writes its own for what it converts."""
    judge(shipped_inference_model, "inference_model_matches")


def test_every_way_to_prompt_gives_the_same_tokens(judge, prompt_parity):
    """The domain's questions: text, ids, one beginning, the same ends, control tokens whole; others inform."""
    judge(prompt_parity, "prompt_tokens_match")


def test_foundry_local_gives_the_same_answers_in_process(judge, foundry_parity):
    judge(foundry_parity, "foundry_same_answer_rate")


def test_foundry_local_gives_the_same_answers_over_http(judge, foundry_parity):
    """Streaming and not: text, finish reason and token counts."""
    judge(foundry_parity, "foundry_http_same_answer_rate", "foundry_stream_same_answer_rate")


def test_stop_strings_seeds_and_temperature_do_what_they_say(judge, request_options):
    judge(request_options, "request_options_obeyed")


def test_bad_requests_are_refused_and_the_service_lives_on(judge, service_refusals):
    judge(service_refusals, "foundry_refusal_rate")


def test_unloading_gives_the_memory_back(judge, unloading):
    """And the model answers as before when it is loaded again."""
    judge(unloading, "foundry_unload_retention_bytes", "same_answer_after_reload")


@pytest.mark.cache_route
def test_the_cache_folder_route_serves_it_too(judge, cache_route):
    judge(cache_route, "cache_route_serves_model")
