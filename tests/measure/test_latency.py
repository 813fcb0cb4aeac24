"""Numbers of token times: worked by hand, refused where they cannot be, and no data where the machine disturbed."""

import itertools
import math
from dataclasses import replace

import pytest

from harness.checks.check import Check, Outcome
from harness.config.benchmark import BenchmarkSettings
from harness.config.limits import Limit
from harness.errors import MeasureError
from harness.machine.bandwidth import MachineLimits
from harness.machine.disturbance import MachineWatch
from harness.machine.readings import Reading
from harness.measure.bounds import Footprint
from harness.measure.latency import (
    latency_conversation,
    latency_row,
    measure_latency,
    summarise_latency,
)
from harness.measure.latency_point import LatencyPoint, grid_points, headline_point
from harness.measure.timing import TimedPoint, has_settled, plain_rounds, require_possible, rounds_needed
from harness.pack.load import load_pack
from harness.report.build import build_record
from harness.report.performance_tables import latency_table
from harness.report.recorder import Recorder
from harness.report.samples import LATENCY_POINT, read_samples
from harness.runtime.fake import FakeSession
from harness.runtime.session import TokenTimeline
from harness.stats.steady import steadiness
from harness.system.progress import SilentProgress
from tests.report.runs import start


def line(start, *tokens, prompt=10):
    return TokenTimeline(start_s=start, token_s=tokens, prompt_tokens=prompt)


def values_of(estimates):
    return {name: estimate.value for name, estimate in estimates.items()}


class TestNumbers:
    def test_one_request_by_hand(self):
        # first token after 0.5 s, then gaps of 0.1, 0.3: TPOT 0.2, end to end 0.9
        values = values_of(summarise_latency([line(1.0, 1.5, 1.6, 1.9)]))
        assert values["ttft_p50_s"] == values["ttft_p95_s"] == pytest.approx(0.5)
        assert values["itl_p50_s"] == pytest.approx(0.2)
        assert values["tpot_mean_s"] == values["tpot_p99_s"] == pytest.approx(0.2)
        assert values["e2e_p50_s"] == values["e2e_p90_s"] == pytest.approx(0.9)
        assert values["prefill_tokens_per_second"] == pytest.approx(20)
        assert values["decode_tokens_per_second"] == pytest.approx(5)

    def test_a_batch_counts_all_its_tokens(self):
        values = values_of(summarise_latency([line(1.0, 1.5, 1.6, 1.9)], batch=4))
        assert values["prefill_tokens_per_second"] == pytest.approx(80)
        assert values["decode_tokens_per_second"] == pytest.approx(20)
        assert values["tpot_mean_s"] == pytest.approx(0.2)

    def test_gaps_are_pooled_over_requests_and_tpot_is_per_request(self):
        values = values_of(summarise_latency([line(0, 1, 2), line(0, 1, 4, 7)]))
        assert values["itl_p50_s"] == pytest.approx(3)  # of 1, 3, 3
        assert values["tpot_mean_s"] == pytest.approx(2)  # of 1 and 3

    def test_percentiles_of_a_hundred_requests(self):
        values = values_of(summarise_latency([line(0, n / 100, 2) for n in range(101)]))
        found = [values[f"ttft_p{percent}_s"] for percent in (50, 90, 95, 99)]
        assert found == pytest.approx([0.50, 0.90, 0.95, 0.99])

    def test_intervals_are_over_requests(self):
        found = summarise_latency([line(0, n, n + 1, n + 2) for n in range(1, 21)])
        median = found["ttft_p50_s"]
        assert (median.low, median.value, median.high, median.n) == (6, 10.5, 15, 20)  # ranks of Conover's table A3
        assert found["ttft_p95_s"].high is None  # 20 requests do not tell how slow the slowest are
        assert (found["itl_p95_s"].n, found["itl_p95_s"].low, found["itl_p95_s"].high) == (20, 1, 1)
        rate = found["prefill_tokens_per_second"]
        assert (rate.low, rate.high) == (pytest.approx(10 / 15), pytest.approx(10 / 6))

    def test_a_mean_time_is_never_negative_and_its_rate_is_then_unbounded(self):
        # TPOT 1 and 3: 2 +- 12.7 x 1
        found = summarise_latency([line(0, 1, 2), line(0, 1, 4, 7)])
        assert found["tpot_mean_s"].low == 0
        rate = found["decode_tokens_per_second"]
        assert (rate.value, rate.high) == (0.5, None)
        assert rate.low == pytest.approx(1 / found["tpot_mean_s"].high)

    @pytest.mark.parametrize("timelines", [[], [line(0)]])
    def test_without_a_token_everything_is_missing(self, timelines):
        assert all(estimate.is_missing for estimate in summarise_latency(timelines).values())

    def test_one_token_has_no_gap(self):
        found = summarise_latency([line(0, 1)])
        assert found["ttft_p50_s"].value == 1
        assert all(found[name].is_missing for name in ("itl_p50_s", "tpot_mean_s", "decode_tokens_per_second"))

    def test_a_prompt_of_unknown_length_has_no_prefill_rate(self):
        found = summarise_latency([line(0, 1, 2, prompt=None)])["prefill_tokens_per_second"]
        assert (found.value, found.method) == (None, "the runtime does not tell the prompt's length")


