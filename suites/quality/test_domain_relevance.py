"""The model knows its domain, and knows where it ends."""


def test_in_scope_questions_are_answered_exactly(judge, domain_quality):
    judge(domain_quality, "exact_match_rate")


def test_questions_kept_back_are_answered_exactly(judge, domain_quality):
    judge(domain_quality, "exact_match_final_rate")


def test_answers_have_most_of_what_is_asked_for(judge, domain_quality):
    judge(domain_quality, "partial_credit_rate")


def test_answers_are_not_lost_against_the_source_model(judge, domain_quality):
    judge(domain_quality, "exact_match_loss_points")


def test_out_of_scope_questions_are_declined(judge, domain_quality):
    judge(domain_quality, "out_of_scope_rate")
