"""Every number and every yes/no criterion that the gate publishes.

Table rows, formats, limits, the record and `docs/metrics.md` derive from this list. A name that is not in it is an
error where it is used.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from enum import StrEnum

from harness.errors import GateError
from harness.metrics.units import Unit, format_value


class Better(StrEnum):
    """Which way a metric improves."""

    LOWER = "lower"
    HIGHER = "higher"


class Group(StrEnum):
    """What a metric is about; tables are ordered by it."""

    CONVERSION = "conversion"
    QUALITY = "quality"
    DIVERGENCE = "divergence"
    SPEED = "speed"
    MEMORY = "memory"
    DEPLOYMENT = "deployment"
    REGRESSION = "regression"
    """Against another model or an earlier run: `slm-gate compare`, `--baseline`."""

    LOAD = "load"
    """Measured with `--load` only."""

    CACHE_ROUTE = "cache route"
    """Measured with `--cache-route` only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One entry of the catalogue."""

    name: str
    """As it stands in run.json and in limits; a number's name ends in its unit."""

    meaning: str
    """What the number says, or what is so when the criterion is met."""

    suite: str
    """File under suites/ that judges it."""

    group: Group
    unit: Unit
    better: Better = Better.LOWER
    parent: str | None = None
    """The metric that this one is a part or another view of."""

    estimator: str = "one reading"
    """How value and interval are found."""

    is_compared: bool = True
    """Whether it is a row of the precision comparison; the others stand in tables of their own."""

    is_by_kind: bool = False
    """Whether it is measured for the cases of each kind too, so that limits may be."""

    @property
    def is_criterion(self) -> bool:
        """Whether it is met or not, with a limit that is part of the gate."""
        return self.unit is Unit.YES_NO

    def format(self, value: float | None, digits: int = 3) -> str:
        """The value as people read it."""
        return format_value(self.unit, value, digits)


class UnknownMetricError(GateError):
    """A name that the catalogue does not have, in a suite or a measurement."""


_WILSON = "Wilson score interval over {}"
_PAIRED = "Newcombe's paired interval over cases"
_ORDER = "order statistics over {}"
_SEQUENCES = "clustered by text and answer"


def _share(
    name: str,
    meaning: str,
    suite: str,
    group: Group,
    over: str,
    parent: str | None = None,
    *,
    is_by_kind: bool = False,
) -> Metric:
    return Metric(
        is_by_kind=is_by_kind,
        name=name,
        meaning=meaning,
        suite=suite,
        group=group,
        unit=Unit.SHARE,
        better=Better.HIGHER,
        parent=parent,
        estimator=_WILSON.format(over),
    )


def _yes_no(name: str, meaning: str, suite: str, group: Group) -> Metric:
    return Metric(
        name=name,
        meaning=meaning,
        suite=suite,
        group=group,
        unit=Unit.YES_NO,
        better=Better.HIGHER,
        estimator="a fact",
    )


_REGRESSION = "test_regression.py"
_PAIRED_ROUNDS = "trimmed mean over pairs of rounds in turn, Student's t, error spent over the looks"
_CONVERSION, _DEPLOYMENT, _PRECISION = "test_conversion.py", "test_deployment.py", "test_precision_comparison.py"
_MEMORY = "performance/test_memory.py"
_FORMAT = "quality/test_format.py"
_LEAKS = "quality/test_memory_leaks.py"
_RELEVANCE, _LATENCY, _LOAD = (
    "quality/test_domain_relevance.py",
    "performance/test_latency.py",
    "performance/test_load.py",
)


def _latency(
    name: str,
    meaning: str,
    estimator: str,
    *,
    parent: str | None = None,
    unit: Unit = Unit.SECONDS,
    is_compared: bool = True,
) -> Metric:
    better = Better.HIGHER if unit is Unit.PER_SECOND else Better.LOWER
    return Metric(
        name=name,
        meaning=meaning,
        suite=_LATENCY,
        group=Group.SPEED,
        unit=unit,
        better=better,
        parent=parent,
        estimator=estimator,
        is_compared=is_compared,
    )


