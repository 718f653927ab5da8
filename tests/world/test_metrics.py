"""What the process counts, read back from the text that a scraper gets."""

from typing import Any

import pytest
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from engine.model.decision import Decision, Mode, Outcome, OutcomeKind
from engine.model.effects import Metric, VerdictKind
from engine.model.phases import Phase
from engine.world.chain import Head
from engine.world.metrics import CONTENT_TYPE, Metrics
from engine.world.tally import LONGEST, NamedTallies, Spread, Tally


def shown(metrics: Metrics) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """Samples by name and labels, as a scraper reads them."""
    samples: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(metrics.render().decode()):
        for sample in family.samples:
            samples.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return samples


def only(metrics: Metrics, name: str) -> tuple[dict[str, str], float]:
    [(labels, value)] = shown(metrics)[name].items()
    return dict(labels), value


@pytest.fixture
def metrics() -> Metrics:
    return Metrics("1.2.3", clock=lambda: 1000.0)


def test_an_answered_request_is_counted_and_timed(metrics: Metrics) -> None:
    metrics.answered("openai", "gpt-4o", "main", 200, 0.3)
    labels, value = only(metrics, "lexgate_requests_total")
    assert (labels, value) == ({"protocol": "openai", "model": "gpt-4o", "backend": "main", "status": "200"}, 1)
    assert only(metrics, "lexgate_request_seconds_sum")[1] == pytest.approx(0.3)
    assert only(metrics, "lexgate_request_seconds_count")[1] == 1


def test_buckets_are_cumulative_and_their_ends_inclusive() -> None:
    spread = Spread("s_seconds", "", ("a",), (1.0, 2.0))
    for seconds in (0.5, 1.0, 1.5, 9.0):
        spread.add("x", seconds=seconds)
    [family] = spread.collect()
    assert [(s.labels["le"], s.value) for s in family.samples if s.name == "s_seconds_bucket"] == [
        ("1.0", 2), ("2.0", 3), ("+Inf", 4),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("count", "name", "labels", "value"),
    [
        (lambda m: m.first_byte("openai", "main", 0.2), "lexgate_first_byte_seconds_count",
         {"protocol": "openai", "backend": "main"}, 1),
        (lambda m: m.streamed("openai", "cut_off"), "lexgate_streams_total", {"protocol": "openai", "end": "cut_off"}, 1),
        (lambda m: m.tool_call("steered"), "lexgate_tool_calls_total", {"fate": "steered"}, 1),
        (lambda m: m.reasked("main"), "lexgate_reasks_total", {"backend": "main"}, 1),
        (lambda m: m.attempted("main", "m"), "lexgate_upstream_attempts_total", {"backend": "main", "model": "m"}, 1),
        (lambda m: m.attempt_failed("main", "timeout"), "lexgate_upstream_failures_total",
         {"backend": "main", "kind": "timeout"}, 1),
        (lambda m: m.store_failed("commit"), "lexgate_store_failures_total", {"operation": "commit"}, 1),
        (lambda m: m.notified("p/r", "failed"), "lexgate_notifications_total", {"rule": "p/r", "result": "failed"}, 1),
        (lambda m: m.policies_refused(), "lexgate_policy_reloads_total", {"result": "failure"}, 1),
        (lambda m: m.policies_refused(), "lexgate_policy_reload_ok", {}, 0),
        (lambda m: m.policies_loaded("r1", 7), "lexgate_policy_info", {"revision": "r1"}, 1),
        (lambda m: m.policies_loaded("r1", 7), "lexgate_policy_rules", {}, 7),
        (lambda m: m.policies_loaded("r1", 7), "lexgate_policy_last_success_timestamp_seconds", {}, 1000),
        (lambda m: setattr(m, "in_flight", 3), "lexgate_exchanges_in_flight", {}, 3),
        (lambda m: None, "lexgate_build_info", {"version": "1.2.3"}, 1),
        (lambda m: m.counted(Metric("big", 2.5, (("team", "pay"),))), "lexgate_rule_big_total", {"team": "pay"}, 2.5),
    ],
)  # fmt: skip
def test_what_happened_is_shown(metrics: Metrics, count: Any, name: str, labels: dict[str, str], value: float) -> None:
    count(metrics)
    assert only(metrics, name) == (labels, value)


def test_tokens_are_counted_by_direction(metrics: Metrics) -> None:
    metrics.used("main", "m", 10, 3)
    metrics.used("main", "m", 1, 1)
    assert {dict(labels)["direction"]: value for labels, value in shown(metrics)["lexgate_tokens_total"].items()} == {
        "input": 11,
        "output": 4,
    }


def test_a_reload_replaces_the_revision_that_is_shown(metrics: Metrics) -> None:
    metrics.policies_loaded("r1", 1)
    metrics.policies_refused()
    metrics.policies_loaded("r2", 1)
    assert only(metrics, "lexgate_policy_info")[0] == {"revision": "r2"}
    assert only(metrics, "lexgate_policy_reload_ok")[1] == 1


