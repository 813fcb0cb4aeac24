"""The same question gets the same answer, however much text stands before it."""


def test_answers_do_not_degrade_with_prompt_length(judge, length_consistency):
    judge(length_consistency, "length_drop_points")