def _percentiles(name: str, meaning: str, estimator: str, *, parent: str | None = None) -> list[Metric]:
    """`ttft_p50_s` and its further percentiles; the comparison shows the median and the 95th."""
    median = f"{name}_p50_s"
    over = estimator.format("requests")
    first = _latency(median, meaning, over, parent=parent, is_compared=parent is None)
    meanings = {percent: f"{percent}th percentile of the same" for percent in (90, 95, 99)}
    further = [
        _latency(
            f"{name}_p{percent}_s", text, over, parent=parent or median, is_compared=parent is None and percent == 95
        )
        for percent, text in meanings.items()
    ]
    return [first, *further]


def _limit_share(name: str, meaning: str, base: str) -> Metric:
    return Metric(
        name=name,
        meaning=f"{meaning} in that time; above 1.5 it is an error",
        suite=_LATENCY,
        group=Group.SPEED,
        unit=Unit.SHARE,
        better=Better.HIGHER,
        parent=base,
        estimator=f"from {base}",
        is_compared=False,
    )


def _reading(name: str, meaning: str, parent: str, unit: Unit = Unit.BYTES) -> Metric:
    """One reading of the process that holds the model alone; in a table of its own."""
    is_memory = unit is Unit.BYTES
    return Metric(
        name=name,
        meaning=meaning,
        suite=_MEMORY if is_memory else "performance/test_cpu.py",
        group=Group.MEMORY if is_memory else Group.SPEED,
        unit=unit,
        parent=parent,
        is_compared=False,
    )


def _against_baseline(name: str, meaning: str, unit: Unit, estimator: str, parent: str | None = None) -> Metric:
    return Metric(
        name=name,
        meaning=meaning,
        suite=_REGRESSION,
        group=Group.REGRESSION,
        unit=unit,
        parent=parent,
        estimator=estimator,
    )


