"""Every answer has the form that programs rely on."""


def test_answers_meet_the_response_schema(judge, domain_quality):
    judge(domain_quality, "json_valid_rate")


def test_answers_end(judge, domain_quality):
    judge(domain_quality, "truncated_answer_rate", "repeating_answer_rate")


def test_answers_stand_alone(judge, domain_quality):
    judge(domain_quality, "text_around_rate", "thinking_rate")
