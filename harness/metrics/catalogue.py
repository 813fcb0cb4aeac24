"""Every number that the gate publishes: its name, what it means, and which suite measures it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One row of the table of metrics."""

    name: str
    """With its unit at the end, as it stands in run.json and in limits."""

    meaning: str
    suite: str
    """File under suites/."""


def _metrics(suite: str, **meanings: str) -> list[Metric]:
    return [Metric(name=name, meaning=meaning, suite=suite) for name, meaning in meanings.items()]


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in [
        *_metrics("test_conversion.py", size_bytes="files of the artifact on disk"),
        *_metrics(
            "test_deployment.py",
            foundry_same_answer_rate="questions that Foundry Local answers in process as onnxruntime-genai does: text, "
            "finish reason, token counts",
            foundry_http_same_answer_rate="the same over HTTP",
            foundry_stream_same_answer_rate="the same over HTTP, streamed",
            foundry_refusal_rate="bad requests that the web service answers with a 4xx, the next good one unharmed",
            foundry_unload_retention_bytes="memory of a serving process after the model was unloaded against before",
        ),
        *_metrics(
            "quality/test_domain_relevance.py",
            exact_match_rate="in-scope questions whose whole answer is right",
            exact_match_dev_rate="the same, on the questions that tuning has seen",
            exact_match_final_rate="the same, on the questions kept back",
            exact_match_loss_points="percentage points of exact answers lost against the source model, same questions",
            out_of_scope_rate="out-of-scope questions that are declined as they should be",
        ),
        *_metrics("quality/test_format.py", json_valid_rate="answers that meet the response schema"),
        *_metrics(
            "quality/test_edge_cases.py",
            edge_case_rate="unfriendly prompts that are handled, with the next ordinary question unharmed",
        ),
        *_metrics(
            "quality/test_memory_leaks.py",
            leak_bytes_per_request="heap growth per request in onnxruntime-genai, lower quartile of segments",
            foundry_leak_bytes_per_request="the same through Foundry Local",
        ),
        *_metrics(
            "quality/test_length_consistency.py",
            length_drop_points="largest loss of exact answers, in percentage points, as the same questions get longer",
        ),
        *_metrics(
            "performance/test_latency.py",
            ttft_p50_s="median time from request to first token, tokenisation included",
            ttft_p95_s="95th percentile of the same",
            itl_p50_s="median gap between neighbouring tokens, pooled over requests",
            itl_p95_s="95th percentile of the same",
            tpot_mean_s="mean over requests of (last - first token) / (n - 1)",
            e2e_p50_s="median time from request to last token",
            prefill_tokens_per_second="prompt tokens / median TTFT",
            decode_tokens_per_second="1 / tpot_mean_s",
        ),
        *_metrics(
            "performance/test_memory.py",
            load_s="time to load the model in a fresh process, imports excluded",
            peak_rss_bytes="high-water mark of a fresh process that holds this model alone",
        ),
        *_metrics(
            "performance/test_cpu.py",
            cpu_utilization="CPU time / (wall time x usable cores) while answering, 1 = all cores busy",
            cpu_seconds_per_token="CPU time per generated token",
        ),
        *_metrics(
            "performance/test_load.py",
            load_same_answer_rate="requests of many clients at once that get a single client's answer",
            load_requests_per_second="requests answered by the web service with the most clients",
            load_ttft_p95_s="95th percentile of the time to first token with the most clients, their queue included",
            soak_same_answer_rate="requests in a row that get the first answer again",
            soak_growth_bytes="memory of the serving process after the last of them against after the first eighth",
        ),
        *_metrics(
            "test_precision_comparison.py",
            kld_mean_nats="mean KL divergence from the source model over positions",
            kld_p99_nats="99th percentile of the same",
            top1_agreement="positions whose most likely token is the source model's",
            perplexity="exp(mean negative log-likelihood) of right answers' tokens",
            perplexity_ratio="perplexity / the source model's on the same tokens",
        ),
    ]
}