class TestImpossibleTimes:
    @pytest.mark.parametrize(
        ("timeline", "words"),
        [
            (line(1.0, 0.9, 1.1), "before the request"),
            (line(1.0, 1.2, 1.1), "before its forerunner"),
            (line(1.0, 1.0, 1.0), "no time at all"),
            (line(1.0, math.nan), "not a number"),
            (line(1.0, 1.1, math.inf), "not a number"),
        ],
        ids=["negative TTFT", "negative gap", "nothing took time", "NaN", "infinite"],
    )
    def test_are_an_error(self, timeline, words):
        with pytest.raises(MeasureError, match=words):
            require_possible(timeline)

    @pytest.mark.parametrize("timeline", [line(1.0), line(1.0, 1.1), line(1.0, 1.1, 1.1, 1.2)])
    def test_are_told_from_possible_ones(self, timeline):
        require_possible(timeline)

    def test_stop_the_measurement(self, pack_folder):
        class Backwards(FakeSession):
            def timed(self, messages, **options):
                return replace(super().timed(messages, **options), start_s=1e12)

        with pytest.raises(MeasureError, match="negative"):
            measure(pack_folder, session=Backwards(lambda _: "x"))


FOOTPRINT = Footprint(step_bytes=1_000_000, cache_bytes_per_token=1000, token_operations=2_000_000)
LIMITS = MachineLimits(read_bytes_per_second=1e9, buffer_bytes=2**20, operations_per_second=1e9)


def timed_point(timelines, **point):
    at = LatencyPoint(**{"prompt_tokens": 10, "new_tokens": 4, **point})
    return TimedPoint(
        point=at, warmup=(line(0, 9, 10),), timelines=tuple(timelines), steadiness=steadiness([1.0] * 9),
        disturbances=(), attempts=1,
    )  # fmt: skip


class TestPhysicalBound:
    def test_shares_by_hand(self):
        # 1 MB and 12 tokens of cache in 2.024 ms are half of 1 GB/s; 20 M operations in 100 ms a fifth of 1 G/s
        timelines = [line(0, 0.1, 0.102024, 0.104048, 0.106072)] * 3
        found = latency_row(timed_point(timelines), SETTINGS, FOOTPRINT, LIMITS).estimates
        assert found["decode_bandwidth_share"].value == pytest.approx(0.5)
        assert found["prefill_compute_share"].value == pytest.approx(0.2)

    @pytest.mark.parametrize(
        ("timelines", "words"),
        [
            ([line(0, 0.1, 0.1001, 0.1002)] * 3, "0.97 MiB for each token|MiB for each token|KiB for each token"),
            ([line(0, 0.001, 0.011, 0.021)] * 3, "operations for a prompt"),
        ],
        ids=["tokens faster than their weights can be read", "a prompt faster than it can be computed"],
    )
    def test_a_rate_above_it_is_an_error(self, timelines, words):
        with pytest.raises(MeasureError, match=f"impossible at 10\\+4: .*({words}).*times what this machine can do"):
            latency_row(timed_point(timelines), SETTINGS, FOOTPRINT, LIMITS)

    def test_a_limit_that_was_measured_on_a_loaded_machine_refuses_nothing(self):
        loaded, quick = replace(LIMITS, is_disturbed=True), [line(0, 0.1, 0.1001, 0.1002)] * 3
        found = latency_row(timed_point(quick), SETTINGS, FOOTPRINT, loaded).estimates
        assert found["decode_bandwidth_share"].is_missing
        assert found["prefill_compute_share"].value == pytest.approx(0.2)

    def test_without_a_size_there_is_no_share(self):
        nothing = Footprint(step_bytes=0, cache_bytes_per_token=0, token_operations=0)
        found = latency_row(timed_point([line(0, 0.1, 0.2)]), SETTINGS, nothing, LIMITS).estimates
        assert found["decode_bandwidth_share"].is_missing


