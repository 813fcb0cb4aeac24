"""Foundry Local takes the variant, lists it, loads it, and answers through it as the bare runtime does."""


def test_foundry_local_lists_and_loads_it(foundry_session, foundry_listing, registered_model):
    """Registered in a private Foundry Local, it is listed and answers."""
    assert registered_model.model_id in foundry_listing


def test_foundry_local_gives_the_same_answers(judge, foundry_parity):
    judge(foundry_parity, "foundry_same_answer_rate")


def test_prompt_template_for_foundry_is_the_models(foundry_template_differences):
    """The PromptTemplate of inference_model.json renders what the model was trained on."""
    assert not foundry_template_differences, foundry_template_differences
