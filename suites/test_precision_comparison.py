"""Quantisation keeps what the source model predicts; the table and the recommendation follow at the end of the run."""


def test_mean_divergence_from_the_source_is_small(judge, divergence):
    judge(divergence, "kld_mean_nats")


def test_tail_divergence_from_the_source_is_small(judge, divergence):
    judge(divergence, "kld_p99_nats")


def test_most_likely_token_is_the_sources(judge, divergence):
    judge(divergence, "top1_agreement")


def test_right_answers_diverge_little(judge, divergence):
    judge(divergence, "answer_kld_mean_nats")


def test_most_likely_token_of_right_answers_is_the_sources(judge, divergence):
    judge(divergence, "answer_top1_agreement")


def test_right_answers_stay_as_likely(judge, divergence):
    judge(divergence, "perplexity_ratio")