class TestStopping:
    @pytest.mark.parametrize(
        ("times_s", "settled"),
        [([9, 1, 1, 1], False), ([9, 1, 1, 1, 1], True), ([3, 2, 1], False), ([1, 1, 1, 1], True), ([], False)],
    )
    def test_a_warm_up_goes_on_until_it_gets_no_faster(self, times_s, settled):
        assert has_settled(times_s, 3) is settled

    @pytest.mark.parametrize(
        ("times_s", "max_s", "rounds"),
        [
            ([0.01] * 6, 9.0, 12),  # nothing scatters: as many as steadiness takes
            ([0.01, 0.011, 0.009, 0.01, 0.0105, 0.0095], 9.0, 38),  # 6.5 % of scatter
            ([0.01, 0.03, 0.005, 0.02, 0.01, 0.04], 9.0, 50),  # at most
            ([1.0] * 6, 7.5, 7),  # time is up
            ([60.0] * 6, 7.5, 5),  # at least
            ([1.0], 9.0, 5),  # nothing is known of how times scatter
        ],
    )
    def test_precision_count_and_time_end_it(self, times_s, max_s, rounds):
        settings = BenchmarkSettings(rounds=50, max_s=max_s, precision=0.02, warmup_rounds=2)
        point = headline_point(settings)
        warmup = [line(0, took / 2, took) for took in times_s]
        assert rounds_needed(warmup, point, settings) == pytest.approx(rounds, abs=25 if rounds == 38 else 0)


SETTINGS = BenchmarkSettings(
    prompt_tokens=(100, 120), new_tokens=5, batch=(1, 2), rounds=30, longer_rounds=20, warmup_rounds=2, max_s=1.0
)


class TestGrid:
    def test_axes_are_varied_one_at_a_time(self):
        settings = BenchmarkSettings(prompt_tokens=(64, 256), new_tokens=(8, 32), batch=(1, 4), depth_tokens=(0, 512))
        names = [str(point) for point in grid_points(settings)]
        assert names == ["64+8", "256+8", "64+32", "64+8 x4", "64+8 after 512"]

    def test_a_full_grid_has_every_combination_that_a_runtime_takes(self):
        lists = {"prompt_tokens": (64, 256), "new_tokens": (8, 32), "batch": (1, 4), "depth_tokens": (0, 512)}
        points = grid_points(BenchmarkSettings(**lists, grid="full"))
        assert len(points) == len(set(points)) == 4 * 3
        assert all(point.batch == 1 or point.depth_tokens == 0 for point in points)

    @pytest.mark.parametrize("grid", ["axes", "full"])
    @pytest.mark.parametrize("depth_tokens", [(0,), (512,), (0, 512)])
    @pytest.mark.parametrize("batch", [(1,), (1, 4), (1, 1)])
    @pytest.mark.parametrize("prompt_tokens", [(64,), (64, 64), (64, 256)])
    def test_whether_there_is_more_than_the_headline_is_known(self, prompt_tokens, batch, depth_tokens, grid):
        settings = BenchmarkSettings(
            prompt_tokens=prompt_tokens, batch=batch, depth_tokens=depth_tokens, grid=grid, new_tokens=8
        )
        assert settings.has_further_points == (len(grid_points(settings)) > 1)

    @pytest.mark.parametrize("one", [32, [32]])
    def test_a_single_number_is_a_list_of_one(self, one):
        assert BenchmarkSettings.model_validate({"new_tokens": one}).new_tokens == (32,)