def test_a_decision_counts_its_verdict_its_shadows_and_its_errors(metrics: Metrics) -> None:
    outcomes = (
        Outcome(rule="p/a", outcome=OutcomeKind.MATCHED, verdict=VerdictKind.BLOCK),
        Outcome(rule="p/b", outcome=OutcomeKind.MATCHED, mode=Mode.SHADOW, verdict=VerdictKind.STEER),
        Outcome(rule="p/c", outcome=OutcomeKind.ERROR),
        Outcome(rule="p/d", outcome=OutcomeKind.NO_MATCH, mode=Mode.SHADOW),
    )
    metrics.decided(Decision(phase=Phase.REQUEST, verdict=VerdictKind.BLOCK, by="p/a", outcomes=outcomes))
    counted = {tuple(dict(labels).values()) for labels in shown(metrics)["lexgate_decisions_total"]}
    assert counted == {("enforce", "request", "p/a", "block"), ("shadow", "request", "p/b", "steer")}
    assert only(metrics, "lexgate_policy_rule_errors_total") == ({"rule": "p/c", "phase": "request"}, 1)


def test_an_audit_log_is_read_when_metrics_are(metrics: Metrics) -> None:
    class Log:
        dropped, lost, failures, waiting = 1, 2, 3, 4
        head = Head(5, "")

    metrics.watch_audit(Log())
    samples = shown(metrics)
    assert [
        samples[f"lexgate_audit_{name}"][()]
        for name in ("records_total", "dropped_total", "lost_total", "failures_total", "waiting")
    ] == [5, 1, 2, 3, 4]


def test_beyond_the_cap_open_values_are_counted_as_other() -> None:
    tally = Tally("t", "", ("model", "status"), open=("model",), cap=3)
    for number in range(10):
        tally.add(f"m{number}", "200")
    tally.add("m0", "200")
    [family] = tally.collect()
    assert {tuple(s.labels.values()): s.value for s in family.samples} == {
        ("m0", "200"): 2, ("m1", "200"): 1, ("m2", "200"): 1, ("other", "200"): 7,
    }  # fmt: skip


def test_no_values_at_all_make_a_table_grow_without_end() -> None:
    tally = Tally("t", "", ("a", "b"), open=("a",), cap=3)
    for number in range(1000):
        tally.add(str(number), str(number))
    [family] = tally.collect()
    assert len(family.samples) == 7
    assert sum(sample.value for sample in family.samples) == 1000


def test_rules_metrics_are_capped_in_names_and_labels() -> None:
    tallies = NamedTallies("x", "", names=2, cap=2)
    for name in ("a", "b", "c"):
        for team in ("1", "2", "3", "4"):
            tallies.add(name, (("team", team),))
    samples = {(s.name, s.labels.get("team")): s.value for f in tallies.collect() for s in f.samples}
    assert samples[("x_a_total", "1")] == 1
    assert samples[("x_a_total", "other")] == 2
    assert samples[("xs_beyond_cap_total", None)] == 4
    assert ("x_c_total", "1") not in samples


def test_rules_may_give_one_metric_different_labels(metrics: Metrics) -> None:
    metrics.counted(Metric("big", 1, (("team", "a"),)))
    metrics.counted(Metric("big", 1, (("model", "m"), ("team", "a"))))
    metrics.counted(Metric("big", 1))
    assert len(shown(metrics)["lexgate_rule_big_total"]) == 3


def test_hostile_label_values_stay_values(metrics: Metrics) -> None:
    hostile = 'a"} 1\nlexgate_fake_total 9\n\\' + "\ud800" + "x" * 1000
    metrics.counted(Metric("big", 1, (("tool", hostile),)))
    samples = shown(metrics)
    assert "lexgate_fake_total" not in samples
    [(labels, value)] = samples["lexgate_rule_big_total"].items()
    assert value == 1
    assert dict(labels)["tool"] == hostile[:LONGEST].replace("\ud800", "?")


def test_process_memory_and_cpu_are_shown(metrics: Metrics) -> None:
    samples = shown(metrics)
    assert samples["process_resident_memory_bytes"][()] > 1_000_000
    assert samples["process_cpu_seconds_total"][()] > 0


def test_two_of_them_share_nothing_and_touch_no_global_registry(metrics: Metrics) -> None:
    before = set(REGISTRY._names_to_collectors)
    other = Metrics()
    other.reasked("main")
    assert "lexgate_reasks_total" not in shown(metrics)
    assert set(REGISTRY._names_to_collectors) == before


def test_the_text_says_what_it_is() -> None:
    assert CONTENT_TYPE.startswith("text/plain; version=")
    assert "charset=utf-8" in CONTENT_TYPE


def test_every_metric_has_one_type_and_help_line(metrics: Metrics) -> None:
    metrics.counted(Metric("requests", 1))
    metrics.counted(Metric("errors", 1))
    types = [line.split()[2] for line in metrics.render().decode().splitlines() if line.startswith("# TYPE")]
    assert len(types) == len(set(types))


def test_a_wrong_number_of_labels_is_a_programming_error() -> None:
    with pytest.raises(ValueError, match="has the labels"):
        Tally("t", "", ("a",)).add("x", "y")


def test_a_match_in_shadow_says_whether_it_would_have_changed_the_verdict(metrics: Metrics) -> None:
    """The strongest verdict wins: a steer changes nothing where a block stands already."""
    steers = Outcome(rule="p/b", outcome=OutcomeKind.MATCHED, mode=Mode.SHADOW, verdict=VerdictKind.STEER)
    for verdict in (VerdictKind.ALLOW, VerdictKind.STEER, VerdictKind.BLOCK):
        metrics.decided(Decision(phase=Phase.TOOL_CALL, verdict=verdict, by="p/a", outcomes=(steers,)))
    found = shown(metrics)["lexgate_shadow_matches_total"]
    assert found == {(("agrees", "no"), ("rule", "p/b")): 1, (("agrees", "yes"), ("rule", "p/b")): 2}
