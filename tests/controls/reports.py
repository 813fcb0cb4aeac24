"""Situations of public reports, with what comes out of them here and the tests that hold it."""

from __future__ import annotations

_FAMILIES = "tests/families/test_families.py::"
_LIVE = "tests/source/test_merge_live.py::test_a_merge_computes_what_the_live_model_does"
_PLAN = "tests/source/test_merge_plan.py::"
_ENDS = "tests/source/test_ends.py::"
_PLANTED = "tests/verify/test_planted_graphs.py::test_a_planted_fault_is_told_twice"
_FAULTS = "tests/faults/test_gate_catches_faults.py::"
_CONVERTED = f"{_FAMILIES}test_every_family_is_converted_and_its_differences_are_told"

REPORTS: list[tuple[str, str, str, str]] = [
    (
        "Qwen3's, Llama 3.1's, GPT-OSS's and DeepSeek-V3's published tokenizers: a blank line that holds a space gets "
        "other ids in the runtime",
        "onnxruntime-genai",
        "converted; rates by category, first texts and cause are told, and the domain's own texts decide",
        f"{_CONVERTED} {_FAMILIES}test_the_causes_are_those_that_are_known",
    ),
    (
        "Gemma 3's: code and Markdown with runs of spaces get other ids",
        "onnxruntime-genai",
        "converted, and told",
        f"{_CONVERTED} {_FAMILIES}test_the_causes_are_those_that_are_known",
    ),
    (
        "whole gates of Qwen3, Llama 3.1, Gemma 3, Llama 2, TinyLlama: built-in conversations that no domain asks for",
        "onnxruntime-genai",
        "green; what the runtime renders otherwise informs, with its cause",
        f"{_FAMILIES}test_a_whole_gate_is_green {_FAMILIES}test_conversion_and_deployment_suites_are_green",
    ),
    (
        "a domain whose own questions are tokenised, or rendered, otherwise",
        "",
        "red, with cause and cost; never advised to convert again",
        f"{_FAMILIES}test_a_domain_that_is_tokenised_otherwise_is_red_with_cause_and_cost "
        f"{_FAMILIES}test_a_domain_that_is_rendered_otherwise_is_red_and_never_advised_to_convert_again",
    ),
    (
        "SentencePiece-like tokenizers that transformers 5 rebuilds on loading",
        "transformers PR 47700, onnxruntime-extensions 984",
        "which of the two is the model's follows from who wrote the folder, and is told; nothing is refused",
        f"{_FAMILIES}test_of_two_tokenizers_the_models_is_told_and_used "
        "tests/toolchain/test_model_tokenizer.py::test_the_models_tokenizer_is_the_one_that_training_used",
    ),
    (
        "templates that ask `'</think>' in content`",
        "onnxruntime-genai 1835, onnxruntime-extensions 1081",
        "`convert` says which conversations the runtime renders otherwise, and why; the gate judges the domain's",
        f"{_FAMILIES}test_a_reasoning_template_is_rendered_otherwise_and_the_cause_is_told "
        "tests/prompts/test_rendering.py::test_what_the_runtimes_jinja_cannot_do_is_found",
    ),
    (
        "no file says how an answer ends",
        "onnxruntime-genai 1824",
        'refused: "nothing says how an answer ends", with the entry to write',
        f"{_ENDS}test_a_model_that_says_of_no_end_is_refused",
    ),
    (
        "an adapter trained with another template than its base's",
        "unsloth 188, text-generation-inference 3247",
        "merged with the adapter's template; two of one folder are both named",
        "tests/source/test_merge.py::test_the_adapters_template_outranks_the_bases "
        "tests/source/test_merge.py::test_both_files_of_an_adapter_are_named_where_their_templates_differ",
    ),
    (
        "embeddings trained over a tied head (`modules_to_save`), one of the two or both",
        "peft 2777, 2018 and 2376",
        "what live PEFT computes, to 1e-9 nats",
        f"{_LIVE} {_PLAN}test_a_matrix_that_embedding_and_head_share",
    ),
    (
        "`trainable_token_indices`",
        "transformers 45127",
        "what live PEFT computes",
        _LIVE,
    ),
    (
        "tokens added and embeddings resized, with the adapter's own tokenizer",
        "peft 2898, LlamaFactory 7997",
        "merged, vocabulary and tokenizer with it; one of two matrices resized is refused",
        f"{_LIVE} {_PLAN}test_tokens_that_were_added_change_the_vocabulary "
        "tests/source/test_merge.py::test_nothing_of_the_bases_tokenizer_stays_beside_the_adapters",
    ),
    (
        "a `config.json` beside an adapter",
        "axolotl 1391",
        "merged; special tokens are the adapter's, everything else the base's",
        "tests/source/test_merge.py::test_a_config_beside_an_adapter_is_its_bases_but_for_the_special_tokens",
    ),
    (
        "empty tensors of a sharded save",
        "trl 4416, peft 2892",
        "refused: gather them before saving",
        f"{_PLAN}test_what_peft_would_not_load_or_not_load_whole_is_refused",
    ),
    (
        "configs that name the base's end: with free text no answer ends",
        "Qwen3 1064, LlamaFactory 7454",
        "warned of at conversion with the entry to write, and red: `truncated_answer_rate`",
        f"{_ENDS}test_answers_that_never_end_are_told_with_the_fix "
        "tests/cli/test_convert_with_toolchain.py::test_answers_that_may_never_end_are_warned_of_and_the_warning_is_kept "
        f"{_FAULTS}test_answers_of_free_text_that_never_end",
    ),
    (
        "an `inference_model.json` of another family beside an adopted folder",
        "Foundry-Local 1001",
        "red, with the first difference",
        f"{_FAULTS}test_an_inference_model_of_another_family_beside_an_adopted_folder_is_named",
    ),
    (
        "a graph that changes its sign behind a letter",
        "",
        "red twice: by its operators, and by logits in many scripts",
        f"{_PLANTED} {_FAULTS}test_a_graph_that_changes_its_sign_behind_a_letter",
    ),
    (
        "a graph that is NaN behind 1,500 of 2,048 tokens",
        "",
        "red, with the token behind which it is",
        f"{_PLANTED} {_FAULTS}test_a_graph_that_breaks_down_behind_1500_tokens",
    ),
    (
        "a graph that carries a matrix of its own",
        "",
        "red, with its name, shape and size",
        f"{_PLANTED} tests/verify/test_compare_graphs.py::test_what_is_more_than_rounding_is_told_by_name",
    ),
]
"""Situation, where it was reported, what comes out, tests."""
