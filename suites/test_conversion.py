"""Every variant is built, complete, loads, and is what was asked for."""


def test_artifact_is_complete_and_what_was_asked_for(judge, conversion):
    """Inspected against the request, smoke-tested in a process of its own: or an error that names it."""
    judge(conversion, "artifact_matches_request", "size_bytes")


def test_tokenizer_is_the_sources(judge, tokenizer_match):
    """tokenizer.json says what the source's does; the template's control tokens are whole in the runtime."""
    judge(tokenizer_match, "tokenizer_matches_source")


def test_domain_gets_the_sources_tokens(judge, tokenization):
    """The domain's prompts, answers and texts, in the runtime and in transformers."""
    judge(tokenization, "tokenizer_difference_rate")


def test_graph_computes_what_its_source_does(judge, graph_match):
    """Unquantised to 1e-6 nats, near and far; the variant is that rounded, token by token too, and the fine-tune."""
    judge(graph_match, "graph_matches_source")