def quiet(**after):
    """A watch over a machine that was left alone, but for what is said."""
    before = {"at_s": 0.0, "own_s": 0.0, "cpus": 2, "stolen_s": 0.0, "waited_s": 0.0}
    readings = itertools.cycle([Reading(**before), Reading(**{**before, "at_s": 1.0, "own_s": 1.0, **after})])
    return lambda: MachineWatch(read=lambda: next(readings), pace=lambda: 1.0)


def measure(pack_folder, point=None, *, session=None, settings=SETTINGS, watch=None):
    return measure_latency(
        session or FakeSession(lambda _: "x"),
        load_pack(pack_folder),
        settings,
        point or headline_point(settings),
        plain_rounds,
        watch=watch or quiet(),
    )


def row_of(found):
    ((_, row),) = found.details["latency_grid"].items()
    return row


class TestMeasurement:
    def test_the_headline_is_the_first_point_without_its_warm_up(self, pack_folder):
        found = measure(pack_folder)
        row = row_of(found)
        assert row.warmup >= 2
        assert len(found.samples["latency_100"]) == row.rounds == found.measurement.estimate("ttft_p95_s").n
        assert found.latency == {100: found.measurement.estimates}
        assert found.measurement.details["itl_p95_s"].startswith(f"{row.rounds} requests of 100+5 after {row.warmup}")

    def test_another_point_is_recorded_and_must_have_been_timed(self, pack_folder):
        found = measure(pack_folder, LatencyPoint(prompt_tokens=100, new_tokens=5, batch=2))
        assert set(found.measurement.estimates) == {"longer_prompts_timed"}
        assert found.measurement.estimate("longer_prompts_timed").value == 1
        assert row_of(found).rounds == len(found.samples["latency_100_5_2_0"])
        assert found.latency == {}

    def test_a_runtime_that_shows_no_times_has_not_timed_a_point(self, pack_folder):
        class Timeless(FakeSession):
            def timed(self, messages, **options):
                return replace(super().timed(messages, **options), token_s=())

        found = measure(pack_folder, LatencyPoint(prompt_tokens=120, new_tokens=5), session=Timeless(lambda _: "x"))
        assert found.measurement.estimate("longer_prompts_timed").value == 0

    def test_a_slow_first_request_stands_apart_and_not_in_the_mean(self, pack_folder):
        class Cold(FakeSession):
            asked = 0

            def timed(self, messages, **options):
                self.asked += 1
                timeline = super().timed(messages, **options)
                late_s = 100.0 if self.asked == 1 else 1.0
                return replace(timeline, token_s=tuple(moment + late_s for moment in timeline.token_s))

        row = row_of(measure(pack_folder, session=Cold(lambda _: "x")))
        assert row.first_e2e_s > 100
        assert row.estimates["e2e_p99_s"].value < 2

    def test_benchmark_json_gets_the_catalogues_names_and_percentiles(self, pack_folder):
        info = row_of(measure(pack_folder)).benchmark_info()
        assert info["point"] == "100+5"
        assert info["ttft_p50_s_low"] <= info["ttft_p50_s"] <= info["ttft_p50_s_high"]
        assert {
            f"{name}_p{percent}_s" for name in ("ttft", "itl", "tpot", "e2e") for percent in (50, 90, 95, 99)
        } <= set(info)

    def test_points_add_up_to_a_grid_in_the_record(self, pack_folder, tmp_path):
        recorder = start(tmp_path)
        for point in grid_points(SETTINGS):
            recorder.record("int4", measure(pack_folder, point))
        record = build_record(tmp_path)
        assert list(record.variants["int4"].details.latency_grid) == ["100+5", "120+5", "100+5 x2"]
        assert read_samples(tmp_path, "int4", LATENCY_POINT.at(100, 5, 2, 0))
        table = latency_table(record)
        assert [line.split("  ")[0] for line in table.splitlines()[2:]] == ["int4"] * 3
        assert "100+5 x2" in table