def _leaks(prefix: str, runtime: str) -> list[Metric]:
    """Growth of the heap on every path on which a runtime can lose memory."""
    paths = {
        "request": ("answered request", Unit.BYTES_PER_REQUEST),
        "token": ("token of an answer", Unit.BYTES_PER_TOKEN),
        "session": ("session or generator that is opened and closed", Unit.BYTES_PER_SESSION),
        "stream": ("answer that is broken off in mid-stream", Unit.BYTES_PER_STREAM),
        "error": ("request that is refused", Unit.BYTES_PER_ERROR),
        "load": ("unload and load of the model", Unit.BYTES_PER_LOAD),
    }
    first = f"{prefix}leak_bytes_per_request"
    return [
        Metric(
            name=f"{prefix}leak_bytes_per_{path}",
            meaning=f"heap growth per {what} {runtime}, lower quartile of segments",
            suite=_LEAKS,
            group=Group.MEMORY,
            unit=unit,
            parent=None if path == "request" and not prefix else first if path != "request" else first[len(prefix) :],
            estimator=_ORDER.format("segments"),
        )
        for path, (what, unit) in paths.items()
    ]


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in [
        # conversion
        _yes_no(
            "artifact_matches_request",
            "the variant was converted, is complete, loads, and its graph is what was asked for",
            _CONVERSION,
            Group.CONVERSION,
        ),
        _yes_no(
            "graph_matches_source",
            "the graph computes what the source model does, rounded, near and far and token by token",
            _CONVERSION,
            Group.CONVERSION,
        ),
        _yes_no(
            "tokenizer_matches_source",
            "tokenizer.json says what the source's does, and the runtime reads the template's control tokens whole",
            _CONVERSION,
            Group.CONVERSION,
        ),
        Metric(
            name="tokenizer_difference_rate",
            meaning="the domain's prompts, right answers and texts that get other token ids in the runtime",
            suite=_CONVERSION,
            group=Group.CONVERSION,
            unit=Unit.SHARE,
            estimator="a count",
        ),
        Metric(
            name="size_bytes",
            meaning="files of the artifact on disk",
            suite=_CONVERSION,
            group=Group.MEMORY,
            unit=Unit.BYTES,
            estimator="a count",
        ),
        # quality
        _share(
            "exact_match_rate",
            "in-scope questions whose whole answer is right",
            _RELEVANCE,
            Group.QUALITY,
            "in-scope cases",
            is_by_kind=True,
        ),
        _share(
            "exact_match_dev_rate",
            "the same, on the questions that tuning has seen",
            _RELEVANCE,
            Group.QUALITY,
            "in-scope cases of the split",
            parent="exact_match_rate",
            is_by_kind=True,
        ),
        _share(
            "exact_match_final_rate",
            "the same, on the questions kept back",
            _RELEVANCE,
            Group.QUALITY,
            "in-scope cases of the split",
            parent="exact_match_rate",
            is_by_kind=True,
        ),
        _share(
            "partial_credit_rate",
            "mean score of in-scope answers: the share of fields, keywords or words that are right in each",
            _RELEVANCE,
            Group.QUALITY,
            "in-scope cases, for scores of 0 to 1",
            parent="exact_match_rate",
            is_by_kind=True,
        ),
        Metric(
            name="exact_match_loss_points",
            meaning="percentage points of exact answers lost against the source model, same questions",
            suite=_RELEVANCE,
            group=Group.QUALITY,
            unit=Unit.POINTS,
            parent="exact_match_rate",
            estimator=_PAIRED,
            is_by_kind=True,
        ),
        _share(
            "out_of_scope_rate",
            "out-of-scope questions that are declined as they should be",
            _RELEVANCE,
            Group.QUALITY,
            "out-of-scope cases",
        ),
        _share(
            "json_valid_rate",
            "answers that keep the pack's form: a response schema, lines, labels or a pattern",
            _FORMAT,
            Group.QUALITY,
            "cases",
            is_by_kind=True,
        ),
        Metric(
            name="text_around_rate",
            meaning="answers with text around what was graded: code fences, introductions, closing words",
            suite=_FORMAT,
            group=Group.QUALITY,
            unit=Unit.SHARE,
            parent="json_valid_rate",
            estimator=_WILSON.format("answered cases"),
            is_by_kind=True,
        ),
        Metric(
            name="thinking_rate",
            meaning="answers that stand behind a thinking part",
            suite=_FORMAT,
            group=Group.QUALITY,
            unit=Unit.SHARE,
            parent="json_valid_rate",
            estimator=_WILSON.format("answered cases"),
            is_by_kind=True,
        ),
        Metric(
            name="truncated_answer_rate",
            meaning="answers that were cut at max_new_tokens or the context instead of ending",
            suite=_FORMAT,
            group=Group.QUALITY,
            unit=Unit.SHARE,
            estimator=_WILSON.format("answered cases"),
            is_by_kind=True,
        ),
        Metric(
            name="repeating_answer_rate",
            meaning="answers that say the same over and over until they are cut",
            suite=_FORMAT,
            group=Group.QUALITY,
            unit=Unit.SHARE,
            parent="truncated_answer_rate",
            estimator=_WILSON.format("answered cases"),
            is_by_kind=True,
        ),
        _share(
            "edge_case_rate",
            "unfriendly prompts that are handled, with the next ordinary question unharmed",
            "quality/test_edge_cases.py",
            Group.QUALITY,
            "edge cases",
        ),
        Metric(
            name="length_drop_points",
            meaning="largest loss of exact answers, in percentage points, to the same questions at any longer prompt",
            suite="quality/test_length_consistency.py",
            group=Group.QUALITY,
            unit=Unit.POINTS,
            estimator=f"{_PAIRED} of the worst length, Bonferroni over lengths",
        ),
        # divergence
        Metric(
            name="kld_mean_nats",
            meaning="mean KL divergence from the source model over positions",
            suite=_PRECISION,
            group=Group.DIVERGENCE,
            unit=Unit.NATS,
            estimator=f"Student's t, {_SEQUENCES}",
        ),
        Metric(
            name="kld_p99_nats",
            meaning="99th percentile of the same",
            suite=_PRECISION,
            group=Group.DIVERGENCE,
            unit=Unit.NATS,
            parent="kld_mean_nats",
            estimator=f"bootstrap, {_SEQUENCES}",
        ),
        Metric(
            name="top1_agreement",
            meaning="positions whose most likely token is the source model's",
            suite=_PRECISION,
            group=Group.DIVERGENCE,
            unit=Unit.SHARE,
            better=Better.HIGHER,
            estimator=f"Student's t, {_SEQUENCES}",
        ),
        Metric(
            name="answer_kld_mean_nats",
            meaning="mean KL divergence over the tokens of right answers: what the domain gets to see",
            suite=_PRECISION,
            group=Group.DIVERGENCE,
            unit=Unit.NATS,
            parent="kld_mean_nats",
            estimator=f"Student's t, {_SEQUENCES}",
        ),
        Metric(
            name="answer_top1_agreement",
            meaning="tokens of right answers for which both models find the same token the most likely",
            suite=_PRECISION,
            group=Group.DIVERGENCE,
            unit=Unit.SHARE,
            better=Better.HIGHER,
            parent="top1_agreement",
            estimator=f"Student's t, {_SEQUENCES}",
        ),
        Metric(
            name="perplexity",
            meaning="exp(mean negative log-likelihood) of right answers' tokens",
            suite=_PRECISION,
            group=Group.DIVERGENCE,
            unit=Unit.RATIO,
            estimator=f"Student's t of the mean, {_SEQUENCES}",
        ),
        Metric(
            name="perplexity_ratio",
            meaning="perplexity / the source model's on the same tokens",
            suite=_PRECISION,
            group=Group.DIVERGENCE,
            unit=Unit.RATIO,
            parent="perplexity",
            estimator=f"Student's t of the mean difference, {_SEQUENCES}",
        ),
        # speed
        *_percentiles("ttft", "median time from request to first token, tokenisation included", _ORDER),
        *_percentiles("itl", "median gap between neighbouring tokens, pooled over requests", "bootstrap over {}"),
        _latency("tpot_mean_s", "mean over requests of (last - first token) / (n - 1)", "Student's t over requests"),
        *_percentiles("tpot", "median over requests of the same", _ORDER, parent="tpot_mean_s"),
        *_percentiles("e2e", "median time from request to last token", _ORDER),
        _latency(
            "prefill_tokens_per_second",
            "prompt tokens / median TTFT",
            "from ttft_p50_s",
            parent="ttft_p50_s",
            unit=Unit.PER_SECOND,
        ),
        _latency(
            "decode_tokens_per_second",
            "1 / tpot_mean_s",
            "from tpot_mean_s",
            parent="tpot_mean_s",
            unit=Unit.PER_SECOND,
        ),
        _limit_share("decode_bandwidth_share", "bytes read at least for a token / what the machine reads", "itl_p50_s"),
        _limit_share(
            "prefill_compute_share", "operations of the prompt at least / what the machine computes", "ttft_p50_s"
        ),
        _yes_no("longer_prompts_timed", "every configured point of the latency grid was timed", _LATENCY, Group.SPEED),
        Metric(
            name="load_s",
            meaning="time to load the model in a fresh process, imports excluded",
            suite=_MEMORY,
            group=Group.SPEED,
            unit=Unit.SECONDS,
        ),
        Metric(
            name="cpu_utilization",
            meaning="CPU time / (wall time x usable cores) while answering, 1 = all cores busy",
            suite="performance/test_cpu.py",
            group=Group.SPEED,
            unit=Unit.RATIO,
        ),
        Metric(
            name="cpu_seconds_per_token",
            meaning="CPU time per generated token",
            suite="performance/test_cpu.py",
            group=Group.SPEED,
            unit=Unit.SECONDS,
            parent="cpu_utilization",
        ),
        Metric(
            name="cold_ttft_s",
            meaning="time to first token of the first request after loading, in a fresh process",
            suite=_MEMORY,
            group=Group.SPEED,
            unit=Unit.SECONDS,
            parent="load_s",
            is_compared=False,
        ),
        _yes_no(
            "threads_as_asked",
            "as many threads compute as gate.toml or the artifact's config asks for, if any does",
            "performance/test_cpu.py",
            Group.SPEED,
        ),
        _reading("compute_thread_count", "threads that compute, read back", "cpu_utilization", Unit.COUNT),
        _reading("token_joules", "energy of the processor per generated token (RAPL)", "cpu_utilization", Unit.JOULES),
        _reading("minor_fault_count", "pages mapped while answering, no disk read", "cpu_utilization", Unit.COUNT),
        _reading("major_fault_count", "pages read from a disk while answering", "cpu_utilization", Unit.COUNT),
        _reading("voluntary_switch_count", "times that a thread began to wait", "cpu_utilization", Unit.COUNT),
        _reading("involuntary_switch_count", "times that a thread lost its CPU", "cpu_utilization", Unit.COUNT),
        # memory
        Metric(
            name="peak_rss_bytes",
            meaning="high-water mark of a fresh process that holds this model alone",
            suite=_MEMORY,
            group=Group.MEMORY,
            unit=Unit.BYTES,
        ),
        _reading("loaded_rss_bytes", "resident memory when the model is loaded", "peak_rss_bytes"),
        _reading("loaded_anonymous_bytes", "of it what no file stands behind", "loaded_rss_bytes"),
        _reading("loaded_mapped_bytes", "of it pages of mapped files, weights among them", "loaded_rss_bytes"),
        _reading("loaded_pss_bytes", "the same, shared pages in part", "loaded_rss_bytes"),
        _reading("loaded_swap_bytes", "what of the process is in swap then", "loaded_rss_bytes"),
        _reading("longest_prompt_peak_bytes", "peak at the longest configured prompt", "peak_rss_bytes"),
        _reading("cache_token_bytes", "growth of the heap per token of key-value cache", "peak_rss_bytes"),
        _reading("cache_token_predicted_bytes", "the same by the graph's layers and heads", "cache_token_bytes"),
        _reading("unload_retention_bytes", "memory held after the model was let go, against before", "peak_rss_bytes"),
        _reading("unload_retention_trimmed_bytes", "the same after malloc_trim", "unload_retention_bytes"),
        *_leaks("", "in onnxruntime-genai"),
        _yes_no(
            "runtime_frees_objects",
            "onnxruntime-genai's own report names no object that was never freed",
            _LEAKS,
            Group.MEMORY,
        ),
        *_leaks("foundry_", "in Foundry Local"),
        _yes_no(
            "foundry_frees_objects",
            "the same of the onnxruntime-genai in Foundry Local",
            _LEAKS,
            Group.MEMORY,
        ),
        # deployment
        _yes_no(
            "prompt_matches_source",
            "the runtime renders every question of the domain as the source model's chat template does",
            _DEPLOYMENT,
            Group.DEPLOYMENT,
        ),
        _yes_no("foundry_lists_model", "Foundry Local lists the registered variant", _DEPLOYMENT, Group.DEPLOYMENT),
        _yes_no("foundry_loads_model", "Foundry Local loads it", _DEPLOYMENT, Group.DEPLOYMENT),
        _yes_no(
            "inference_model_matches",
            "an inference_model.json that came with the variant says what the chat template says",
            _DEPLOYMENT,
            Group.DEPLOYMENT,
        ),
        _yes_no(
            "prompt_tokens_match",
            "transformers, the runtime and Foundry Local prompt the domain's questions with the same tokens",
            _DEPLOYMENT,
            Group.DEPLOYMENT,
        ),
        _share(
            "foundry_same_answer_rate",
            "questions that Foundry Local answers in process as onnxruntime-genai does: text, finish reason, token "
            "counts",
            _DEPLOYMENT,
            Group.DEPLOYMENT,
            "questions",
        ),
        _share(
            "foundry_http_same_answer_rate",
            "the same over HTTP",
            _DEPLOYMENT,
            Group.DEPLOYMENT,
            "questions",
            parent="foundry_same_answer_rate",
        ),
        _share(
            "foundry_stream_same_answer_rate",
            "the same over HTTP, streamed",
            _DEPLOYMENT,
            Group.DEPLOYMENT,
            "questions",
            parent="foundry_same_answer_rate",
        ),
        _yes_no(
            "request_options_obeyed",
            "stop strings, seeds and temperature do over HTTP what they say",
            _DEPLOYMENT,
            Group.DEPLOYMENT,
        ),
        _share(
            "foundry_refusal_rate",
            "bad requests that the web service answers with a 4xx, the next good one unharmed",
            _DEPLOYMENT,
            Group.DEPLOYMENT,
            "bad requests",
        ),
        Metric(
            name="foundry_unload_retention_bytes",
            meaning="memory of a serving process after the model was unloaded against before",
            suite=_DEPLOYMENT,
            group=Group.DEPLOYMENT,
            unit=Unit.BYTES,
        ),
        _yes_no(
            "same_answer_after_reload", "a model that is loaded again answers as before", _DEPLOYMENT, Group.DEPLOYMENT
        ),
        _yes_no(
            "cache_route_serves_model",
            "the cache folder of another release serves the variant with the same answers",
            _DEPLOYMENT,
            Group.CACHE_ROUTE,
        ),
        # load
        _share(
            "load_same_answer_rate",
            "requests of many clients at once that get a single client's answer",
            _LOAD,
            Group.LOAD,
            "requests",
        ),
        Metric(
            name="load_requests_per_second",
            meaning="requests answered by the web service with the most clients",
            suite=_LOAD,
            group=Group.LOAD,
            unit=Unit.PER_SECOND,
            better=Better.HIGHER,
        ),
        Metric(
            name="load_ttft_p95_s",
            meaning="95th percentile of the time to first token with the most clients, their queue included",
            suite=_LOAD,
            group=Group.LOAD,
            unit=Unit.SECONDS,
            estimator=_ORDER.format("requests"),
        ),
        _share(
            "arrival_good_rate",
            "requests, arriving at random at the last configured rate, that met the objective",
            _LOAD,
            Group.LOAD,
            "requests",
        ),
        Metric(
            name="arrival_goodput_per_second",
            meaning="requests a second that met the objective then",
            suite=_LOAD,
            group=Group.LOAD,
            unit=Unit.PER_SECOND,
            better=Better.HIGHER,
            parent="arrival_good_rate",
        ),
        Metric(
            name="arrival_queue_p95_s",
            meaning="95th percentile then of the time to first token beyond the same question's asked alone",
            suite=_LOAD,
            group=Group.LOAD,
            unit=Unit.SECONDS,
            parent="arrival_good_rate",
            estimator=_ORDER.format("requests"),
        ),
        Metric(
            name="arrival_ttft_p95_s",
            meaning="95th percentile then of the time to first token, from when the request was due",
            suite=_LOAD,
            group=Group.LOAD,
            unit=Unit.SECONDS,
            parent="arrival_good_rate",
            estimator=_ORDER.format("requests"),
        ),
        _yes_no(
            "hung_up_client_harms_nobody",
            "answers stay the same after a client hung up in mid-stream",
            _LOAD,
            Group.LOAD,
        ),
        _share(
            "soak_same_answer_rate",
            "requests in a row that get the first answer again",
            _LOAD,
            Group.LOAD,
            "requests",
        ),
        Metric(
            name="soak_growth_bytes",
            meaning="memory of the serving process after the last of them against after the first eighth",
            suite=_LOAD,
            group=Group.LOAD,
            unit=Unit.BYTES,
        ),
        Metric(
            name="soak_slowdown_ratio",
            meaning="time of a request in the last eighth of a soak (`--soak`) by that in the first",
            suite=_LOAD,
            group=Group.LOAD,
            unit=Unit.RATIO,
            parent="soak_growth_bytes",
        ),
        # regression
        _against_baseline(
            "e2e_ratio", "time of a whole request, to the baseline's in turn", Unit.RATIO, _PAIRED_ROUNDS
        ),
        _against_baseline(
            "ttft_ratio", "time to the first token, likewise", Unit.RATIO, _PAIRED_ROUNDS, parent="e2e_ratio"
        ),
        _against_baseline(
            "itl_ratio",
            "gaps between tokens, each beside the same one's, likewise",
            Unit.RATIO,
            _PAIRED_ROUNDS,
            parent="e2e_ratio",
        ),
        _against_baseline(
            "baseline_loss_points", "right answers of the baseline less those now, same cases", Unit.POINTS, _PAIRED
        ),
        _against_baseline("size_ratio", "size on disk to the baseline's", Unit.RATIO, "two facts"),
        _against_baseline("peak_rss_ratio", "peak memory to the baseline's", Unit.RATIO, "two readings"),
        _against_baseline(
            "leak_increase_bytes_per_request",
            "growth per request less the baseline's",
            Unit.BYTES_PER_REQUEST,
            "two readings",
        ),
    ]
}


def metric_named(name: str) -> Metric:
    """The catalogue's entry.

    Raises:
        UnknownMetricError: there is none; with the nearest name.
    """
    try:
        return METRICS[name]
    except KeyError:
        near = difflib.get_close_matches(name, METRICS, n=1)
        raise UnknownMetricError(
            f"{name!r} is no metric{f' (did you mean {near[0]!r}?)' if near else ''}",
            next_step="docs/metrics.md lists the names; a new one goes into harness/metrics/catalogue.py",
        ) from None
