"""Unfriendly prompts get a valid answer or a clean refusal, and harm nobody after them."""


def test_edge_cases_and_invalid_input_are_handled(judge, edge_cases):
    judge(edge_cases, "edge_case_rate")