THROTTLED = {"stolen_s": 0.3}


def test_progress_counts_requests(pack_folder):
    seen = []

    class Listener(SilentProgress):
        def step(self, what):
            return lambda done, total: seen.append((what, done, total))

    session, pack = FakeSession(lambda _: "x"), load_pack(pack_folder)
    point = headline_point(SETTINGS)
    found = measure_latency(session, pack, SETTINGS, point, plain_rounds, progress=Listener(), watch=quiet())
    rounds = row_of(found).rounds
    assert seen == [("requests of 100+5", done, rounds) for done in range(rounds)]


class TestDisturbedMachine:
    def test_its_times_are_no_data_whatever_they_are(self, pack_folder):
        found = measure(pack_folder, watch=quiet(**THROTTLED))
        for limit in (Limit(max=1e9, reason="whatever it is"), Limit(max=1e-9, reason="whatever it is")):
            estimate = found.measurement.estimate("ttft_p95_s")
            check = Check(variant="int4", metric="ttft_p95_s", estimate=estimate, limit=limit)
            assert check.outcome is Outcome.NO_DATA
            assert "invalid: a hypervisor took 15% of the processors' time" in check.headline
        assert 'disturbed = "told"' in found.measurement.details["ttft_p95_s"]
        row = row_of(found)
        assert (row.is_valid, row.attempts) == (False, 2)
        assert row.estimates["ttft_p95_s"].value is not None  # kept, and marked
        assert len(found.samples["latency_100"]) == row.rounds

    def test_a_processor_that_is_throttled_in_mid_run_is_one(self, pack_folder):
        paces = itertools.cycle([1.0] * 6 + [2.0] * 7)
        moments = itertools.count()
        found = measure(
            pack_folder,
            watch=lambda: MachineWatch(
                read=lambda: Reading(at_s=next(moments), own_s=0.0, cpus=2), pace=lambda: next(paces)
            ),
        )
        assert found.measurement.estimate("decode_tokens_per_second").is_missing
        assert "changed its speed" in found.measurement.estimate("decode_tokens_per_second").method

    def test_is_tried_again(self, pack_folder):
        watches = iter([quiet(**THROTTLED)(), quiet()()])
        found = measure(pack_folder, watch=lambda: next(watches))
        assert (row_of(found).is_valid, row_of(found).attempts) == (True, 2)

    def test_that_is_never_left_alone_can_be_told_of_instead(self, pack_folder):
        settings = SETTINGS.model_copy(update={"disturbed": "told"})
        found = measure(pack_folder, settings=settings, watch=quiet(**THROTTLED))
        assert not found.measurement.estimate("ttft_p95_s").is_missing
        assert "a hypervisor took" in found.measurement.details["ttft_p95_s"]

    def test_a_quiet_one_is_no_remark(self, pack_folder):
        row = row_of(measure(pack_folder))
        assert (row.is_valid, row.attempts) == (True, 1)

    def test_an_invalid_row_says_so_in_the_table(self, pack_folder, tmp_path):
        recorder: Recorder = start(tmp_path)
        recorder.record("int4", measure(pack_folder, watch=quiet(**THROTTLED)))
        assert "INVALID: a hypervisor took" in latency_table(build_record(tmp_path))


def test_a_prompt_is_as_long_as_asked(pack_folder):
    pack, session = load_pack(pack_folder), FakeSession(lambda _: "x")
    conversation = latency_conversation(session, pack, 120)
    assert 110 <= len(session.encode(session.render(conversation))) <= 120


@pytest.mark.parametrize("tokens", [8, 512])
def test_an_impossible_length_is_refused(pack_folder, tokens):
    with pytest.raises(MeasureError, match="no prompt of"):
        latency_conversation(FakeSession(lambda _: "x"), load_pack(pack_folder), tokens)


def test_a_point_beyond_the_context_is_refused(pack_folder):
    with pytest.raises(MeasureError, match="does not fit the context of 512"):
        measure(pack_folder, LatencyPoint(prompt_tokens=100, new_tokens=5, depth_tokens=500))
