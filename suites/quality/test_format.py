"""Every answer has the form that programs rely on."""


def test_answers_meet_the_response_schema(judge, domain_quality):
    judge(domain_quality, "json_valid_rate")
